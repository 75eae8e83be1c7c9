"""Finds in a file of features the images that are most like some images, by the cosine of their features."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multihot.errors import UserError
from multihot.printable import printable
from schemas import embeddings
from trainer.nearest import Nearest


class Neighbour(NamedTuple):
    """An image of a file of features.

    Attributes:
        filename: of the image.
        split: of the image.
        distance: 1 - the cosine of its features and those of the image that it is like; 0 for that image itself.
    """

    filename: str
    split: str
    distance: float


def nearest(path: str, filenames: Sequence[str], number: int) -> list[list[Neighbour]]:
    """Returns for each of some images the image itself, and the images that are most like it, the nearest one first.

    The file is read twice, some rows at a time.

    Args:
        path: of the file of features.
        filenames: of the images.
        number: of neighbours of each image.

    Raises:
        UserError: an image has no row, or the file is damaged.
        OSError: the file cannot be read.
    """
    rows = _rows(path, set(filenames))
    for name in filenames:
        if name not in rows:
            raise UserError(f"{path} has no row of {printable(name)}. Names are those of the records of the dataset.")
    own = np.array([rows[name][0] for name in filenames], np.int64)
    search = Nearest(np.stack([rows[name][2] for name in filenames]), own, number)
    names: dict[int, tuple[str, str]] = {}
    first = 0
    for columns in embeddings.read(path):
        search.add(columns.features)
        for i in np.unique(search.found()[0]).tolist():
            if i >= first:
                names[i] = columns.filenames[i - first], columns.splits[i - first]
        first += len(columns.filenames)
    return [
        [
            Neighbour(name, rows[name][1], 0.0),
            *(Neighbour(*names[i], max(0.0, 1 - cosine)) for i, cosine in zip(*found, strict=True)),
        ]
        for name, *found in zip(filenames, *(each.tolist() for each in search.found()), strict=True)
    ]


def _rows(path: str, names: set[str]) -> dict[str, tuple[int, str, NDArray[np.float32]]]:
    """Returns index, split and features of the first row of each name that has one."""
    found: dict[str, tuple[int, str, NDArray[np.float32]]] = {}
    first = 0
    for columns in embeddings.read(path):
        for i, name in enumerate(columns.filenames):
            if name in names:
                found.setdefault(name, (first + i, columns.splits[i], columns.features[i]))
        first += len(columns.filenames)
    return found
