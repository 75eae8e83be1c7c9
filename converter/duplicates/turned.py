"""Compares two small grey pictures of images, to determine whether one shows a turned, mirrored or cropped copy.

    pictures -> fine structure -> one is laid into the other, in eight positions and many sizes -> correlation

The picture of a cropped copy is reduced to the size of the crop, and laid into that of its original. Every place and
every size are tried, of each picture in the other. Only fine structure is compared: many evening skies, seas and dunes
have the same light and dark areas.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Planes = NDArray[np.float32]  # [n, side, side]

# Smallest correlation of copies, chosen on copies of 144 photographs (MIML). docs/converting.md has the measurement.
MIN_CORRELATION = 0.925
# Fine structure is the difference of two blurred pictures, with these standard deviations as shares of the side.
_FINE, _COARSE = 0.7 / 32, 3 / 32
# Smallest crop that is searched for, as a share of the side: a crop of 60 % of the area has 0.77.
_SMALLEST = 0.6
# Pairs whose pictures of half the side correlate less are not compared further.
_HOPELESS = 0.75
# Contrast of a window, in levels, below which its correlation is that of noise.
_LEAST_CONTRAST = 1.0
# Number of pairs that are compared at a time: some 100 MB.
_CHUNK = 32


def are_copies(some: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns which pairs of pictures show copies: bool [n].

    Args:
        some: the first picture of each pair, levels of grey [n, side, side].
        others: the second picture of each pair.
    """
    found = np.zeros(len(some), bool)
    for start in range(0, len(some), _CHUNK):
        a, b = (each[start : start + _CHUNK].astype(np.float32) for each in (some, others))
        hopeful = np.flatnonzero(correlations(_halved(a), _halved(b)) >= _HOPELESS)
        found[start + hopeful] = correlations(a[hopeful], b[hopeful]) >= MIN_CORRELATION
    return found


def correlations(some: Planes, others: Planes) -> NDArray[np.float32]:
    """Returns the highest correlation of each pair, of all positions, sizes and places: float32 [n]."""
    if not len(some):
        return np.empty(0, np.float32)
    a, b = _structure(some), _structure(others)
    return np.maximum(_laid_into(a, b), _laid_into(b, a))


def _laid_into(large: Planes, small: Planes) -> NDArray[np.float32]:
    """Returns the highest correlation of the second pictures, reduced, with windows of the first ones."""
    number, side, _ = large.shape
    best = np.full(number, -1, np.float32)
    for size in range(round(_SMALLEST * side), side + 1):
        matrix, places = _reducing(side, size), side - size + 1
        reduced: Planes = (matrix @ small @ matrix.T).astype(np.float32)
        laid = _normalized(_positions(reduced).reshape(number, 8, -1))
        windows = _normalized(sliding_window_view(large, (size, size), (1, 2)).reshape(number, -1, size * size))
        found = (windows @ laid.swapaxes(1, 2)).reshape(number, places, places, 8)
        rises = _rise(found) + _rise(found.swapaxes(1, 2)).swapaxes(1, 2)
        best = np.maximum(best, (found + rises).max((1, 2, 3)))
    return best


def _rise(found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns how much higher than in whole pixels a correlation becomes between them along the first axis of places.

    It is the top of the parabola through a value and its two neighbours. Without it, a copy that lies half a pixel off
    has 0.02 less.
    """
    rises = np.zeros_like(found)
    before, middle, after = found[:, :-2], found[:, 1:-1], found[:, 2:]
    curvature = np.maximum(2 * middle - before - after, np.float32(1e-4))
    is_top = (middle >= before) & (middle >= after)
    rises[:, 1:-1] = np.where(is_top, (before - after) ** 2 / (8 * curvature), 0)
    return rises


def _positions(pictures: Planes) -> Planes:
    """Returns pictures turned by quarters, and mirrored: [n, 8, side, side]."""
    turned: Sequence[Planes] = [np.rot90(pictures, quarters, (1, 2)) for quarters in range(4)]
    return np.stack([*turned, *(one[:, :, ::-1] for one in turned)], axis=1)


def _normalized(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns vectors of mean 0 and length 1, so that their products are correlations."""
    centred = values - values.mean(-1, keepdims=True)
    lengths = np.sqrt((centred * centred).sum(-1, keepdims=True))
    normalized: NDArray[np.float32] = centred / np.maximum(
        lengths, np.float32(_LEAST_CONTRAST * values.shape[-1] ** 0.5)
    )
    return normalized


def _structure(pictures: Planes) -> Planes:
    fine, coarse = (
        ndimage.gaussian_filter(pictures, (0, share * pictures.shape[1], share * pictures.shape[1]), mode="nearest")
        for share in (_FINE, _COARSE)
    )
    structure: Planes = fine - coarse
    return structure


def _halved(pictures: Planes) -> Planes:
    halves = pictures[:, ::2] + pictures[:, 1::2]
    quarters: Planes = (halves[:, :, ::2] + halves[:, :, 1::2]) * np.float32(0.25)
    return quarters


def _reducing(side: int, size: int) -> NDArray[np.float32]:
    """Returns the matrix that reduces a line of pixels: [size, side]."""
    each = Image.fromarray(np.eye(side, dtype=np.float32))
    return np.asarray(each.resize((side, size), Image.Resampling.BILINEAR))
