"""Computes the fingerprint of an image, by which copies of the image are found.

grey picture -> views -> fingerprint: the digest of the file, a perceptual hash and a thumbnail of the picture
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image

# Standard deviation, in levels of grey from 0 to 255, below which a thumbnail is not hashed: the bits of the hash would
# be noise. The flattest of the 2000 photographs has 4.1; plain areas with noise have less than 1.
MIN_CONTRAST = 2.0

# Factor for the coefficients of the projections, which are then rounded to whole numbers.
_SCALE = 4096


class Fingerprint(NamedTuple):
    """The values by which an image is compared with others, about 100 bytes.

    Attributes:
        filename: name of the image in the dataset, or the name of its group.
        digest: of the file, 8 bytes.
        phash: perceptual hash of 64 bits; None for an image without structure, of which only exact duplicates are
            found.
        thumbnail: 8 x 8 levels of grey.
    """

    filename: str
    digest: bytes
    phash: int | None
    thumbnail: bytes

    def to_json(self) -> tuple[str, str, int | None, str]:
        """Returns values of types that JSON has."""
        return self.filename, self.digest.hex(), self.phash, self.thumbnail.hex()

    @classmethod
    def from_json(cls, filename: str, digest: str, phash: int | None, thumbnail: str) -> Self:
        """Returns the fingerprint from the values of `to_json`."""
        return cls(filename, bytes.fromhex(digest), phash, bytes.fromhex(thumbnail))


def views(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns the low frequencies and the means of a picture, from which its fingerprint is computed.

    Args:
        grey: uint8 [height, width], the small picture of an image: `prove.Image.grey`.

    Returns:
        float64 [16, 16]: [:8, :8] are the low frequencies, [8:, 8:] the means of grey. All are exact sums of products
        of whole numbers, so that they are the same on every processor.
    """
    height, width = grey.shape
    seen: NDArray[np.float64] = _projection(height) @ grey.astype(np.float64) @ _projection(width).T
    return seen


def fingerprints(
    filenames: Sequence[str], digests: Sequence[bytes], views: Sequence[NDArray[np.float64]]
) -> list[Fingerprint]:
    """Returns the fingerprints of several images at once, since one by one the overhead of calls would dominate.

    Args:
        filenames: names of the images in the dataset.
        digests: of their files, from `digest`.
        views: of their pictures, from `views`.
    """
    if not filenames:
        return []
    seen = np.stack(views)
    grey = np.rint(seen[:, 8:, 8:].reshape(-1, 64) / _SCALE**2).astype(np.uint8)
    structured = grey.std(axis=1) >= MIN_CONTRAST
    hashes = _phashes(seen[:, :8, :8].reshape(-1, 64))
    return [
        Fingerprint(filename, digest, phash if has_structure else None, thumbnail.tobytes())
        for filename, digest, phash, has_structure, thumbnail in zip(
            filenames, digests, hashes.tolist(), structured.tolist(), grey, strict=True
        )
    ]


def digest(data: bytes) -> bytes:
    """Returns the digest that identifies a file, 8 bytes."""
    # SHA-256 takes half the time of blake2b on processors with instructions for it.
    return hashlib.sha256(data).digest()[:8]


def _phashes(frequencies: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Returns hashes from low frequencies [n, 64]: uint64 [n]. A bit is set if a frequency is above their median."""
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


@functools.cache
def _projection(length: int) -> NDArray[np.float64]:
    """Returns the matrix that takes a column of grey to 8 low frequencies and to 8 means: [16, length].

    One product with this matrix replaces three steps of `imagehash.phash`: resizing (Lanczos), rounding, and a cosine
    transform of which few numbers are used. Without the rounding, nine hashes of ten are the same as there, and the
    others differ in two bits. It takes 18 us an image instead of 65, most of which computed coefficients for resizing.
    """
    each = Image.fromarray(np.eye(length, dtype=np.float32))
    hashed, means = (
        np.asarray(each.resize((size, length), resample), np.float64)
        for size, resample in ((32, Image.Resampling.LANCZOS), (8, Image.Resampling.BOX))
    )
    return np.rint(_SCALE * np.hstack([scipy.fft.dct(hashed)[:, :8], means])).T
