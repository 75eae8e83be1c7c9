"""Finds copies by features of a model: `converter --duplicates_by=embeddings.parquet` (schemas/embeddings.py).

    features -> whole numbers -> nearest images, in cells -> candidates -> pictures are compared (turned.py) -> groups

The features are those of an image in all its positions together, so that turned and mirrored copies have the same ones,
and cropped copies similar ones. So have other images: the pictures of candidates decide.

Vectors are whole numbers, and their products are exact. So candidates are the same on every processor, for any order of
the rows.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from converter.duplicates import components, neighbours, turned
from converter.duplicates.components import Links
from converter.system import processes
from multihot.errors import UserError
from multihot.printable import printable
from schemas import embeddings

Vectors = NDArray[np.int16]  # [n, d], whole numbers; the length of each is _LENGTH

# Smallest cosine of candidates. docs/converting.md has the measurement.
MIN_COSINE = 0.85
# Each image is compared with so many nearest ones. Further copies are connected through these.
_NEAREST = 4
# Products of two vectors are less than 2**24: sums of float32 are exact.
_LENGTH = 2048
_MIN_PRODUCT = MIN_COSINE * _LENGTH**2
# Longer vectors are projected to so many dimensions, which changes a cosine of 0.85 by 0.02 (one standard deviation).
_DIMENSIONS = 256
# More images than this are divided into cells around some of them. Each image is in the cells of the nearest centres.
_MOST_IN_ONE, _CELLS = 10_000, 4
# Products that are computed at a time: 64 MB.
_BLOCK = 1 << 24


# No tuple: Beam would infer the type of every name in it.
@dataclasses.dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        groups: from each file name that has copies to the first file name of its group.
        digests: of the names of all rows, uint32 [n], sorted.
    """

    groups: Mapping[str, str]
    digests: NDArray[np.uint32]

    def num_known(self, filenames: Sequence[str]) -> int:
        """Returns how many of some names have a row."""
        wanted = digests(filenames)
        at = np.minimum(np.searchsorted(self.digests, wanted), max(len(self.digests) - 1, 0))
        return int((self.digests[at] == wanted).sum()) if len(self.digests) else 0


def digests(filenames: Sequence[str]) -> NDArray[np.uint32]:
    """Returns a digest of each name, uint32 [n]: of a million names, 100 have the digest of another one."""
    each = (hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=4).digest() for name in filenames)
    return np.frombuffer(b"".join(each), ">u4").astype(np.uint32)


def find(path: str) -> Found:
    """Returns the groups of copies among the images of a file.

    Args:
        path: of the file.

    Raises:
        UserError: the file is no file of features, or has a row that cannot be used, or two rows of one image.
        OSError: the file cannot be read.
    """
    names, vectors, contents = _read(path)
    _check_names(path, names)
    # Of images with the same features and the same picture, one is compared with others for all of them.
    _, first, same = np.unique(contents, return_index=True, return_inverse=True)
    ones, others = candidates(vectors[first])
    involved, at = np.unique(first[np.concatenate([ones, others])], return_inverse=True)
    pictures = embeddings.thumbnails(path, involved)
    are_copies = _compared(pictures[at[: len(ones)]], pictures[at[len(ones) :]])
    pairs = np.stack([first[ones[are_copies]], first[others[are_copies]]])
    links = np.hstack([pairs, np.stack([first[same.ravel()], np.arange(len(names))])])
    groups = components.Groups()
    one_ends, other_ends = components.fewest(links, len(names))
    own = neighbours.objects(names)
    groups.add(Links(own[one_ends], own[other_ends]))
    return Found(groups.result() if len(one_ends) else {}, np.sort(digests(names)))


def _read(path: str) -> tuple[list[str], Vectors, NDArray[np.uint64]]:
    """Returns names, vectors, and digests of features and picture of all rows."""
    names, vectors, contents = list[str](), [np.empty((0, 1), np.int16)], [np.empty(0, np.uint64)]
    for columns in embeddings.read(path):
        names += columns.filenames
        vectors.append(whole(columns.features))
        rows = zip(vectors[-1], columns.thumbnails, strict=True)
        each = b"".join(hashlib.blake2b(row.tobytes() + small.tobytes(), digest_size=8).digest() for row, small in rows)
        contents.append(np.frombuffer(each, np.uint64))
    return names, np.concatenate(vectors[1:] or vectors), np.concatenate(contents)


def _check_names(path: str, names: list[str]) -> None:
    seen: dict[str, int] = {}
    for i, name in enumerate(names, start=1):
        if seen.setdefault(name, i) != i:
            raise UserError(
                f"{path}: rows {seen[name]} and {i} are both of {printable(name)}. Write the features of one dataset "
                "to a file of its own: python -m trainer.embed --data=DATASET"
            )


def whole(features: NDArray[np.float32]) -> Vectors:
    """Returns features as vectors of whole numbers. Rounding apart, all have the length _LENGTH, or 0."""
    largest = np.abs(features).max(axis=1, keepdims=True, initial=0)
    whole = np.rint(features / np.where(largest > 0, largest, 1) * np.float32(_LENGTH - 1))
    if whole.shape[1] > _DIMENSIONS:
        whole = whole @ _projection(whole.shape[1])
    squares = (whole.astype(np.float64) ** 2).sum(axis=1, keepdims=True)
    return np.rint(whole * (_LENGTH / np.sqrt(np.where(squares > 0, squares, 1)))).astype(np.int16)


@functools.cache
def _projection(width: int) -> NDArray[np.float32]:
    """Returns a matrix of random signs, [width, _DIMENSIONS]: always the same one."""
    bits = np.frombuffer(hashlib.shake_256(b"projection").digest(width * _DIMENSIONS // 8), np.uint8)
    return (2.0 * np.unpackbits(bits) - 1).astype(np.float32).reshape(width, _DIMENSIONS)


def candidates(vectors: Vectors) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns pairs of images whose vectors are near each other, as indices: [m] and [m], each pair once.

    Each image is in pairs with its nearest images, if their cosine is at least MIN_COSINE. The time grows with the
    power 1.5 of the number of images: there are as many cells as there are images in one.

    Args:
        vectors: of the images.
    """
    ones, others, products = (np.concatenate(each) for each in zip(*_near(vectors), strict=True))
    # A pair can be in several cells.
    _, once = np.unique(ones * len(vectors) + others, return_index=True)
    ones, others, products = ones[once], others[once], products[once]
    order = np.lexsort((others, -products, ones))
    ones, others = ones[order], others[order]
    starts = np.flatnonzero(np.diff(ones, prepend=-1))
    rank = np.arange(len(ones)) - np.repeat(starts, np.diff(np.append(starts, len(ones))))
    both = np.sort(np.stack([ones, others])[:, rank < _NEAREST], axis=0)
    both = np.unique(both, axis=1)
    return both[0], both[1]


def _near(vectors: Vectors) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]]:
    """Yields images, images near them, and products of their vectors: the nearest ones of each cell."""
    yield np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32)
    for members in _cells(vectors):
        number = min(_NEAREST, len(members) - 1)
        if number < 1:
            continue
        own = vectors[members].astype(np.float32)
        rows = max(1, _BLOCK // len(members))
        for start in range(0, len(members), rows):
            products = own[start : start + rows] @ own.T
            here = np.arange(len(products))
            products[here, start + here] = -1
            # Most images are near no other one, and sorting takes longer than the products.
            some = np.flatnonzero(products.max(axis=1) >= _MIN_PRODUCT)
            products = products[some]
            best = np.argpartition(-products, number - 1, axis=1)[:, :number]
            values = np.take_along_axis(products, best, 1)
            at, column = np.nonzero(values >= _MIN_PRODUCT)
            yield members[start + some[at]], members[best[at, column]], values[at, column]


def _cells(vectors: Vectors) -> Iterator[NDArray[np.intp]]:
    """Yields the images of each cell, as indices; all of them at once if they are few."""
    number = len(vectors)
    if number <= _MOST_IN_ONE:
        yield np.arange(number)
        return
    # Centres are drawn evenly, whatever the order of the rows means.
    centres = np.unique(np.random.default_rng(0).integers(0, number, math.isqrt(_CELLS * number)))
    transposed = vectors[centres].astype(np.float32).T
    cells = np.empty((number, _CELLS), np.int32)
    rows = max(1, _BLOCK // len(centres))
    for start in range(0, number, rows):
        products = vectors[start : start + rows].astype(np.float32) @ transposed
        cells[start : start + rows] = np.argpartition(-products, _CELLS - 1, axis=1)[:, :_CELLS]
    order = np.argsort(cells.ravel(), kind="stable")
    ends = np.flatnonzero(np.diff(cells.ravel()[order])) + 1
    yield from np.split(order // _CELLS, ends)


def _compared(some: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns which pairs of pictures show copies: bool [m]. With several processes, all of them compare."""
    parts = 4 * processes.number() if processes.number() > 1 else 1
    begun = [
        processes.begin(turned.are_copies, a, b)
        for a, b in zip(np.array_split(some, parts), np.array_split(others, parts), strict=True)
    ]
    return np.concatenate([one() for one in begun])
