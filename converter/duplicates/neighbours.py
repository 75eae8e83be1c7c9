"""Finds candidates: images whose hashes are near each other, without comparing all with all.

    fingerprints -> columns -> (band, part) -> GroupByKey -> links

Links connect candidates, of which lookalikes.py keeps those that are copies.

Hashes of 64 bits that differ in at most MAX_DISTANCE of them agree in at least one of MAX_DISTANCE + 1 bands, so only
images that agree in a band are compared. A part is a share of the values of a band: as many of them as one task takes.
All is done for columns of fingerprints at a time: one by one, calls would take most of the time. And where one part is
enough, fingerprints go there once, and not once for each band.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from converter.duplicates.fingerprints import Fingerprint
from converter.system import processes

# How many of the 64 bits of near duplicates may differ. Of copies of 500 photographs (MIML) that were saved as JPEG of
# quality 50 to 90, resized by 0.5 to 2, cropped by 1 or 2 % a side, lit or dimmed by 20 %, 98 % are within 6 bits (86 %
# of those cropped by 2 %), and 94 % within 4. Within 8 bits are also photographs of one sunset and another.
MAX_DISTANCE = 6
# How alike the grey thumbnails of candidates must be. Of 72 million pairs of different photographs, mirror images and
# quarters of them, 53 are within 6 bits, and 11 of those are as alike as this. One copy in 2500 is lost to it. Drawings
# are as alike as this on plain ground, whatever is drawn.
MIN_CORRELATION = 0.95

# Every seventh bit, and not seven ranges of them: neighbouring bits of the hash are of like frequencies.
_BANDS = tuple(sum(1 << bit for bit in range(band, 64, MAX_DISTANCE + 1)) for band in range(MAX_DISTANCE + 1))
# Where there is no hash, the digest stands for it, and only its like is near: in one band of all bits.
_ALL = (1 << 64) - 1
_DIGESTS = len(_BANDS)
_MASKS = (*_BANDS, _ALL)
# Stands for all of _BANDS.
_EACH = -1


class Columns(NamedTuple):
    """Fingerprints by their columns.

    Attributes:
        names: of the images, str [n]; objects, so that one long name does not set the size of all.
        hashes: uint64 [n].
        thumbnails: uint8 [n, 64]; not all the same within one.
    """

    names: NDArray[np.object_]
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    def take(self, chosen: NDArray[np.intp]) -> Self:
        """Returns the chosen ones, by number."""
        return type(self)(self.names[chosen], self.hashes[chosen], self.thumbnails[chosen])

    @classmethod
    def joined(cls, columns: Iterable["Columns"]) -> Self:
        """Returns all of them in one."""
        names, hashes, thumbnails = zip(*columns, strict=True)
        return cls(np.concatenate(names), np.concatenate(hashes), np.concatenate(thumbnails))


class Links(NamedTuple):
    """Pairs of images that belong together: names as in Columns, [n] and [n]."""

    ones: NDArray[np.object_]
    others: NDArray[np.object_]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yields the pairs of names."""
        return zip(self.ones.tolist(), self.others.tolist(), strict=True)


def bands(fingerprints: Sequence[Fingerprint], num_parts: int) -> Iterator[tuple[tuple[int, int], Columns]]:
    """Yields the keys to group by, and what is compared: near duplicates meet under at least one of them.

    Args:
        fingerprints: of some images.
        num_parts: of each band.
    """
    hashed = [one for one in fingerprints if one.phash is not None]
    plain = [one for one in fingerprints if one.phash is None]
    if hashed:
        columns = _columns(hashed, [one.phash for one in hashed], [one.thumbnail for one in hashed])
        if num_parts == 1:
            yield (_EACH, 0), columns
        else:
            for band in range(len(_BANDS)):
                yield from _parts(columns, band, num_parts)
    if plain:
        digests = [int.from_bytes(one.digest) for one in plain]
        yield from _parts(_columns(plain, digests, [bytes(range(64))] * len(plain)), _DIGESTS, num_parts)


def objects(values: Sequence[object]) -> NDArray[np.object_]:
    """Returns names, or bytes, in an array of objects."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _columns(fingerprints: Sequence[Fingerprint], hashes: Sequence[int | None], thumbnails: Sequence[bytes]) -> Columns:
    grey = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, 64)
    return Columns(objects([one.filename for one in fingerprints]), np.array(hashes, np.uint64), grey)


def _parts(columns: Columns, band: int, num_parts: int) -> Iterator[tuple[tuple[int, int], Columns]]:
    """Yields the parts of a band. The values of a band have gaps, which a multiplication spreads over all bits."""
    values = columns.hashes & np.uint64(_MASKS[band])
    parts = (values * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) % np.uint64(num_parts)
    order = np.argsort(parts, kind="stable")
    for chosen in np.split(order, np.flatnonzero(np.diff(parts[order])) + 1):
        yield (band, int(parts[chosen[0]])), columns.take(chosen)


def begin_links(band: int, columns: Iterable[Columns]) -> Callable[[], Links]:
    """Begins to look for pairs of duplicates: those that connect each of them to all of its duplicates.

    Never all pairs: n images of which all are near give n - 1. Every link found takes an image out of the search, so
    the time is quadratic only in the number of images of one value of a band that are not near each other.

    Args:
        band: of the key.
        columns: of this key, in any order.

    Returns:
        The function that returns them: each band is searched in a process of its own, where there are some.
    """
    names, hashes, thumbnails = Columns.joined(columns)
    found = [
        processes.begin(_links, np.uint64(_MASKS[one]), hashes, thumbnails)
        for one in (range(len(_BANDS)) if band == _EACH else [band])
    ]

    def result() -> Links:
        ones, others = fewest(np.hstack([one() for one in found]), len(names))
        return Links(names[ones], names[others])

    return result


def fewest(links: NDArray[np.intp], number: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns as few links of so many images that connect the same: from the first of a group to each other one."""
    group = components(links[0], links[1], number)
    _, first = np.unique(group, return_index=True)
    rest = np.flatnonzero(first[group] != np.arange(number))
    return first[group[rest]], rest


def components(ones: NDArray[np.intp], others: NDArray[np.intp], number: int) -> NDArray[np.int32]:
    """Returns the group of each of so many images, which these links connect: int32 [number]."""
    graph = scipy.sparse.coo_array((np.ones(len(ones), np.int8), (ones, others)), (number, number))
    component: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return component


def _links(
    mask: np.uint64, hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the links of images that agree in these bits, by their numbers."""
    values = hashes & mask
    order = np.argsort(values, kind="stable")
    runs = np.cumsum(np.diff(values[order], prepend=values[order[:1]]) != 0)
    hashes, thumbnails = hashes[order], thumbnails[order]
    links = walk(runs, lambda some, others: are_near(hashes, thumbnails, some, others))
    ones, others = map(np.concatenate, zip(*links, strict=True))
    return order[ones], order[others]


def are_near(
    hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], some: NDArray[np.intp], others: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Returns which pairs are candidates: bool [n].

    Args:
        hashes: of all images.
        thumbnails: of all images.
        some: numbers of images, [n].
        others: numbers of those to compare them with, [n].
    """
    near = np.bitwise_count(hashes[some] ^ hashes[others]) <= MAX_DISTANCE
    near[near] = correlations(thumbnails[some[near]], thumbnails[others[near]]) >= MIN_CORRELATION
    return near


def walk(
    runs: NDArray[np.intp], near: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.bool_]]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Walks from each image to those of its run that are near it and were not reached before: in all runs at a time.

    Args:
        runs: the number of the run that each image belongs to, ascending.
        near: tells of pairs of images, by their numbers, which are near.

    Yields:
        The links of one step: the images that were left, and those that were reached.
    """
    pivots = np.zeros(runs[-1] + 1, np.intp)
    reached, rest = np.zeros(0, np.intp), np.arange(len(runs))
    while rest.size:
        # From each run one image: one that was reached, or else the first of the rest.
        for candidates in (rest, reached):
            first = candidates[np.diff(runs[candidates], prepend=-1) != 0]
            pivots[runs[first]] = first
        reached, rest = (some[some != pivots[runs[some]]] for some in (reached, rest))
        sources = pivots[runs[rest]]
        found = near(rest, sources)
        yield sources[found], rest[found]
        reached, rest = np.sort(np.concatenate([reached, rest[found]])), rest[~found]
        reached = reached[np.isin(runs[reached], runs[rest])]


def correlations(some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Returns how alike thumbnails are: of [n, 64] and [n, 64], float64 [n]."""
    a, b = (grey - grey.mean(axis=1, keepdims=True) for grey in (some, others))
    return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
