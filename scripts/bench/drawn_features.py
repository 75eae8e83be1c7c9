"""Measures how the search for candidates by features grows with the number of images, and which copies it finds.

The features are drawn around those of real photographs: each is the mean of two of them, with noise. One image in a
hundred has a copy, whose features have a cosine from 0.86 to 0.99 with those of the image.
"""

import resource
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converter.duplicates import embedded
from schemas import embeddings

# Noise of an image, and of copies, as shares of the length of the features.
_NOISE = 0.5
_COSINES = (0.86, 0.99)


def report(numbers: Sequence[int], path: str) -> None:
    """Prints a line for each number of images.

    Args:
        numbers: of images.
        path: of a file of features of photographs.
    """
    real = np.concatenate([embedded.whole(columns.features) for columns in embeddings.read(path)])
    for number in numbers:
        vectors, originals, copies, cosines = _drawn(real.astype(np.float32), number)
        start = time.perf_counter()
        found = set(zip(*(ends.tolist() for ends in embedded.candidates(vectors)), strict=True))
        seconds = time.perf_counter() - start
        pairs = [tuple(sorted(pair)) for pair in zip(originals.tolist(), copies.tolist(), strict=True)]
        near = [pair in found for pair, cosine in zip(pairs, cosines, strict=True) if cosine >= embedded.MIN_COSINE]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{number:,} images: {seconds:.1f} s, {seconds / number * 1e6:.0f} us an image, {len(found):,} candidates, "
            f"{np.mean(near):.4f} of {len(near):,} copies among them, at most {peak:.2f} GB",
            flush=True,
        )


def _drawn(
    real: NDArray[np.float32], number: int
) -> tuple[NDArray[np.int16], NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Returns vectors, the indices of originals and of their copies, and the cosine of each of these pairs."""
    rng = np.random.default_rng(0)
    num_copies = number // 100
    vectors = np.empty((number, real.shape[1]), np.int16)
    originals = rng.choice(number - num_copies, num_copies, replace=False)
    copies = np.arange(number - num_copies, number)
    for start in range(0, number, 10_000):
        stop = min(start + 10_000, number)
        some, others = real[rng.integers(0, len(real), (2, stop - start))]
        vectors[start:stop] = embedded.whole(_units(_units(some + others) + _NOISE * _noise(rng, some.shape)))
    wanted = rng.uniform(*_COSINES, num_copies)
    for start in range(0, num_copies, 10_000):
        part = slice(start, start + 10_000)
        own = _units(vectors[originals[part]].astype(np.float32))
        noise = _noise(rng, own.shape)
        across = _units(noise - (noise * own).sum(1, keepdims=True) * own)
        share = wanted[part, None]
        vectors[copies[part]] = embedded.whole((share * own + np.sqrt(1 - share**2) * across).astype(np.float32))
    a, b = (_units(vectors[ends].astype(np.float32)) for ends in (originals, copies))
    return vectors, originals, copies, (a * b).sum(1)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return _units(rng.standard_normal(shape, np.float32))


def _units(values: NDArray[np.float32]) -> NDArray[np.float32]:
    units: NDArray[np.float32] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return units
