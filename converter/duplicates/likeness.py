"""Compares two small colour pictures, window by window, to determine whether one is a copy of the other.

    pair -> light and frame are fitted -> windows are compared -> the worst window decides

A copy may be brighter or darker, cropped by a few percent, blurred by resizing, and compressed. So one picture is first
fitted to the other: its light by a gain and an offset of the levels, its frame by a stretch and a shift along each
side. Then the pictures are compared window by window, as by the structural similarity index (SSIM): a difference counts
relative to the variance of its window, since copies differ most at edges. One window that differs is enough, so that
drawings with different figures on the same plain ground do not count as copies.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pictures = NDArray[np.float32]  # [n, side, side, 3], levels from 0 to 255
Planes = NDArray[np.float32]  # [n, side, side]

# Side of the pictures, in pixels. Two digits that are a third of the side high differ in three or four pixels.
SIDE = 64

# Largest difference of a window of copies, as a share of its variance. The constants of this module were chosen on
# drawings that scripts/bench_duplicates does not use.
_MAX_DIFFERENCE = 0.4
# Differences at half the resolution: pictures with less than the first are copies, and pictures with less than the
# second are compared at full resolution. Different digits differ by at least 0.1.
_SURE, _DOUBTFUL = 0.05, 5.0
# Standard deviations, in levels, that are added to that of a window: JPEG and resizing change levels by about as much.
_NOISE, _CHROMA_NOISE = 6.0, 8.0
# Side of a window, in pixels.
_WINDOW, _CHROMA_WINDOW = 5, 3
# Windows at the border count less, since cropping removes their content.
_BORDER, _BORDER_WEIGHT = 0.05, 0.1
# Chroma is compared at a quarter of the resolution: JPEG halves it, and edges of strong colours bleed.
_CHROMA_STEP = 4
# Differences of hue have a larger weight: on black, orange resembles yellow at two thirds of the light.
_CHROMA_WEIGHT = 2.0

# Limits of the fit. Cropping by 2 % a side stretches by 4 %.
_MAX_GAIN, _MAX_OFFSET, _MAX_STRETCH, _MAX_SHIFT = 0.4, 60.0, 0.05, 0.02
_FRAME_LIMITS = np.array([_MAX_STRETCH, _MAX_SHIFT] * 2)
# Precision of the prior of gain and offset, and of stretches and shifts, in units of the precision of a pixel.
_LIGHT_PRIOR = (400.0, 0.25)
_FRAME_PRIOR = (6 / np.array([0.03, 0.006] * 2)) ** 2
# The fit of the frame starts with the best of these stretches. From 0 alone, it would not find one of several pixels.
_STRETCHES = (0.0, 0.02, -0.02, 0.04, -0.04)
# The second fit of the light starts with the best of these gains.
_GAINS = (1.0, 1.06, 1.12, 1.18, 1.24, 1.3, 1.36)
# Levels of at least this count as clipped.
_CLIPPED = 250.0

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Pairs with a larger difference at a quarter of the resolution are not fitted further: 99 of 100 copies have less.
_HOPELESS = 4.0
# Number of pairs that are compared at a time: some 50 MB.
CHUNK = 100


class _Light(NamedTuple):
    """Gain and offset from the levels of the darker picture of each pair to those of the lighter one: float32 [n]."""

    gain: NDArray[np.float32]
    offset: NDArray[np.float32]


_FitLight = Callable[[Pictures, Pictures, _Light], _Light]


def alike(some: NDArray[np.uint8], others: NDArray[np.uint8], sides: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Returns which pairs are copies of each other; the same if `some` and `others` are exchanged.

    Args:
        some: the first picture of each pair, uint8 [n, SIDE, SIDE, 3].
        others: the second picture of each pair, uint8 [n, SIDE, SIDE, 3].
        sides: shorter side of the smaller image of each pair, pixels: [n]. Small images are compared more coarsely.

    Returns:
        bool [n].
    """
    found = np.zeros(len(some), bool)
    for start in range(0, len(some), CHUNK):
        chunk = slice(start, start + CHUNK)
        one, other = (pictures[chunk].astype(np.float32) for pictures in (some, others))
        found[chunk] = _alike(one, other, sides[chunk])
    return found


def coarse(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns the mean colours of large cells, relative to the mean level: float32 [n, 192]; similar for copies."""
    cells = _pooled(pictures.astype(np.float32), SIDE // 8).reshape(len(pictures), -1)
    return cells / (cells.mean(1, keepdims=True) + 1)


def _alike(some: Pictures, others: Pictures, sides: NDArray[np.integer]) -> NDArray[np.bool_]:
    swapped = (some.sum((1, 2, 3)) > others.sum((1, 2, 3)))[:, None, None, None]
    dark, light = np.where(swapped, others, some), np.where(swapped, some, others)
    found = np.zeros(len(dark), bool)
    rest = np.flatnonzero(_are_hopeful(_pooled(dark, 4), _pooled(light, 4)))
    # The first fit is right unless many levels are clipped. The second one would be wrong for drawings on white.
    for fit_light in (_fit_unclipped, _fit_clipped):
        if rest.size:
            found[rest] = _are_alike(dark[rest], light[rest], sides[rest], fit_light)
            rest = rest[~found[rest] & (light[rest] >= _CLIPPED).any((1, 2, 3))]
    return found


def _are_hopeful(dark: Pictures, light: Pictures) -> NDArray[np.bool_]:
    """Returns which pairs may be copies, from pictures of a quarter of the side, for which the frame matters little."""
    hopeful = np.zeros(len(dark), bool)
    for fit_light in (None, _fit_unclipped, _fit_clipped):
        rest = np.flatnonzero(~hopeful)
        a, b, fit = dark[rest], light[rest], _no_light(len(rest))
        if fit_light and rest.size:
            fit = fit_light(a, b, fit)
        lumas = _expected(a, b, fit)[0] @ _LUMA, b @ _LUMA
        hopeful[rest] = _ratio([lumas], _CHROMA_WINDOW, _CHROMA_NOISE) <= _HOPELESS
    return hopeful


def _are_alike(dark: Pictures, light: Pictures, sides: NDArray[np.integer], fit_light: _FitLight) -> NDArray[np.bool_]:
    """Returns which pairs are copies: most are decided at half the resolution, in a third of the time."""
    dark2, light2 = _pooled(dark, 2), _pooled(light, 2)
    fit, frame = _fit(dark2, light2, fit_light)
    difference = _difference(dark2, light2, fit, frame, np.where(sides >= SIDE, 1, 2))
    found = difference <= _SURE
    rest = np.flatnonzero(~found & (difference <= _DOUBTFUL))
    if rest.size:
        dark, light, dark2, light2 = dark[rest], light[rest], dark2[rest], light2[rest]
        fit = _Light(*(values[rest] for values in fit))
        frame = _fit_frame(_lit(dark, fit) @ _LUMA, light @ _LUMA, frame[rest], steps=2)
        fit = fit_light(_framed(dark2, frame / 2), _framed(light2, -frame / 2), fit)
        # Two pixels of an image become one that is compared. A copy of half the size of a smaller image is too blurred.
        factors = np.select([sides[rest] >= 2 * SIDE, sides[rest] >= SIDE], [1, 2], 4)
        found[rest] = _difference(dark, light, fit, frame, factors) <= _MAX_DIFFERENCE
    return found


def _fit(dark: Pictures, light: Pictures, fit_light: _FitLight) -> tuple[_Light, NDArray[np.float64]]:
    """Returns the light and the frame, float64 [n, 4], of each pair, fitted alternately."""
    fit = fit_light(_pooled(dark, 2), _pooled(light, 2), _no_light(len(dark)))
    frame = _best_stretch(_lit(dark, fit) @ _LUMA, light @ _LUMA)
    frame = _fit_frame(_lit(dark, fit) @ _LUMA, light @ _LUMA, frame, steps=3)
    fit = fit_light(_framed(dark, frame / 2), _framed(light, -frame / 2), fit)
    return fit, _fit_frame(_lit(dark, fit) @ _LUMA, light @ _LUMA, frame, steps=2)


# ------------------------------------------------------------------------------------------------------- the light


def _no_light(number: int) -> _Light:
    return _Light(np.ones(number, np.float32), np.zeros(number, np.float32))


def _lit(dark: Pictures, fit: _Light) -> Pictures:
    lit: Pictures = np.clip(_unclipped(dark, fit), 0, 255)
    return lit


def _unclipped(dark: Pictures, fit: _Light) -> Pictures:
    gain, offset = (values[:, None, None, None] for values in fit)
    levels: Pictures = gain * dark + offset
    return levels


def _expected(dark: Pictures, light: Pictures, fit: _Light) -> tuple[Pictures, NDArray[np.bool_]]:
    """Returns the expected levels of `light`, as close to it as `dark` allows, and which of them are uncertain.

    A pixel of these small pictures is the mean of many. If brightening has clipped the brightest of them, the mean
    loses at most as much as they do. The brightest pixel nearby is taken for their level.
    """
    levels = _unclipped(dark, fit)
    if levels.max(initial=0) <= 255:
        return levels, np.zeros(levels.shape, bool)
    around = 2 * (dark.shape[1] // 12) + 1
    loss = np.maximum(ndimage.maximum_filter(levels, (0, around, around, 0)) - 255, 0)
    return np.clip(light, levels - loss, np.minimum(levels, 255)), loss > 0


def _fit_unclipped(dark: Pictures, light: Pictures, start: _Light) -> _Light:
    """Fits the light by least squares. Clipped levels, and levels around them, have little weight."""
    weights = _border(dark.shape[1])[:, :, None] * np.where(_widened(light >= _CLIPPED), 0.1, 1).astype(np.float32)
    fit = start
    for _ in range(3):
        levels = _unclipped(dark, fit)
        counts = weights * ~((levels >= 255) & (light >= _CLIPPED))
        fit = _step(dark, light - np.minimum(levels, 255), counts, fit)
    return fit


def _fit_clipped(dark: Pictures, light: Pictures, start: _Light) -> _Light:
    """Fits the light if many levels are clipped: starts with the best of some gains; outliers have little weight."""
    border = _border(dark.shape[1])[:, :, None]

    def cost(fit: _Light) -> NDArray[np.float32]:
        levels, uncertain = _expected(dark, light, fit)
        squares = (levels - light) ** 2
        # Levels that clipping explains have a cost too. Otherwise any gain would fit a white ground.
        sums: NDArray[np.float32] = (border * (squares / (squares + 100) + 0.05 * uncertain)).sum((1, 2, 3))
        return sums

    fit, lowest = start, cost(start)
    for gain in _GAINS:
        other = _no_light(len(dark))._replace(gain=np.full(len(dark), gain, np.float32))
        costs = cost(other)
        fit = _Light(*(np.where(costs < lowest, b, a) for a, b in zip(fit, other, strict=True)))
        lowest = np.minimum(lowest, costs)
    for _ in range(3):
        levels, uncertain = _expected(dark, light, fit)
        rest = light - levels
        counts = border / (1 + rest**2 / 100) * np.where(uncertain, np.where(rest == 0, 0, 0.02), 1)
        fit = _step(dark, rest, counts.astype(np.float32), fit)
    return fit


def _step(dark: Pictures, rest: Pictures, weights: Pictures, fit: _Light) -> _Light:
    """Returns the light after one step of weighted least squares, within its limits."""
    gain, offset = (values.astype(np.float64) for values in fit)
    weighted = weights * dark
    squares = (weighted * dark).sum((1, 2, 3), dtype=np.float64) + _LIGHT_PRIOR[0]
    mixed = weighted.sum((1, 2, 3), dtype=np.float64)
    ones = weights.sum((1, 2, 3), dtype=np.float64) + _LIGHT_PRIOR[1]
    of_gain = (weighted * rest).sum((1, 2, 3), dtype=np.float64) - _LIGHT_PRIOR[0] * (gain - 1)
    of_offset = (weights * rest).sum((1, 2, 3), dtype=np.float64) - _LIGHT_PRIOR[1] * offset
    determinant = squares * ones - mixed**2
    gain = gain + (ones * of_gain - mixed * of_offset) / determinant
    offset = offset + (squares * of_offset - mixed * of_gain) / determinant
    too_far = np.maximum(1, np.abs(gain - 1) / _MAX_GAIN + np.abs(offset) / _MAX_OFFSET)
    return _Light((1 + (gain - 1) / too_far).astype(np.float32), (offset / too_far).astype(np.float32))


# ------------------------------------------------------------------------------------------------------- the frame


def _best_stretch(dark: Planes, light: Planes) -> NDArray[np.float64]:
    """Returns for each pair the best of some frames that stretch both sides equally: float64 [n, 4]."""
    frames = np.array([[stretch, 0.0, stretch, 0.0] for stretch in _STRETCHES])
    border = _border(dark.shape[1])
    errors = [
        (border * (_framed(dark, one / 2) - _framed(light, -one / 2)) ** 2).sum((1, 2)) for one in frames[:, None]
    ]
    errors[0] *= 0.98  # Prefers no stretch if another one is hardly better.
    best: NDArray[np.float64] = frames[np.argmin(errors, axis=0)]
    return best


def _fit_frame(dark: Planes, light: Planes, frame: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Improves the frames of pairs with equal light, by steps of least squares (Lucas and Kanade, 1981)."""
    number, side, _ = dark.shape
    x = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)
    border = _border(side).reshape(1, -1, 1)
    for _ in range(steps):
        one, other = _framed(dark, frame / 2), _framed(light, -frame / 2)
        down, across = (side * slope for slope in np.gradient((one + other) / 2, axis=(1, 2)))
        terms = np.stack([across * x, across, down * x[:, None], down], -1).reshape(number, -1, 4)
        weighted = (border * terms).swapaxes(1, 2)
        normal_matrix = (weighted @ terms).astype(np.float64) + np.diag(_FRAME_PRIOR)
        residuals = (weighted @ (other - one).reshape(number, -1, 1)).astype(np.float64)
        step = np.linalg.solve(normal_matrix, residuals - (_FRAME_PRIOR * frame)[:, :, None])
        frame = np.clip(frame + step[:, :, 0], -_FRAME_LIMITS, _FRAME_LIMITS)
    return frame


def _framed(pictures: NDArray[np.float32], frame: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns stretched and shifted pictures or planes, by cubic interpolation along one side and then the other."""
    side = pictures.shape[1]
    across, down = (_resampling(side, *frame[:, at : at + 2].T) for at in (0, 2))
    if pictures.ndim == 3:
        return (down @ pictures @ across.swapaxes(1, 2)).astype(np.float32)
    planes = [down @ pictures[..., channel] @ across.swapaxes(1, 2) for channel in range(3)]
    return np.stack(planes, -1)


def _resampling(side: int, stretch: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns the matrices that map a line of pixels to the stretched and shifted line: float32 [n, side, side]."""
    middles = (np.arange(side) + 0.5) / side - 0.5
    at = (middles * (1 + stretch[:, None]) + shift[:, None] + 0.5) * side - 0.5
    # Four pixels of a line have weights. Two more at each end take weights that would lie outside.
    first = np.floor(np.clip(at, 0, side - 1)).astype(np.intp)[:, :, None] + np.arange(-1, 3)
    distance = np.abs(np.clip(at, 0, side - 1)[:, :, None] - first).astype(np.float32)
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    matrices = np.zeros((len(stretch), side, side + 4), np.float32)
    np.put_along_axis(matrices, first + 2, weights, 2)
    matrices = matrices[:, :, 2:-2]
    return matrices / matrices.sum(2, keepdims=True)


# --------------------------------------------------------------------------------------------------- the comparison


def _difference(
    dark: Pictures, light: Pictures, fit: _Light, frame: NDArray[np.float64], factors: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Returns the difference of the worst window of each pair, as a share of its variance: float32 [n].

    Args:
        dark: pictures.
        light: pictures.
        fit: the light of each pair.
        frame: of each pair.
        factors: 1, 2 or 4: side in pixels of the squares that are compared as one pixel, [n].
    """
    dark, light = (np.clip(_framed(one, by / 2), 0, 255) for one, by in ((dark, frame), (light, -frame)))
    expected, _ = _expected(dark, light, fit)
    differences = np.zeros(len(dark), np.float32)
    for factor in (1, 2, 4):
        chosen = factors == factor
        if chosen.any():
            differences[chosen] = _compared(expected[chosen], light[chosen], factor)
    return differences


def _compared(expected: Pictures, light: Pictures, factor: int) -> NDArray[np.float32]:
    lumas = [_pooled(one, factor) @ _LUMA for one in (expected, light)]
    if lumas[0].shape[1] == SIDE:
        # Details of one pixel depend on how the image was reduced to this size.
        lumas = [ndimage.convolve1d(ndimage.convolve1d(luma, _SMOOTH, 1), _SMOOTH, 2) for luma in lumas]
    step = min(factor * _CHROMA_STEP, expected.shape[1] // 8)
    chroma = zip(*(_chroma(_pooled(one, step)) for one in (expected, light)), strict=True)
    of_chroma = _CHROMA_WEIGHT * _ratio(list(chroma), _CHROMA_WINDOW, _CHROMA_NOISE)
    return np.maximum(_ratio([(lumas[0], lumas[1])], _WINDOW, _NOISE), of_chroma)


_SMOOTH = np.array([0.25, 0.5, 0.25], np.float32)


def _chroma(pictures: Pictures) -> tuple[Planes, Planes]:
    """Returns Cb and Cr, as in JPEG."""
    luma = pictures @ _LUMA
    blue, red = ((pictures[..., channel] - luma).astype(np.float32) for channel in (2, 0))
    return blue * np.float32(0.564), red * np.float32(0.713)


def _ratio(planes: list[tuple[Planes, Planes]], window: int, noise: float) -> NDArray[np.float32]:
    """Returns the mean square difference of the worst window, as a share of the variances: float32 [n]."""

    def mean(plane: Planes) -> Planes:
        means: Planes = ndimage.uniform_filter(plane, (0, window, window), mode="nearest")
        return means

    squares = sum(mean((one - other) ** 2) for one, other in planes)
    variances = sum(np.sqrt(_variance(one, mean) * _variance(other, mean)) for one, other in planes)
    worst: NDArray[np.float32] = (squares / (variances + noise**2) * _border(planes[0][0].shape[1])).max((1, 2))
    return worst


def _variance(plane: Planes, mean: Callable[[Planes], Planes]) -> Planes:
    return np.maximum(mean(plane**2) - mean(plane) ** 2, 0)


# --------------------------------------------------------------------------------------------------------- pictures


def _pooled(pictures: Pictures, factor: int) -> Pictures:
    """Returns the means of squares of pixels with a side of `factor`: 1, 2, 4, or 8."""
    if factor == 1:
        return pictures
    halves = pictures[:, ::2] + pictures[:, 1::2]
    return _pooled((halves[:, :, ::2] + halves[:, :, 1::2]) * np.float32(0.25), factor // 2)


def _border(side: int) -> NDArray[np.float32]:
    """Returns the weight of each pixel: float32 [side, side]."""
    width = max(1, round(side * _BORDER))
    weights = np.full((side, side), _BORDER_WEIGHT, np.float32)
    weights[width:-width, width:-width] = 1
    return weights


def _widened(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns these pixels and their neighbours."""
    widened: NDArray[np.bool_] = ndimage.maximum_filter(pixels, (0, 3, 3, 0))
    return widened
