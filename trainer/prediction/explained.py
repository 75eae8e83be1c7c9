"""Draws images beside their class activation maps: which places speak for the most probable class, which against it."""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from multihot import storage
from multihot.printable import printable
from trainer.model_file import ModelInfo
from trainer.prediction import scoring

# Images beside each other, each of them with its map.
_ACROSS = 3
_MOST_LETTERS = 40
# Of places that speak against a class, and for it; and how much of the colour the strongest of them has.
_COLOURS, _MOST_OPAQUE = ListedColormap(["#005aff", "#ff7800"]), 0.65


def draw(
    images: npt.NDArray[np.uint8],
    names: Sequence[str],
    scores: npt.NDArray[np.float32],
    maps: npt.NDArray[np.float32],
    info: ModelInfo,
    path: Path,
) -> None:
    """Draws images, at least one, with their names, labels and maps.

    Args:
        images: as the model gets them, uint8 [n, size, size, 3].
        names: of their files, n.
        scores: their probabilities, float32 [n, k].
        maps: of the most probable class of each image, float32 [n, height, width]: where positive, for it.
        info: of the model.
        path: of the PNG.

    Raises:
        OSError: the file cannot be written.
    """
    rows = -(-len(images) // _ACROSS)
    figure = Figure(figsize=(4.4 * _ACROSS, 2.8 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, 2 * _ACROSS, squeeze=False).reshape(-1, 2)
    for plain, mapped in panels:
        plain.axis("off")
        mapped.axis("off")
    for (plain, mapped), image, name, some, values in zip(panels, images, names, scores, maps, strict=False):
        best = int(some.argmax())
        # A dollar sign in a name is no formula.
        words = {"fontsize": 8, "parse_math": False, "loc": "left"}
        plain.set_title(f"{_short(name)}\n{', '.join(scoring.labels(some, info)) or 'no label'}"[:200], **words)
        mapped.set_title(textwrap.shorten(f"{info.classes[best]} {some[best]:.0%}", _MOST_LETTERS), **words)
        plain.imshow(image)
        extent = (0, image.shape[1], image.shape[0], 0)
        mapped.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255, extent=extent)
        most = max(float(np.abs(values).max()), 1e-12)
        strength = np.abs(values) / most * _MOST_OPAQUE
        mapped.imshow(
            values, cmap=_COLOURS, vmin=-most, vmax=most, alpha=strength, extent=extent, interpolation="bilinear"
        )
    figure.suptitle(
        "Left: the image as the model gets it, with its labels. Right: its most probable class; orange places speak "
        "for it, blue ones against it.",
        fontsize=9,
    )
    with warnings.catch_warnings(), storage.create(str(path)) as file:
        # A name in a script that the font has not: boxes in the picture, and the name in the rows.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format="png", dpi=110)


def _short(name: str) -> str:
    text = printable(name)
    return text if len(text) <= _MOST_LETTERS else f"...{text[-_MOST_LETTERS:]}"
