"""What is compared of an image: hashes by which copies of it are found, whatever was done to them.

small picture -> views -> fingerprint: of the file its digest, of the picture a perceptual hash and two thumbnails
"""

import base64
import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image

from converter.likeness import SIDE

# Standard deviation, in levels of grey from 0 to 255, below which a thumbnail has too little structure to be hashed:
# bits would be noise. The flattest of the 2000 photographs has 4.1; plain areas with noise have less than 1.
MIN_CONTRAST = 2.0

# By which the coefficients of the projections are multiplied, to be whole numbers.
_SCALE = 4096
# Sum of the weights of red, green and blue in grey.
_GREY_SCALE = 128
# Of the colours, of which sums are 32-bit floats: these are exact up to 2**24.
_COLOUR_SCALE = 128


class Fingerprint(NamedTuple):
    """The features of an image that are compared, about 1300 bytes.

    Attributes:
        filename: as it is stored in the dataset, or another name that it goes by.
        digest: of the file, 8 bytes.
        phash: perceptual hash of 64 bits; None where there is no structure, and only exact duplicates are found.
        thumbnail: 8 x 8 levels of grey.
        colours: SIDE x SIDE x 3 levels, see likeness.py.
    """

    filename: str
    digest: bytes
    phash: int | None
    thumbnail: bytes
    colours: bytes

    def to_json(self) -> tuple[str, str, int | None, str, str]:
        """Returns values of types that JSON has."""
        colours = base64.b64encode(self.colours).decode()
        return self.filename, self.digest.hex(), self.phash, self.thumbnail.hex(), colours

    @classmethod
    def from_json(cls, filename: str, digest: str, phash: int | None, thumbnail: str, colours: str) -> Self:
        """Returns the fingerprint that `to_json` was called of."""
        return cls(filename, bytes.fromhex(digest), phash, bytes.fromhex(thumbnail), base64.b64decode(colours))


class Views(NamedTuple):
    """The reduced pictures that a fingerprint is made of. No rounding depends on the processor.

    Attributes:
        grey: float64 [16, 16]: in its first quarter [8, 8] the low frequencies, in its last one [8, 8] the means of
            grey. They are whole numbers, sums of products that are exact.
        colours: uint8 [SIDE, SIDE, 3].
    """

    grey: NDArray[np.float64]
    colours: NDArray[np.uint8]


def views(picture: NDArray[np.uint8]) -> Views:
    """Returns what a fingerprint needs of an image.

    Args:
        picture: uint8 [height, width, 3], a small picture of it: `images.Image.small`.
    """
    height, width, _ = picture.shape
    seen = _projection(height) @ _grey(picture).astype(np.float64) @ _projection(width).T
    (down, all_down), (across, all_across) = _averaging(height), _averaging(width)
    rows = (down @ picture.reshape(height, -1).astype(np.float32)).reshape(SIDE, width, 3)
    colours = np.rint(across @ rows / (all_down[:, None, None] * all_across[:, None])).astype(np.uint8)
    return Views(seen, colours)


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Returns _GREY_SCALE times the levels of grey: [height, width] of [height, width, 3]. None of it is rounded."""
    red, green, blue = picture.astype(np.uint16).transpose(2, 0, 1)
    grey: NDArray[np.uint16] = 38 * red + 75 * green + 15 * blue
    return grey


def fingerprints(filenames: Sequence[str], digests: Sequence[bytes], views: Sequence[Views]) -> list[Fingerprint]:
    """Returns the fingerprints of some images, at once, since one by one most of the time would be that of calls.

    Args:
        filenames: as they are stored in the dataset.
        digests: of the files, from `digest`.
        views: the images, from `views`.
    """
    if not filenames:
        return []
    seen = np.stack([one.grey for one in views])
    grey = np.rint(seen[:, 8:, 8:].reshape(-1, 64) / (_GREY_SCALE * _SCALE**2)).astype(np.uint8)
    structured = grey.std(axis=1) >= MIN_CONTRAST
    hashes = _phashes(seen[:, :8, :8].reshape(-1, 64))
    return [
        Fingerprint(filename, digest, phash if has_structure else None, thumbnail.tobytes(), view.colours.tobytes())
        for filename, digest, phash, has_structure, thumbnail, view in zip(
            filenames, digests, hashes.tolist(), structured.tolist(), grey, views, strict=True
        )
    ]


def digest(data: bytes) -> bytes:
    """Returns what tells a file from others, 8 bytes."""
    # Half the time of blake2b, where processors have instructions for it.
    return hashlib.sha256(data).digest()[:8]


def _phashes(frequencies: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Returns which of [n, 64] low frequencies are above their median: uint64 [n]."""
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


@functools.cache
def _projection(length: int) -> NDArray[np.float64]:
    """Returns the matrix that takes a column of grey to 8 low frequencies and to 8 means: [16, length].

    What `imagehash.phash` does in steps, resizing (Lanczos), rounding, and a cosine transform of which few numbers are
    used, is one product with this matrix, but for the rounding: nine hashes of ten are the same, of the others two bits
    differ. It takes 18 us for an image instead of 65, which went into the coefficients of the resizing.
    """
    each = Image.fromarray(np.eye(length, dtype=np.float32))
    hashed, means = (
        np.asarray(each.resize((size, length), resample), np.float64)
        for size, resample in ((32, Image.Resampling.LANCZOS), (8, Image.Resampling.BOX))
    )
    return np.rint(_SCALE * np.hstack([scipy.fft.dct(hashed)[:, :8], means])).T


@functools.cache
def _averaging(length: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the matrix that takes a column of levels to SIDE weighted sums, [SIDE, length], and its sums of weights.

    The weights of a cell overlap with those of its neighbours: so a picture can be shifted by a part of a cell.
    """
    each = Image.fromarray(np.eye(length, dtype=np.float32)).resize((SIDE, length), Image.Resampling.BILINEAR)
    weights = np.rint(_COLOUR_SCALE * np.asarray(each)).T.copy()
    return weights, weights.sum(1)
