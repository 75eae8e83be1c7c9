"""Builds review.html, on which people look at suspects: without a server, and with all images inside.

suspects.csv, images --\
                        >-- data (JSON) --> templates/review.html.jinja --> review.html --> corrections.csv
nearest images --------/
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multihot import pages
from multihot.printable import printable
from trainer.nearest import Nearest
from trainer.sources import Sources
from trainer.suspects import files, pictures
from trainer.suspects.examples import Examples
from trainer.suspects.finding import DUPLICATE, LABEL, NO_CLASS, SWAP, Suspect

# Longer side of the picture of a suspect and of a neighbour, pixels, where there is room for it.
_LARGE, _SMALL = 512, 160
# Characters of all pictures of a kind: the page has less than 30 MB.
_LARGE_BYTES, _SMALL_BYTES = 20_000_000, 8_000_000
# Neighbours that are shown for a suspect, and those among which they are looked for.
_SHOWN, _NEAREST = 4, 50
# Neighbours that are counted.
_COUNTED = 10
_REASONS = {
    LABEL: "the label contradicts the images like this one",
    SWAP: "another class is more probable than the one that is given",
    NO_CLASS: "no class is probable: the image may belong to none",
    DUPLICATE: "a copy of the image, or nearly one, has the other label",
}


def build(
    found: Sequence[Suspect],
    sources: Sources,
    examples: Examples,
    labels: NDArray[np.uint8],
    features: NDArray[np.floating],
) -> str:
    """Returns the page.

    Args:
        found: the suspects to show, in their order.
        sources: the datasets.
        examples: all images.
        labels: 0, 1 or UNKNOWN, uint8 [n, k].
        features: of all images, float [n, d].
    """
    numbers = np.array([suspect.example for suspect in found], np.int64)
    search = Nearest(features[numbers], numbers, _NEAREST)
    search.add(features)
    nearest, _ = search.found()
    shown = [_shown(suspect, each, labels) for suspect, each in zip(found, nearest, strict=True)]
    read = pictures.read(sources, examples, {*numbers.tolist(), *(i for each in shown for i in each)}, _LARGE)
    large = pictures.encoded({i: read[i] for i in numbers.tolist()}, _LARGE_BYTES)
    thumbnails = {i: read[i].copy() for each in shown for i in each}
    for picture in thumbnails.values():
        picture.thumbnail((_SMALL, _SMALL))
    small = pictures.encoded(thumbnails, _SMALL_BYTES)
    data = {
        "classes": [printable(name) for name in examples.classes],
        "header": files.correction_header(),
        "file": files.CORRECTIONS,
        "digest": hashlib.sha256(files.suspects_csv(found, examples).encode()).hexdigest(),
        "pictures": {f"l{i}": uri for i, uri in large.items()} | {f"s{i}": uri for i, uri in small.items()},
        "suspects": [
            _suspect(suspect, each, beside, labels, examples)
            for suspect, each, beside in zip(found, nearest, shown, strict=True)
        ],
    }
    template = pages.environment("trainer.suspects").get_template("review.html.jinja")
    return template.render(data=_script(data))


def _shown(suspect: Suspect, nearest: NDArray[np.int64], labels: NDArray[np.uint8]) -> list[int]:
    """Returns the neighbours that speak for the suggestion: duplicates that have it, then the nearest images."""
    change = suspect.changes[-1]
    alike = [i for i in nearest.tolist() if labels[i, change.label] == change.suggested]
    return list(dict.fromkeys([*suspect.others, *alike]))[:_SHOWN]


def _suspect(
    suspect: Suspect,
    nearest: NDArray[np.int64],
    shown: Sequence[int],
    labels: NDArray[np.uint8],
    examples: Examples,
) -> dict[str, Any]:
    change, counted = suspect.changes[-1], nearest[:_COUNTED]
    number = int((labels[counted, change.label] == change.suggested).sum())
    csv, line = examples.place(suspect.example)
    return {
        "filename": printable(examples.filenames[suspect.example]),
        "split": examples.splits[examples.split_of[suspect.example]],
        "row": f"{printable(csv)} line {line}" if line else "",
        "picture": f"l{suspect.example}",
        "labels": np.flatnonzero(labels[suspect.example] == 1).tolist(),
        "changes": [each._asdict() for each in suspect.changes],
        "confidence": round(suspect.confidence, 4),
        "found_by": _REASONS[suspect.kind],
        "title": f"Like it: {number} of the {len(counted)} nearest images have the suggested label",
        "neighbours": [
            {
                "picture": f"s{i}",
                "filename": printable(examples.filenames[i]),
                "labels": np.flatnonzero(labels[i] == 1).tolist(),
            }
            for i in shown
        ],
        "rows": files.correction_rows(suspect, examples),
    }


def _script(data: Mapping[str, Any]) -> str:
    """Returns the JSON of an element <script>, which no text in it ends."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
