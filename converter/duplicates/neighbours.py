"""Finds candidates: images whose hashes are near each other, without comparing all pairs.

    fingerprints -> columns -> (band, part) -> GroupByKey -> links

A link connects two candidates. lookalikes.py then determines which candidates are copies.

Two hashes of 64 bits that differ in at most MAX_DISTANCE bits agree in at least one of MAX_DISTANCE + 1 bands, so only
images that agree in a band are compared. A part holds a share of the values of a band, for one task. Fingerprints are
processed by columns, since one by one the overhead of calls would dominate. If there is only one part, fingerprints are
sent to it once for all bands.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from converter.duplicates import components
from converter.duplicates.components import Links
from converter.duplicates.fingerprints import Fingerprint
from converter.system import processes

# Number of the 64 bits in which near duplicates may differ. Of copies of 500 photographs (MIML) that were saved as JPEG
# of quality 50 to 90, resized by 0.5 to 2, cropped by 1 or 2 % a side, made brighter or darker by 20 %, 98 % are within
# 6 bits (86 % of those cropped by 2 %), and 94 % within 4. Photographs of different sunsets can be within 8 bits.
MAX_DISTANCE = 6
# Smallest correlation of the grey thumbnails of candidates. Of 72 million pairs of different photographs, mirror images
# and quarters of them, 53 are within 6 bits, and 11 of those have this correlation. One copy in 2500 has less. Any two
# drawings on the same plain ground have this correlation.
MIN_CORRELATION = 0.95

_ALL = (1 << 64) - 1


def _split(bits: int) -> tuple[int, ...]:
    """Cuts a set of bits into bands: two hashes that differ in at most MAX_DISTANCE of the bits agree in one of them.

    A band is every seventh bit, and not a range of bits: neighbouring bits of the hash are of similar frequencies, and
    change together.
    """
    ones = [bit for bit in range(64) if bits >> bit & 1]
    return tuple(sum(1 << bit for bit in ones[band :: MAX_DISTANCE + 1]) for band in range(MAX_DISTANCE + 1))


_BANDS = _split(_ALL)
# For an image without a hash, the digest takes its place. Only equal digests are near: one band has all bits.
_DIGESTS = len(_BANDS)
_MASKS = (*_BANDS, _ALL)
# The key for all of _BANDS together.
_EACH = -1
# Number of images that agree in some bits, above which only those that agree in further bits are compared.
_CROWD = 256


class FingerprintColumns(NamedTuple):
    """Fingerprints as columns.

    Attributes:
        names: of the images, str [n]; an array of objects, since in an array of strings the longest sets the size of
            all.
        hashes: uint64 [n].
        thumbnails: uint8 [n, 64]; the values of a thumbnail are not all equal.
    """

    names: NDArray[np.object_]
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    def take(self, chosen: NDArray[np.intp]) -> Self:
        """Returns the fingerprints with these indices."""
        return type(self)(self.names[chosen], self.hashes[chosen], self.thumbnails[chosen])

    @classmethod
    def joined(cls, columns: Iterable["FingerprintColumns"]) -> Self:
        """Returns the concatenation of several columns."""
        names, hashes, thumbnails = zip(*columns, strict=True)
        return cls(np.concatenate(names), np.concatenate(hashes), np.concatenate(thumbnails))


def bands(fingerprints: Sequence[Fingerprint], num_parts: int) -> Iterator[tuple[tuple[int, int], FingerprintColumns]]:
    """Yields keys to group by, with fingerprints: any two near duplicates have at least one key in common.

    Args:
        fingerprints: of some images.
        num_parts: number of parts of each band.
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
    """Returns values as an array of objects."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _columns(
    fingerprints: Sequence[Fingerprint], hashes: Sequence[int | None], thumbnails: Sequence[bytes]
) -> FingerprintColumns:
    grey = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, 64)
    return FingerprintColumns(objects([one.filename for one in fingerprints]), np.array(hashes, np.uint64), grey)


def _parts(
    columns: FingerprintColumns, band: int, num_parts: int
) -> Iterator[tuple[tuple[int, int], FingerprintColumns]]:
    """Yields the parts of a band. A multiplication spreads the bits of a band, which has gaps, over all bits."""
    values = columns.hashes & np.uint64(_MASKS[band])
    parts = (values * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) % np.uint64(num_parts)
    order = np.argsort(parts, kind="stable")
    for chosen in np.split(order, np.flatnonzero(np.diff(parts[order])) + 1):
        yield (band, int(parts[chosen[0]])), columns.take(chosen)


def begin_links(band: int, columns: Iterable[FingerprintColumns]) -> Callable[[], Links]:
    """Starts the search for links that connect each image with all of its candidates, directly or through others.

    n images that are all near each other give n - 1 links, not all pairs. Each link removes an image from the search.
    So the time is quadratic only in the number of images that have nearly the same hash and are not near each other.

    Args:
        band: of the key.
        columns: the fingerprints with this key, in any order.

    Returns:
        A function that waits for the links and returns them. With several processes, bands are searched in parallel.
    """
    names, hashes, thumbnails = FingerprintColumns.joined(columns)
    found = [
        processes.begin(_links, np.uint64(_MASKS[one]), hashes, thumbnails)
        for one in (range(len(_BANDS)) if band == _EACH else [band])
    ]

    def result() -> Links:
        ones, others = components.fewest(np.hstack([one() for one in found]), len(names))
        return Links(names[ones], names[others])

    return result


def _links(
    mask: np.uint64, hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the links between images that agree in the bits of the mask, as indices."""
    links = [(np.zeros(0, np.intp), np.zeros(0, np.intp))]
    for members, runs in _runs(hashes, np.arange(len(hashes)), int(mask)):
        own_hashes, own_thumbnails = hashes[members], thumbnails[members]
        for ones, others in walk(runs, lambda a, b: are_near(own_hashes, own_thumbnails, a, b)):  # noqa: B023
            links.append((members[ones], members[others]))
    ones, others = map(np.concatenate, zip(*links, strict=True))
    return ones, others


def _runs(
    hashes: NDArray[np.uint64], members: NDArray[np.intp], mask: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields runs of images to compare: any two near images that agree in the bits of the mask share a run.

    Args:
        hashes: of all images.
        members: indices of the images among which runs are searched for.
        mask: the bits in which they must agree.

    Yields:
        The images of some runs, as indices, and the number of the run of each, ascending.
    """
    values = hashes[members] & np.uint64(mask)
    order = np.argsort(values, kind="stable")
    members, values = members[order], values[order]
    sizes = np.diff(np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]])))
    runs = np.repeat(np.arange(len(sizes)), sizes)
    kept = sizes > 1
    rest = _ALL & ~mask
    # Hashes that agree in all other bits are near each other whatever the rest.
    if sizes.max() > _CROWD and rest.bit_count() > MAX_DISTANCE:
        crowded = (sizes > _CROWD)[runs]
        masks = [mask | band for band in _split(rest)]
        # Images that are all nearly the same would be compared once for each further band.
        numbers = sum(_squares(hashes[members[crowded]] & np.uint64(one), runs[crowded], len(sizes)) for one in masks)
        narrowed = (sizes > _CROWD) & (2 * numbers < sizes**2)
        if narrowed.any():
            kept &= ~narrowed
            for one in masks:
                yield from _runs(hashes, members[narrowed[runs]], one)
    chosen = kept[runs]
    if chosen.any():
        yield members[chosen], (np.cumsum(kept) - 1)[runs[chosen]]


def _squares(values: NDArray[np.uint64], runs: NDArray[np.intp], number: int) -> NDArray[np.float64]:
    """Returns, for each run, the sum of the squares of the number of images with each value: float64 [number]."""
    _, first, counts = np.unique(values, return_index=True, return_counts=True)
    return np.asarray(np.bincount(runs[first], counts.astype(np.float64) ** 2, number), np.float64)


def are_near(
    hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], some: NDArray[np.intp], others: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Returns which pairs are candidates: bool [n].

    Args:
        hashes: of all images.
        thumbnails: of all images.
        some: indices of the first image of each pair, [n].
        others: indices of the second image of each pair, [n].
    """
    near = np.bitwise_count(hashes[some] ^ hashes[others]) <= MAX_DISTANCE
    near[near] = correlations(thumbnails[some[near]], thumbnails[others[near]]) >= MIN_CORRELATION
    return near


def walk(
    runs: NDArray[np.intp], near: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.bool_]]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Connects each image with the near images of its run that were not reached before; one step for all runs at once.

    Args:
        runs: the number of the run of each image, ascending.
        near: returns which pairs of images are near, from the indices of their first and second images.

    Yields:
        The links of one step: the indices of the images where it started, and of those that it reached.
    """
    pivots = np.zeros(runs[-1] + 1, np.intp)
    reached, rest = np.zeros(0, np.intp), np.arange(len(runs))
    while rest.size:
        # One image of each run: one that was reached, or else the first of the rest.
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
    """Returns the correlation of each pair of thumbnails: [n, 64] and [n, 64] -> float64 [n]."""
    a, b = (grey - grey.mean(axis=1, keepdims=True) for grey in (some, others))
    return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
