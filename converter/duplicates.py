"""Images that are the same, or nearly: what makes a validation split easier than it should be.

small(pixels) -> fingerprints -> neighbours.py -> links -> Groups -> Member -> duplicates.csv
"""

import collections
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
# of those cropped by 2 %), and 95 % within 4. Within 8 bits are also photographs of one sunset and another.
MAX_DISTANCE = 6
# How alike the thumbnails of near duplicates must be. Of 72 million pairs of different photographs, mirror images and
# quarters of them, 44 are within 6 bits, and 5 of those are as alike as this; it loses no copy in a thousand.
MIN_CORRELATION = 0.95
# Standard deviation, in levels of grey from 0 to 255, below which a thumbnail has too little structure to be hashed:
# bits would be noise. The flattest of the 2000 photographs has 3.8; plain areas with noise have less than 1.
MIN_CONTRAST = 2.0

# Pixels a side of what is hashed.
_HASHED = 32


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


class Small(NamedTuple):
    """What a fingerprint needs of the pixels of an image.

    Attributes:
        thumbnail: 8 x 8 levels of grey.
        hashed: 32 x 32 levels of grey.
    """

    thumbnail: bytes
    hashed: bytes


def small(pixels: NDArray[np.uint8]) -> Small:
    """Returns an image made small, of pixels uint8 [height, width, 3]."""
    grey = _grey(pixels)
    hashed = grey.resize((_HASHED, _HASHED), Image.Resampling.LANCZOS)
    return Small(grey.resize((8, 8), Image.Resampling.BOX).tobytes(), hashed.tobytes())


def fingerprints(filenames: Sequence[str], digests: Sequence[bytes], smalls: Sequence[Small]) -> list[Fingerprint]:
    """Returns the fingerprints of some images, at once, since one by one most of the time would be that of calls.

    Args:
        filenames: as they are stored in the dataset.
        digests: of the files, from `digest`.
        smalls: the images, from `small`.
    """
    thumbnails = np.frombuffer(b"".join(one.thumbnail for one in smalls), np.uint8).reshape(-1, 64)
    hashes = _phashes(np.frombuffer(b"".join(one.hashed for one in smalls), np.uint8).reshape(-1, _HASHED, _HASHED))
    structured = thumbnails.std(axis=1) >= MIN_CONTRAST
    return [
        Fingerprint(filename, digest, phash if has_structure else None, one.thumbnail)
        for filename, digest, one, phash, has_structure in zip(
            filenames, digests, smalls, hashes.tolist(), structured.tolist(), strict=True
        )
    ]


def digest(data: bytes) -> bytes:
    """Returns what tells a file from others, 8 bytes."""
    return hashlib.blake2b(data, digest_size=8).digest()


def _phashes(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Returns which of the 64 lowest frequencies are above their median, as `imagehash.phash` does: uint64 [n]."""
    columns = scipy.fft.dct(grey.astype(np.float64), axis=1)[:, :8]
    frequencies = scipy.fft.dct(columns, axis=2)[:, :, :8].reshape(-1, 64)
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def _grey(pixels: NDArray[np.uint8]) -> Image.Image:
    """Returns a grey image of 64 to 127 pixels a side, less where the original has less."""
    rows = np.ascontiguousarray(pixels[:: max(1, pixels.shape[0] // 128)])  # Not to average millions of pixels.
    height, width, _ = rows.shape
    # As a grey image three times as wide, of which the mean of three neighbours is a pixel's grey: no copy is made.
    flat = Image.frombuffer("L", (3 * width, height), rows, "raw", "L", 0, 1)
    return flat.reduce((3 * max(1, width // 64), max(1, height // 64)))


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
