"""Finds in a file of features the images that are most like some images, by the cosine of their features."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multihot.errors import UserError
from multihot.printable import printable
from schemas import embeddings


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
    wanted = _units(np.stack([rows[name][2] for name in filenames]))
    found: list[list[Neighbour]] = [[] for _ in filenames]
    first = 0
    for columns in embeddings.read(path):
        cosines = wanted @ _units(columns.features).T
        for own, of_image, name in zip(cosines, found, filenames, strict=True):
            if first <= rows[name][0] < first + len(own):
                own[rows[name][0] - first] = -np.inf
            for i in np.argsort(-own, kind="stable")[:number].tolist():
                if np.isfinite(own[i]):
                    distance = max(0.0, 1 - float(own[i]))
                    of_image.append(Neighbour(columns.filenames[i], columns.splits[i], distance))
            of_image.sort(key=lambda one: one.distance)
            del of_image[number:]
        first += len(columns.filenames)
    itself = [Neighbour(name, rows[name][1], 0.0) for name in filenames]
    return [[one, *others] for one, others in zip(itself, found, strict=True)]


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


def _units(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)
