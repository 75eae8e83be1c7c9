"""Images that are the same, or nearly: what makes a validation split easier than it should be.

grey picture -> views -> fingerprints -> neighbours.py -> links -> Groups -> Member -> duplicates.csv
"""

import collections
import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image

from converter.rejects import inert_csv

# Of duplicates.csv.
COLUMNS = ("group", "filename", "split", "kind")

# How many of the 64 bits of near duplicates may differ. Of copies of 500 photographs (MIML) that were saved as JPEG of
# quality 50 to 90, resized by 0.5 to 2, cropped by 1 or 2 % a side, lit or dimmed by 20 %, 98 % are within 6 bits (86 %
# of those cropped by 2 %), and 94 % within 4. Within 8 bits are also photographs of one sunset and another.
MAX_DISTANCE = 6
# How alike the thumbnails of near duplicates must be. Of 72 million pairs of different photographs, mirror images and
# quarters of them, 53 are within 6 bits, and 11 of those are as alike as this. One copy in 2500 is lost to it.
MIN_CORRELATION = 0.95
# Standard deviation, in levels of grey from 0 to 255, below which a thumbnail has too little structure to be hashed:
# bits would be noise. The flattest of the 2000 photographs has 4.1; plain areas with noise have less than 1.
MIN_CONTRAST = 2.0

# By which the coefficients of the projections are multiplied, to be whole numbers.
_SCALE = 4096


class Fingerprint(NamedTuple):
    """What is compared of an image, about 100 bytes.

    Attributes:
        filename: as it is stored in the dataset, or another name that it goes by.
        digest: of the file, 8 bytes.
        phash: perceptual hash of 64 bits; None where there is no structure, and only exact duplicates are found.
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
        """Returns what `to_json` gave."""
        return cls(filename, bytes.fromhex(digest), phash, bytes.fromhex(thumbnail))


def views(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns what a fingerprint needs of an image.

    Args:
        grey: uint8 [height, width], a small picture of it: `images.Image.grey`.

    Returns:
        float64 [16, 16]: in its first quarter [8, 8] the low frequencies, in its last one [8, 8] the means of grey.
        They are whole numbers, sums of products that no rounding touches, so that they are the same on every processor.
    """
    height, width = grey.shape
    seen: NDArray[np.float64] = _projection(height) @ grey.astype(np.float64) @ _projection(width).T
    return seen


def fingerprints(
    filenames: Sequence[str], digests: Sequence[bytes], views: Sequence[NDArray[np.float64]]
) -> list[Fingerprint]:
    """Returns the fingerprints of some images, at once, since one by one most of the time would be that of calls.

    Args:
        filenames: as they are stored in the dataset.
        digests: of the files, from `digest`.
        views: the images, from `views`.
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
    """Returns what tells a file from others, 8 bytes."""
    return hashlib.blake2b(data, digest_size=8).digest()


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


class Groups:
    """Which names are connected, directly or through others. The same for links in any order, however merged."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}  # No name's parent is greater than the name.

    def add(self, one: str, other: str) -> None:
        """Connects two names."""
        first, second = sorted((self._root(one), self._root(other)))
        self._parent[second] = first

    def merge(self, other: "Groups") -> None:
        """Takes all connections of another one in, which stays as it is."""
        for name, parent in other._parent.items():
            self.add(name, parent)

    def result(self) -> dict[str, str]:
        """Returns for each name that was added the smallest of its group, sorted by name."""
        return {name: self._root(name) for name in sorted(self._parent)}

    def _root(self, name: str) -> str:
        parent = self._parent
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]  # Halves the path for the next one.
            name = parent[name]
        return name


class Member(NamedTuple):
    """An image of a group of duplicates.

    Attributes:
        group: the smallest file name of the group.
        filename: of the image.
        split: that it is in.
        digest: of its file.
    """

    group: str
    filename: str
    split: str
    digest: bytes


def located(one: Fingerprint, split: str) -> Fingerprint:
    """Returns a fingerprint under a name that tells all that a Member is made of; such names sort as file names do."""
    return one._replace(filename="\0".join((one.filename, split, one.digest.hex())))


def members(groups: Mapping[str, str]) -> Iterator[Member]:
    """Yields the members of groups of `located` fingerprints."""
    for name, first in groups.items():
        filename, split, digest = name.split("\0")
        yield Member(first.split("\0")[0], filename, split, bytes.fromhex(digest))


class Leaks(NamedTuple):
    """What is wrong with the splits.

    Attributes:
        num_groups: groups of duplicates that are in more than one split.
        num_images: images of those groups.
    """

    num_groups: int
    num_images: int


def leaks(members: Iterable[Member]) -> Leaks:
    """Counts the duplicates that are in several splits."""
    sizes = [len(group) for group in _groups(members) if len({member.split for member in group}) > 1]
    return Leaks(len(sizes), sum(sizes))


def to_csv(members: Iterable[Member]) -> str:
    """Returns the text of duplicates.csv: a line for each image that has a duplicate, sorted by group and name.

    `kind` is `exact` where another image of the group has the same bytes, and `near` where none has.
    """
    rows = []
    for group in _groups(members):
        copies = collections.Counter(member.digest for member in group)
        for member in group:
            kind = "exact" if copies[member.digest] > 1 else "near"
            rows.append((member.group, member.filename, member.split, kind))
    return inert_csv(COLUMNS, rows)


def _groups(members: Iterable[Member]) -> Iterator[list[Member]]:
    for _, group in itertools.groupby(sorted(members), key=lambda member: member.group):
        listed = list(group)
        if len(listed) > 1:
            yield listed
