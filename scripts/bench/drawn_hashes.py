"""Measures how the search for near duplicates grows with the number of images: hashes are drawn, and compared.

Bits of the hashes of photographs depend on each other. The drawn ones are made from normal numbers with the covariance
of the frequencies of photographs, so that as many of them agree in a band.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converter.duplicates import fingerprints, neighbours
from multihot.images.prove import Preparation, prepare

_CHUNK = 100_000
# Values that a band of nine bits has.
_VALUES = 512


def frequencies(photographs: Sequence[Path]) -> NDArray[np.float64]:
    """Returns the low frequencies of photographs, from which hashes are made: float64 [n, 64]."""
    preparation = Preparation(max_pixels=100_000_000)
    grey = (prepare(path.read_bytes(), preparation).grey for path in photographs)
    return np.stack([fingerprints.views(one)[:8, :8].ravel() for one in grey])


def drawn(number: int, like: NDArray[np.float64] | None, seed: int = 0) -> NDArray[np.uint64]:
    """Returns hashes: uint64 [number].

    Args:
        number: of hashes.
        like: frequencies of photographs; None for bits that do not depend on each other.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    if like is None:
        return rng.integers(0, 1 << 64, number, np.uint64)
    scale = np.median(np.abs(like), axis=0) + 1e-9
    # Frequencies have long tails, which arcsinh shortens.
    shortened = np.arcsinh(like / scale)
    root = np.linalg.cholesky(np.cov(shortened.T) + 1e-9 * np.eye(64))
    hashes = []
    for start in range(0, number, _CHUNK):
        normal = rng.standard_normal((min(_CHUNK, number - start), 64)) @ root.T + shortened.mean(axis=0)
        hashes.append(fingerprints._phashes(np.sinh(normal) * scale))
    return np.concatenate(hashes)


def seconds(hashes: NDArray[np.uint64], bands: Sequence[int] = neighbours._BANDS) -> float:
    """Returns the processor time in which the candidates among images with these hashes are found in some bands."""
    thumbnails = np.random.default_rng(0).integers(0, 256, (len(hashes), 64), np.uint8)
    start = time.process_time()
    for band in bands:
        neighbours._links(np.uint64(band), hashes, thumbnails)
    return time.process_time() - start


def report(numbers: Sequence[int], photographs: Sequence[Path]) -> None:
    """Prints the processor time of an image, among each number of images."""
    like = frequencies(photographs) if photographs else None
    for number in numbers:
        print(f"{number} hashes: {seconds(drawn(number, like)) / number * 1e6:.1f} us each")
    # All that agree in the first band, of so many images that a million do.
    band = neighbours._BANDS[0]
    part = drawn(1_000_000, like) & ~np.uint64(band)
    each = seconds(part, [band]) / len(part) * len(neighbours._BANDS)
    print(f"{len(part) * _VALUES} hashes, of which a part was compared: {each * 1e6:.1f} us each")
