"""Whether one picture is a copy of another, by small colour pictures of both.

    pair -> light and frame are fitted -> the largest difference of a cell, in units of its tolerance

A copy may be lit or dimmed, and cropped by a few percent. So one picture is fitted to the other first: by a factor and
an offset of all its levels, and by a stretch and a shift along each side. What is left is compared cell by cell, since
the plain ground that two drawings have in common must not hide that their figures differ.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.float32]  # [n, side, side, 3], levels from 0 to 255

# Cells of a side of the small pictures. With 16 of them, one digit of a number is too small to be told from another.
SIDE = 20

# Tolerance of a cell: levels that JPEG and resizing change, a share of the slope at the cell, which a shift by a
# part of a cell changes, and a share of the mean slope around it: where much is drawn, more of it is blurred.
_NOISE, _OF_SLOPE, _OF_SURROUNDINGS = 4.0, 0.1, 0.5
# All tolerances grow with the share of cells that have a slope of _SLOPED or more: photographs are full of them, and
# are never as alike as drawings of one layout.
_OF_STRUCTURE, _SLOPED = 2.0, 6.0
# scripts/bench_duplicates measures what this gives.
_MAX_EXCESS = 0.65
# Cells at the border count less: cropping removes what is there.
_BORDER = 0.25
# Surroundings of a cell, cells along a side.
_AROUND = 7

# Limits of the fit. A copy is lit by a fifth more or less, or has an offset, or some of both.
_MAX_GAIN, _MAX_OFFSET = 0.35, 60.0
# Cropping by 2 % a side stretches by 4 %.
_MAX_STRETCH, _MAX_SHIFT = 0.045, 0.012
# Levels from here on are what a lit picture is cut at. Near them a lit cell may have any gain up to _CLIPPED_GAIN.
_CLIPPED, _CLIPPED_GAIN = 250.0, 1.25

_STEPS = 5
# Excess after a rough fit beyond which a finer one is of no use.
_HOPELESS = 4.0
# Of `roughly_alike`: cells along a side, how many levels they may differ by, and the root of the gain.
_ROUGH_SIDE, _ROUGHLY, _ROUGH_GAIN = 5, 45.0, 1.15
# Of the fit: standard deviations of gain, offset, stretches and shifts that are expected, in units of those of a cell.
_PRIOR = (3.0 / np.array([0.2, 8.0, 0.02, 0.005, 0.02, 0.005])) ** 2
# Weights of the channels, as in JPEG.
_GREY = np.array([[0.299], [0.587], [0.114]], np.float32)
# Pairs that are compared at a time: some megabytes.
_CHUNK = 256


class _Fit(NamedTuple):
    """How the darker picture of each pair becomes the lighter one.

    Attributes:
        gain: float64 [n].
        offset: levels, float64 [n].
        frame: stretch and shift along x, and along y, as shares of a side: float64 [n, 4].
    """

    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    frame: NDArray[np.float64]


def alike(some: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns which pairs are copies of each other.

    Args:
        some: pictures, uint8 [n, SIDE, SIDE, 3].
        others: as many, to compare with these.

    Returns:
        bool [n]; the same if `some` and `others` are exchanged.
    """
    return _in_chunks(_alike, some, others)


def roughly_alike(some: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns which pairs have about the same colours in the same places: a hundredth of the time of `alike`.

    Args:
        some: pictures, uint8 [n, SIDE, SIDE, 3].
        others: as many, to compare with these.

    Returns:
        bool [n]; true of nearly all pairs that are alike.
    """
    return _in_chunks(_roughly_alike, some, others)


def _in_chunks(
    compare: Callable[[Pictures, Pictures], NDArray[np.bool_]], some: NDArray[np.uint8], others: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(some), _CHUNK)]
    found = [compare(some[chunk].astype(np.float32), others[chunk].astype(np.float32)) for chunk in chunks]
    return np.concatenate([np.zeros(0, bool), *found])


def _roughly_alike(some: Pictures, others: Pictures) -> NDArray[np.bool_]:
    (a, a_mean), (b, b_mean) = ((rough(one), one.mean((1, 2, 3)) + 1) for one in (some, others))
    # In levels of the mean of both, so that one may be lit.
    scale = np.clip(np.sqrt(b_mean / a_mean), 1 / _ROUGH_GAIN, _ROUGH_GAIN)[:, None]
    near: NDArray[np.bool_] = np.abs(a * scale - b / scale).max(1) <= _ROUGHLY
    return near


def rough(pictures: Pictures) -> NDArray[np.float32]:
    """Returns the mean colours of large cells: float32 [n, 75]."""
    cells = SIDE // _ROUGH_SIDE
    means = pictures.reshape(len(pictures), _ROUGH_SIDE, cells, _ROUGH_SIDE, cells, 3).mean((2, 4), dtype=np.float32)
    return means.reshape(len(pictures), -1)


def _alike(some: Pictures, others: Pictures) -> NDArray[np.bool_]:
    totals = some.sum((1, 2, 3)), others.sum((1, 2, 3))
    swapped = (totals[0] > totals[1])[:, None, None, None]
    dark, light = np.where(swapped, others, some), np.where(swapped, some, others)
    found = np.zeros(len(dark), bool)
    rest, fit = np.arange(len(dark)), _unfitted(len(dark))
    # As they are; fitted by few grey cells, which is enough for most; and by all cells.
    for reduced in (None, _halved, _whole):
        if reduced:
            fit = _fitted(reduced(dark[rest]), reduced(light[rest]), fit)
        excess = _excess(dark[rest], light[rest], fit)
        found[rest] = excess <= _MAX_EXCESS
        left = (excess > _MAX_EXCESS) & ((excess <= _HOPELESS) | (reduced is None))
        rest, fit = rest[left], _Fit(*(values[left] for values in fit))
        if not rest.size:
            break
    return found


def _unfitted(number: int) -> _Fit:
    return _Fit(np.ones(number), np.zeros(number), np.zeros((number, 4)))


def _whole(pictures: Pictures) -> Pictures:
    return pictures


def _halved(pictures: Pictures) -> Pictures:
    """Returns grey pictures of half the side: enough for the fit, in a twelfth of the numbers."""
    number, side, *_ = pictures.shape
    halved: Pictures = (pictures @ _GREY).reshape(number, side // 2, 2, side // 2, 2, 1).mean((2, 4))
    return halved


def _fitted(dark: Pictures, light: Pictures, start: _Fit) -> _Fit:
    """Fits the pairs by least squares, in a few steps of which each starts from the last one."""
    number, side, *_ = dark.shape
    gain, offset, frame = start
    x = np.linspace(-0.5, 0.5, 2 * side + 1)[1::2, None].astype(np.float32)
    y = x[:, None]
    weights = _border(side)[:, :, None]
    for _ in range(_STEPS):
        seen, wanted = _framed(dark, frame / 2), _framed(light, -frame / 2)
        clipped = wanted >= _CLIPPED
        lit = gain[:, None, None, None] * seen + offset[:, None, None, None]
        slope_y, slope_x = (side * slope for slope in _slopes((lit + wanted) / 2))
        terms = np.stack([seen, np.ones_like(seen), slope_x * x, slope_x, slope_y * y, slope_y], -1)
        terms = terms.reshape(number, -1, 6)
        # Clipped levels say that a cell is bright, and no more; levels near them say little.
        says = np.where(clipped, np.where(lit < _CLIPPED, 0.02, 0.0), np.where(_widened(clipped), 0.1, 1.0))
        weight = (weights * says).reshape(number, -1, 1)
        reached = np.where(clipped, np.maximum(np.minimum(lit, 255), seen), lit)
        left = (weight * terms).swapaxes(1, 2).astype(np.float64)
        right = left @ (wanted - reached).reshape(number, -1, 1)
        right[:, :, 0] -= _PRIOR * np.column_stack([gain - 1, offset, frame])
        step = np.linalg.solve(left @ terms + np.diag(_PRIOR), right)[:, :, 0]
        gain, offset = gain + step[:, 0], offset + step[:, 1]
        too_far = np.maximum(1, np.abs(gain - 1) / _MAX_GAIN + np.abs(offset) / _MAX_OFFSET)
        gain, offset = 1 + (gain - 1) / too_far, offset / too_far
        limits = np.array([_MAX_STRETCH, _MAX_SHIFT] * 2)
        frame = np.clip(frame + step[:, 2:], -limits, limits)
    return _Fit(gain, offset, frame)


def _excess(dark: Pictures, light: Pictures, fit: _Fit) -> NDArray[np.float32]:
    """Returns the largest difference of a cell of each pair, in units of its tolerance: [n]."""
    if fit.frame.any():
        dark, light = _framed(dark, fit.frame / 2), _framed(light, -fit.frame / 2)
    near_clipped = _widened(light >= _CLIPPED)
    lit = (fit.gain[:, None, None, None] * dark + fit.offset[:, None, None, None]).astype(np.float32)
    least = np.where(near_clipped, np.minimum(dark, lit), lit)
    most = np.where(near_clipped, np.maximum(_CLIPPED_GAIN * dark, lit), lit)
    seen = np.minimum(light, 255)
    differences = np.maximum(np.minimum(least, 255) - seen, seen - np.minimum(most, 255)).max(-1)
    slope_y, slope_x = _slopes((lit + light) / 2)
    slope = np.sqrt(slope_x**2 + slope_y**2).max(-1)
    structure = 1 + _OF_STRUCTURE * (slope > _SLOPED).mean((1, 2))
    tolerance = _NOISE + _OF_SLOPE * slope + _OF_SURROUNDINGS * _surroundings(slope)
    excess: NDArray[np.float32] = (_border(dark.shape[1]) * differences / tolerance).max((1, 2)) / structure
    return excess


def _border(side: int) -> NDArray[np.float32]:
    """Returns how much each cell counts: float32 [side, side]."""
    weights = np.full((side, side), _BORDER, np.float32)
    weights[1:-1, 1:-1] = 1
    return weights


def _framed(pictures: Pictures, frame: NDArray[np.float64]) -> Pictures:
    """Returns stretched and shifted pictures: cubic interpolation, along one side and then along the other."""
    number, side, _, channels = pictures.shape
    along_x, along_y = (_resampling(side, *frame[:, at : at + 2].T) for at in (0, 2))
    rows = (along_y @ pictures.reshape(number, side, -1)).reshape(number, side, side, channels)
    return along_x[:, None] @ rows


def _resampling(side: int, stretch: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns the matrices that take a line of cells to a stretched and shifted one: float32 [n, side, side]."""
    middles = (np.arange(side) + 0.5) / side - 0.5
    at = (middles * (1 + stretch[:, None]) + shift[:, None] + 0.5) * side - 0.5
    distance = np.abs(np.clip(at, 0, side - 1)[:, :, None] - np.arange(side))
    near = 1 - 2.5 * distance**2 + 1.5 * distance**3
    far = 2 - 4 * distance + 2.5 * distance**2 - 0.5 * distance**3
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return (weights / weights.sum(2, keepdims=True)).astype(np.float32)


def _slopes(pictures: NDArray[np.floating]) -> tuple[Pictures, Pictures]:
    """Returns by how many levels a cell differs from the next one, along y and along x."""
    pictures = pictures.astype(np.float32)
    return np.asarray(np.gradient(pictures, axis=1)), np.asarray(np.gradient(pictures, axis=2))


def _widened(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns these cells and the cells around them."""
    wide = cells.copy()
    wide[:, 1:] |= cells[:, :-1]
    wide[:, :-1] |= cells[:, 1:]
    tall = wide.copy()
    tall[:, :, 1:] |= wide[:, :, :-1]
    tall[:, :, :-1] |= wide[:, :, 1:]
    return tall


def _surroundings(slope: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the means of the cells around each cell: [n, side, side]."""
    half = _AROUND // 2
    wide = np.pad(slope, ((0, 0), (half, half), (half, half)), mode="edge")
    sums = np.pad(wide.cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    rows = sums[:, _AROUND:] - sums[:, :-_AROUND]
    means: NDArray[np.float32] = (rows[:, :, _AROUND:] - rows[:, :, :-_AROUND]) / _AROUND**2
    return means
