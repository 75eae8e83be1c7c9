"""Tells copies from pictures that are merely candidates, in each group of candidates that neighbours.py connects.

    fingerprints, groups of candidates -> columns -> part -> GroupByKey -> links

A hash tells photographs apart, which differ everywhere. Of drawings on plain ground it sees the ground. So pictures
with plain areas are compared by their colours, cell by cell: likeness.py.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import scipy.spatial
from numpy.typing import NDArray

from converter import likeness, neighbours, processes
from converter.fingerprints import Fingerprint
from converter.likeness import SIDE
from converter.neighbours import Links

# A cell of the grey thumbnail is plain if no cell beside it differs by so many levels. Of 160 photographs (MIML), three
# quarters have at most one plain cell; text pages, forms, plots, screenshots and drawings have more.
_PLAIN = 3
_MAX_PLAIN_CELLS = 1
# In a larger group, each image is compared with the nearest ones only: else 5000 drawings on one ground would take
# 12 million comparisons.
_CROWD = 64
_NEAREST = 8
# Directions in which the nearest are searched for, those in which a crowd differs most.
_DIRECTIONS = 8


class Candidates(NamedTuple):
    """Images of groups of candidates, by their columns.

    Attributes:
        groups: str [n], the first name of the group of each.
        names: str [n].
        digests: uint64 [n].
        hashes: uint64 [n], 0 where there is none.
        hashed: bool [n], whether there is one.
        thumbnails: uint8 [n, 64].
        colours: uint8 [n, SIDE, SIDE, 3].
    """

    groups: NDArray[np.object_]
    names: NDArray[np.object_]
    digests: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    hashed: NDArray[np.bool_]
    thumbnails: NDArray[np.uint8]
    colours: NDArray[np.uint8]

    def take(self, chosen: NDArray[np.intp]) -> Self:
        """Returns the chosen ones, by number."""
        return type(self)(**{name: column[chosen] for name, column in self._asdict().items()})

    @classmethod
    def joined(cls, candidates: Iterable["Candidates"]) -> Self:
        """Returns all of them in one, in an order that does not depend on theirs."""
        whole = cls(*map(np.concatenate, zip(*candidates, strict=True)))
        # Digests, since with groups of a column several images go by one name.
        order = sorted(range(len(whole.names)), key=lambda i: (whole.groups[i], whole.names[i], int(whole.digests[i])))
        return whole.take(np.array(order, np.intp))


def parts(
    fingerprints: Sequence[Fingerprint], groups: Mapping[str, str], num_parts: int
) -> Iterator[tuple[int, Candidates]]:
    """Yields the keys to group by, and the images of `fingerprints` that have candidates: a group has one key.

    Args:
        fingerprints: of some images.
        groups: the first name of its group, for each name that has candidates.
        num_parts: the number of keys.
    """
    chosen: dict[int, list[Fingerprint]] = {}
    for one in fingerprints:
        if one.filename in groups:
            part = zlib.crc32(groups[one.filename].encode()) % num_parts
            chosen.setdefault(part, []).append(one)
    for part, some in chosen.items():
        yield part, _columns(some, groups)


def _columns(some: Sequence[Fingerprint], groups: Mapping[str, str]) -> Candidates:
    return Candidates(
        groups=neighbours.objects([groups[one.filename] for one in some]),
        names=neighbours.objects([one.filename for one in some]),
        digests=np.array([int.from_bytes(one.digest) for one in some], np.uint64),
        hashes=np.array([one.phash or 0 for one in some], np.uint64),
        hashed=np.array([one.phash is not None for one in some]),
        thumbnails=np.frombuffer(b"".join(one.thumbnail for one in some), np.uint8).reshape(-1, 64),
        colours=np.frombuffer(b"".join(one.colours for one in some), np.uint8).reshape(-1, SIDE, SIDE, 3),
    )


def begin_links(candidates: Iterable[Candidates]) -> Callable[[], Links]:
    """Begins to look for pairs of duplicates among candidates: those that connect all duplicates.

    Args:
        candidates: of one key, in any order.

    Returns:
        The function that returns the pairs: the search is in a process of its own, where there are some.
    """
    whole = Candidates.joined(candidates)
    # Numbers, since `np.unique` would make all names as wide as the longest one.
    groups = np.cumsum([False, *(whole.groups[1:] != whole.groups[:-1])])
    found = processes.begin(_links, groups, *whole[2:])

    def result() -> Links:
        ones, others = neighbours.fewest(np.array(found()), len(whole.names))
        return Links(whole.names[ones], whole.names[others])

    return result


def _links(
    groups: NDArray[np.intp],
    digests: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    hashed: NDArray[np.bool_],
    thumbnails: NDArray[np.uint8],
    colours: NDArray[np.uint8],
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the links of images, by their numbers; the images of a group follow each other."""
    # Of files with the same bytes, the first one stands for all.
    keys = np.stack([groups.astype(np.uint64), digests])
    _, first, file = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    links = [(first[file.ravel()], np.arange(len(groups)))]
    rest = np.sort(first[hashed[first]])
    full = _are_full(thumbnails)

    def near(some: NDArray[np.intp], others: NDArray[np.intp]) -> NDArray[np.bool_]:
        found = likeness.roughly_alike(colours[some], colours[others])
        by_hash = full[some] & full[others] & found
        plain = np.flatnonzero(found & ~by_hash)
        found[plain] = likeness.alike(colours[some[plain]], colours[others[plain]])
        found[by_hash] = neighbours.are_near(hashes, thumbnails, some[by_hash], others[by_hash])
        return found

    _, run, sizes = np.unique(groups[rest], return_inverse=True, return_counts=True)
    few = rest[sizes[run] <= _CROWD]
    if few.size:
        _, runs = np.unique(groups[few], return_inverse=True)
        links += [(few[a], few[b]) for a, b in neighbours.walk(runs, lambda a, b: near(few[a], few[b]))]
    for crowd in np.flatnonzero(sizes > _CROWD):
        members = rest[run == crowd]
        some, others = (members[side] for side in _nearest(colours[members]))
        found = near(some, others)
        links.append((some[found], others[found]))
    ones, others = map(np.concatenate, zip(*links, strict=True))
    return ones, others


def _are_full(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns which pictures have hardly a plain cell: bool [n]."""
    grey = thumbnails.reshape(-1, 8, 8).astype(np.int16)
    sloped = np.zeros(grey.shape, bool)
    for axis in (1, 2):
        steep = np.abs(np.diff(grey, axis=axis)) >= _PLAIN
        sloped |= np.insert(steep, 7, False, axis) | np.insert(steep, 0, False, axis)
    full: NDArray[np.bool_] = (~sloped).sum((1, 2)) <= _MAX_PLAIN_CELLS
    return full


def _nearest(colours: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the pairs of images that are near in colour, by their numbers: at most _NEAREST of each image."""
    levels = likeness.rough(colours.astype(np.float32))
    levels /= levels.mean(1, keepdims=True) + 1  # A copy may be lit.
    levels -= levels.mean(0)
    _, directions = np.linalg.eigh(levels.T @ levels)
    places = levels @ directions[:, -_DIRECTIONS:]
    _, near = scipy.spatial.cKDTree(places).query(places, _NEAREST + 1)
    some = np.repeat(np.arange(len(colours)), _NEAREST + 1)
    pairs = np.unique(np.sort(np.stack([some, near.ravel()]), axis=0), axis=1)
    some, others = pairs[:, pairs[0] != pairs[1]]
    return some, others
