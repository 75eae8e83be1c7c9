"""Draws images beside the images that are most like them: a row for each image."""

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from matplotlib.figure import Figure

from multihot import signals, storage
from multihot.printable import printable
from schemas import example
from trainer.embedding.neighbours import Neighbour
from trainer.input import reading
from trainer.sources import Source, Sources

# Pixels of the longer side of a picture that is drawn.
_SIDE = 320
_MOST_LETTERS = 26
# Records that are searched at a time.
_BATCH = 256


class Shown(NamedTuple):
    """An image as it is drawn.

    Attributes:
        pixels: uint8 [height, width, 3].
        labels: names of its classes; a class of which it is unknown whether the image has it ends with a question mark.
    """

    pixels: npt.NDArray[np.uint8]
    labels: tuple[str, ...]


def read(sources: Sources, splits: Mapping[str, str]) -> dict[str, Shown]:
    """Reads images by their names: of a name that several datasets have, the image of the first dataset.

    Args:
        sources: the datasets.
        splits: the split of each image, by its name.

    Returns:
        The images that are there, by their names.
    """
    found: dict[str, Shown] = {}
    for source in sources.each:
        for split in source.info.splits:
            wanted = {name for name, its in splits.items() if its == split.name and name not in found}
            if wanted:
                found.update(_read(source, split.name, wanted))
    return found


def _read(source: Source, split: str, wanted: set[str]) -> dict[str, Shown]:
    classes, found = source.info.classes, dict[str, Shown]()
    names = tf.constant(sorted(wanted))
    spec = example.parse_spec(len(classes), (example.FILENAME,))

    def chosen(records: tf.Tensor) -> tf.Tensor:
        filenames = tf.io.parse_example(records, spec)[example.FILENAME]
        return tf.boolean_mask(records, tf.reduce_any(filenames[:, tf.newaxis] == names, axis=1))

    for records in reading.records(source, split).batch(_BATCH).map(chosen):
        signals.check()
        for record in records:
            keys = (example.FILENAME, example.IMAGE, example.LABELS, example.KNOWN)
            one = tf.io.parse_single_example(record, example.parse_spec(len(classes), keys, source.has_unknown))
            known = one[example.KNOWN].numpy() if source.has_unknown else np.ones(len(classes))
            labels = [
                name if positive else f"{name}?"
                for name, positive, is_known in zip(classes, one[example.LABELS].numpy(), known, strict=True)
                if positive or not is_known
            ]
            found[one[example.FILENAME].numpy().decode()] = Shown(_pixels(one[example.IMAGE]), tuple(labels))
        if len(found) == len(wanted):
            break
    return found


def _pixels(data: tf.Tensor) -> npt.NDArray[np.uint8]:
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    factor = min(1.0, _SIDE / max(image.shape[:2]))
    size = [max(1, round(side * factor)) for side in image.shape[:2]]
    small: npt.NDArray[np.uint8] = tf.cast(
        tf.round(tf.raw_ops.ResizeArea(images=image[tf.newaxis], size=size)[0]), tf.uint8
    ).numpy()
    return small


def draw(rows: Sequence[Sequence[Neighbour]], images: Mapping[str, Shown], path: str) -> None:
    """Draws rows of images, each with its name, its distance and its labels.

    Args:
        rows: an image and its neighbours each, at least one row.
        images: by their names; an image that is not there stays an empty frame.
        path: of the PNG.

    Raises:
        OSError: the file cannot be written.
    """
    across = max(map(len, rows))
    figure = Figure(figsize=(2.1 * across, 2.2 * len(rows) + 0.4), layout="constrained")
    panels = figure.subplots(len(rows), across, squeeze=False)
    for panel in panels.ravel():
        panel.axis("off")
    for line, row in zip(panels, rows, strict=True):
        for i, (panel, one) in enumerate(zip(line, row, strict=False)):
            shown = images.get(one.filename)
            labels = textwrap.shorten(", ".join(shown.labels) or "no label", _MOST_LETTERS) if shown else "not found"
            place = f"{one.distance:.3f} {one.split}" if i else f"the image, {one.split}"
            # A dollar sign in a name is no formula.
            panel.set_title(
                f"{_short(one.filename)}\n{place}\n{labels}",
                fontsize=7,
                parse_math=False,
                loc="left",
                fontweight="normal" if i else "bold",
            )
            if shown:
                panel.imshow(shown.pixels)
    figure.suptitle(
        "Left: an image. Beside it: the images most like it, with the distance of their features.", fontsize=9
    )
    with warnings.catch_warnings(), storage.create(path) as file:
        # A name in a script that the font does not have: boxes in the picture, and the name in the file of features.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format="png", dpi=110)


def _short(name: str) -> str:
    text = printable(name)
    return text if len(text) <= _MOST_LETTERS else f"...{text[-_MOST_LETTERS + 3 :]}"
