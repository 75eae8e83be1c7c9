"""Finds the images that are most like some images, by the cosine of their features."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Images whose cosines are computed together.
_BLOCK = 1 << 16


class Nearest:
    """Looks for the nearest other images of some images, as features are given to it."""

    def __init__(self, features: NDArray[np.floating], own: NDArray[np.int64], number: int) -> None:
        """Prepares to look.

        Args:
            features: of the m images, float [m, d].
            own: their numbers among all images: no image is its own neighbour.
            number: of images to find for each.
        """
        self._wanted, self._own, self._number = _units(features), own, number
        self._first = 0
        self._numbers = np.empty((len(own), 0), np.int64)
        self._cosines = np.empty((len(own), 0), np.float32)

    def add(self, features: NDArray[np.floating]) -> None:
        """Looks among the next images, of features float [n, d]. Images are numbered in the order of the calls."""
        for block in _blocks(features):
            cosines = self._wanted @ _units(block).T
            own = self._own - self._first
            inside = (own >= 0) & (own < len(block))
            cosines[np.flatnonzero(inside), own[inside]] = -np.inf
            numbers = np.broadcast_to(np.arange(self._first, self._first + len(block)), cosines.shape)
            numbers, cosines = np.hstack([self._numbers, numbers]), np.hstack([self._cosines, cosines])
            best = np.argsort(-cosines, axis=1, kind="stable")[:, : self._number]
            self._numbers, self._cosines = np.take_along_axis(numbers, best, 1), np.take_along_axis(cosines, best, 1)
            self._first += len(block)

    def found(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Returns the numbers of the nearest images so far, the nearest one first, and their cosines.

        Returns:
            int64 and float32 [m, `number`], or for all other images if there are fewer.
        """
        # Each image itself comes last.
        others = max(0, min(self._number, self._first - 1))
        return self._numbers[:, :others], self._cosines[:, :others]


def _blocks(features: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    yield from (features[start : start + _BLOCK] for start in range(0, len(features), _BLOCK))


def _units(features: NDArray[np.floating]) -> NDArray[np.float32]:
    # The square of a float16 may be infinite.
    values = features.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float32).tiny)
