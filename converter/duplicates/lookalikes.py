"""Determines which candidates are copies of each other, in each group of candidates that neighbours.py connects.

    fingerprints, groups of candidates -> columns -> part -> GroupByKey -> links

Hashes suffice for photographs, which differ everywhere. Hashes of drawings on a plain ground depend mostly on the
ground. So candidates with plain areas are read a second time, and likeness.py compares the pictures of drawings. Other
candidates are copies if the levels of their thumbnails have nearly the same order.
"""

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from converter.duplicates import components, likeness, neighbours
from converter.duplicates.components import Links
from converter.duplicates.fingerprints import Fingerprint
from converter.duplicates.likeness import SIDE
from converter.system import processes
from multihot.images import prove
from multihot.images.prove import Image

# A cell of the grey thumbnail is plain if it differs from each cell beside it by fewer levels than this. Nearly all
# drawings of the kinds of scripts/bench_duplicates have a plain cell, also as JPEG; 22 % of photographs (MIML) have.
_PLAIN = 3
# A picture is a drawing if more than this share of its pixels differ by at most one level from the pixels to the right
# and below. So are nearly all drawings of the kinds of scripts/bench_duplicates, also as JPEG, and 10 % of 80
# photographs (MIML). The halved copy of a page may have less.
_DRAWN_SHARE = 0.3
# Smallest rank correlation of the thumbnails of copies, if neither is a drawing, and if one is. 95 % of 760 copies of
# photographs have at least 0.99, and 99 % at least 0.98. Of pairs of bright pictures with black corners, which have
# similar hashes, 95 % have less than 0.71; of pages, forms and screenshots of one layout, 95 % have at most 0.99.
_MIN_RANK_CORRELATION, _MIN_MIXED = 0.85, 0.99
# Each picture of a group is compared with this many nearest ones, and not with all: 5000 drawings on one ground have 12
# million pairs.
_NEAREST = 3
# Largest group in which all distances are computed. In a larger group, the nearest pictures are searched for in the few
# directions in which the group differs most.
_CROWD, _DIRECTIONS = 64, 8


class Picture(NamedTuple):
    """A small colour picture of an image, for likeness.py.

    Attributes:
        pixels: uint8 [SIDE, SIDE, 3] as bytes, compressed by zlib: drawings to a third or less.
        side: pixels of the shorter side of the image.
    """

    pixels: bytes
    side: int

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], side: int) -> Self:
        """Packs the pixels, uint8 [SIDE, SIDE, 3]."""
        return cls(zlib.compress(pixels.tobytes(), 1), side)


class Candidates(NamedTuple):
    """Images of groups of candidates, as columns.

    Attributes:
        groups: str [n], the first name in the group of each image.
        names: str [n].
        digests: uint64 [n].
        hashes: uint64 [n], 0 for an image without a hash.
        hashed: bool [n], whether an image has a hash.
        thumbnails: uint8 [n, 64].
        pictures: bytes [n], `Picture.pixels`; empty for an image that is compared by its hash and thumbnail.
        sides: int32 [n], `Picture.side`.
    """

    groups: NDArray[np.object_]
    names: NDArray[np.object_]
    digests: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    hashed: NDArray[np.bool_]
    thumbnails: NDArray[np.uint8]
    pictures: NDArray[np.object_]
    sides: NDArray[np.int32]

    def take(self, chosen: NDArray[np.intp]) -> Self:
        """Returns the images with these indices."""
        return type(self)(**{name: column[chosen] for name, column in self._asdict().items()})

    @classmethod
    def joined(cls, candidates: Iterable["Candidates"]) -> Self:
        """Returns all images of several columns, in an order that does not depend on that of the arguments.

        An image that occurs with its picture and without it is returned once, with its picture.
        """
        whole = cls(*map(np.concatenate, zip(*candidates, strict=True)))

        def key(i: int) -> tuple[str, str, int, bool]:
            return whole.groups[i], whole.names[i], int(whole.digests[i]), not whole.pictures[i]

        # The digest is part of the key, since with a group column several images have the same name.
        order = sorted(range(len(whole.names)), key=key)
        firsts = [next(same) for _, same in itertools.groupby(order, lambda i: key(i)[:3])]
        return whole.take(np.array(firsts, np.intp))


def are_plain(fingerprints: Sequence[Fingerprint]) -> NDArray[np.bool_]:
    """Returns which images have plain areas, so that comparing their hashes is not enough: bool [n]."""
    grey = np.frombuffer(b"".join(one.thumbnail for one in fingerprints), np.uint8).reshape(-1, 8, 8).astype(np.int16)
    sloped = np.zeros(grey.shape, bool)
    for axis in (1, 2):
        steep = np.abs(np.diff(grey, axis=axis)) >= _PLAIN
        sloped |= np.insert(steep, 7, False, axis) | np.insert(steep, 0, False, axis)
    plain: NDArray[np.bool_] = np.any(~sloped, axis=(1, 2))
    return plain


def picture(image: Image) -> Picture | None:
    """Returns the small picture of a drawing, a page or a screenshot; None for other images.

    Raises:
        MemoryError: there is not enough memory to decode the image.
        decoders.DecoderError: the decoder failed, and the image need not be the cause.
    """
    pixels = prove.picture(image, SIDE)
    if not _is_drawn(pixels):
        return None
    return Picture.of(pixels, min(image.height, image.width))


def _is_drawn(pixels: NDArray[np.uint8]) -> bool:
    luma = (pixels.astype(np.int32) @ np.array([38, 75, 15])) >> 7
    right, below = np.abs(np.diff(luma, axis=1))[:-1], np.abs(np.diff(luma, axis=0))[:, :-1]
    return bool((np.maximum(right, below) <= 1).mean() > _DRAWN_SHARE)


def parts(
    fingerprints: Sequence[Fingerprint],
    pictures: Sequence[Picture | None],
    groups: Mapping[str, str],
    num_parts: int,
) -> Iterator[tuple[int, Candidates]]:
    """Yields keys to group by, with those of the images that have candidates. All images of a group have one key.

    Args:
        fingerprints: of some images.
        pictures: of the same images; None for an image without one.
        groups: from each name that has candidates to the first name of its group.
        num_parts: the number of keys.
    """
    chosen: dict[int, list[int]] = {}
    for i, one in enumerate(fingerprints):
        if one.filename in groups:
            part = zlib.crc32(groups[one.filename].encode()) % num_parts
            chosen.setdefault(part, []).append(i)
    for part, numbers in chosen.items():
        yield part, _columns([fingerprints[i] for i in numbers], [pictures[i] for i in numbers], groups)


def _columns(some: Sequence[Fingerprint], pictures: Sequence[Picture | None], groups: Mapping[str, str]) -> Candidates:
    return Candidates(
        groups=neighbours.objects([groups[one.filename] for one in some]),
        names=neighbours.objects([one.filename for one in some]),
        digests=np.array([int.from_bytes(one.digest) for one in some], np.uint64),
        hashes=np.array([one.phash or 0 for one in some], np.uint64),
        hashed=np.array([one.phash is not None for one in some]),
        thumbnails=np.frombuffer(b"".join(one.thumbnail for one in some), np.uint8).reshape(-1, 64),
        pictures=neighbours.objects([picture.pixels if picture else b"" for picture in pictures]),
        sides=np.array([picture.side if picture else 0 for picture in pictures], np.int32),
    )


def begin_links(candidates: Iterable[Candidates]) -> Callable[[], Links]:
    """Starts the search for links that connect all duplicates among candidates.

    Args:
        candidates: with one key, in any order.

    Returns:
        A function that waits for the links and returns them. With several processes, the search runs in one of them.
    """
    whole = Candidates.joined(candidates)
    # Groups are numbered, since `np.unique` would pad all names to the length of the longest.
    groups = np.cumsum([False, *(whole.groups[1:] != whole.groups[:-1])])
    found = processes.begin(_links, groups, *whole[2:])

    def result() -> Links:
        ones, others = components.fewest(np.array(found()), len(whole.names))
        return Links(whole.names[ones], whole.names[others])

    return result


def _links(
    groups: NDArray[np.intp],
    digests: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    hashed: NDArray[np.bool_],
    thumbnails: NDArray[np.uint8],
    pictures: NDArray[np.object_],
    sides: NDArray[np.int32],
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the links of images, as indices. The images must be sorted by group."""
    # Files with the same bytes are linked with the first of them, and only that one is compared with others.
    keys = np.stack([groups.astype(np.uint64), digests])
    _, first, file = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    links = [(first[file.ravel()], np.arange(len(groups)))]
    rest = np.sort(first[hashed[first]])
    pictured = sides > 0

    def near(some: NDArray[np.intp], others: NDArray[np.intp]) -> NDArray[np.bool_]:
        some, others = rest[some], rest[others]
        found = neighbours.are_near(hashes, thumbnails, some, others) & ~(pictured[some] & pictured[others])
        some, others = some[found], others[found]
        threshold = np.where(pictured[some] | pictured[others], _MIN_MIXED, _MIN_RANK_CORRELATION)
        found[found] = neighbours.correlations(_ranks(thumbnails[some]), _ranks(thumbnails[others])) >= threshold
        return found

    if rest.size:
        _, runs = np.unique(groups[rest], return_inverse=True)
        links += [(rest[some], rest[others]) for some, others in neighbours.walk(runs, near)]
    members = rest[pictured[rest]]
    ones, others = members[:0], members[:0]
    for a, b in _rounds(groups, members, pictures):
        # In a group of copies, earlier rounds have connected most pairs already.
        component = components.components(ones, others, len(groups))
        unknown = (component[a] != component[b]) & neighbours.are_near(hashes, thumbnails, a, b)
        a, b = a[unknown], b[unknown]
        found = _alike(pictures, sides, a, b)
        ones, others = np.append(ones, a[found]), np.append(others, b[found])
    ones, others = map(np.concatenate, zip(*links, (ones, others), strict=True))
    return ones, others


def _ranks(thumbnails: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Returns the ranks of the levels of each thumbnail, 0 to 63; equal levels are ranked by their position."""
    return thumbnails.argsort(axis=1, kind="stable").argsort(axis=1)


def _rounds(
    groups: NDArray[np.intp], members: NDArray[np.intp], pictures: NDArray[np.object_]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields the pairs of pictures to compare, as indices of their images: pairs of nearest pictures first."""
    rounds: list[list[NDArray[np.intp]]] = [[] for _ in range(_NEAREST)]
    for group in np.split(members, np.flatnonzero(np.diff(groups[members])) + 1):
        if group.size > 1:
            for pairs, near in zip(rounds, _nearest(pictures[group]), strict=False):
                both = np.sort(np.stack([np.arange(len(group)), near]), axis=0)
                pairs.append(group[np.unique(both, axis=1)])
    for pairs in filter(None, rounds):
        some, others = np.hstack(pairs)
        yield some, others


def _nearest(pictures: NDArray[np.object_]) -> NDArray[np.intp]:
    """Returns for each picture the indices of the nearest others by colour: [_NEAREST or fewer, n]."""
    places = np.concatenate([likeness.coarse(_unpacked([picture])) for picture in pictures])
    number = len(places)
    count = min(_NEAREST, number - 1)
    if number <= _CROWD:
        distances = ((places[:, None] - places) ** 2).sum(-1)
        np.fill_diagonal(distances, np.inf)
        return distances.argsort(axis=1, kind="stable")[:, :count].T
    from scipy.spatial import cKDTree  # Importing it takes 0.2 s, and few conversions have such large groups.

    places -= places.mean(0)
    _, directions = np.linalg.eigh(places.T @ places)
    places = places @ directions[:, -_DIRECTIONS:]
    _, near = cKDTree(places).query(places, count + 1)
    # The nearest picture is the picture itself, which is left out. If only others of the same colours were found, the
    # last of them is left out.
    itself = near == np.arange(number)[:, None]
    itself[~itself.any(1), -1] = True
    return near[~itself].reshape(number, count).T


def _alike(
    pictures: NDArray[np.object_], sides: NDArray[np.int32], some: NDArray[np.intp], others: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Returns which pairs are copies: bool [n]. Decompresses few pictures at a time."""
    found = np.zeros(len(some), bool)
    for start in range(0, len(some), likeness.CHUNK):
        chunk = slice(start, start + likeness.CHUNK)
        a, b = some[chunk], others[chunk]
        found[chunk] = likeness.alike(_unpacked(pictures[a]), _unpacked(pictures[b]), np.minimum(sides[a], sides[b]))
    return found


def _unpacked(pictures: Iterable[bytes]) -> NDArray[np.uint8]:
    pixels = b"".join(map(zlib.decompress, pictures))
    return np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE, 3)
