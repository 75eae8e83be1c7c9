"""Finds the images that are most like a suspect, by the cosine of their features."""

import numpy as np
from numpy.typing import NDArray

# Images that are compared with all suspects at a time.
_BLOCK = 1 << 16


def nearest(features: NDArray[np.floating], of: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Returns the nearest other images of some images, the nearest one first.

    Args:
        features: of n images, float [n, d].
        of: numbers of m images.
        number: of images for each, or all others if there are fewer.

    Returns:
        Numbers of images, int64 [m, at most `number`].
    """
    number = min(number, len(features) - 1)
    wanted = _units(features[of])
    numbers, cosines = np.empty((len(of), 0), np.int64), np.empty((len(of), 0), np.float32)
    for start in range(0, len(features), _BLOCK):
        block = wanted @ _units(features[start : start + _BLOCK]).T
        own = of - start
        inside = (own >= 0) & (own < block.shape[1])
        block[np.flatnonzero(inside), own[inside]] = -np.inf
        found = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        numbers, cosines = np.hstack([numbers, found]), np.hstack([cosines, block])
        best = np.argsort(-cosines, axis=1, kind="stable")[:, : max(number, 0)]
        numbers, cosines = np.take_along_axis(numbers, best, 1), np.take_along_axis(cosines, best, 1)
    return numbers


def _units(features: NDArray[np.floating]) -> NDArray[np.float32]:
    # The square of a float16 may be infinite.
    values = features.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float32).tiny)
