"""Defines Batch, in which rows, files and fingerprints travel through the job, and Packed, for many batches."""

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class Batch(list[_T]):
    """Items that travel together as one element. Beam would inspect and pickle the items of a plain list one by one.

    Named tuples are pickled column by column, since pickling them one by one takes a Python call for each: 0.6 us for a
    Source by columns, and 2.3 us one by one. A coder of Beam for a plain type would do the same for the elements of the
    job, but not for batches that are sent to another process, or that are fields of a ShardResult. Columns are
    compressed, to a fifth for a Source: the runner in this process keeps them in memory, and others send them.

    Items may be added until the batch is handed to Beam, but never replaced.
    """

    def packed(self) -> bytes:
        """Returns the batch as bytes, for a step that gets many batches at once.

        Beam keeps what a step reads beside its main input in a cache, and would look at each item to find out its size.
        """
        return pickle.dumps(self)

    # The number of items when the batch was last packed, and its bytes. Beam packs an element once for its place, and
    # again for each step that gets it, to estimate its size: there are few batches, so that it looks at nearly all.
    _kept: tuple[int, bytes] | None = None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self._kept is None or self._kept[0] != len(self):
            self._kept = len(self), zlib.compress(pickle.dumps(_packed(self)), 1)
        return _unpacked, (self._kept[1],)


class Packed(Generic[_T]):
    """The items of many batches, which stay packed until they are iterated over, on the way to another process too."""

    def __init__(self, batches: Iterable[bytes]):
        """Stores batches, from `Batch.packed`."""
        self._batches = list(batches)

    def __iter__(self) -> Iterator[_T]:
        return unpacked(self._batches)


def unpacked(batches: Iterable[bytes]) -> Iterator[Any]:
    """Yields the items of many batches, from `Batch.packed`."""
    for batch in batches:
        yield from pickle.loads(batch)


def _packed(items: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Returns the type of named tuples and their columns, packed; or None and the items, if they are something else."""
    kinds = set(map(type, items))
    if len(kinds) == 1 and hasattr(kind := kinds.pop(), "_make"):
        return kind, [_packed(column) for column in zip(*items, strict=True)]
    return None, list(items)


def _unpacked(packed: bytes) -> Batch[Any]:
    batch = Batch(_items(pickle.loads(zlib.decompress(packed))))
    batch._kept = len(batch), packed
    return batch


def _items(packed: tuple[Any, list[Any]]) -> Iterable[Any]:
    kind, content = packed
    return map(kind._make, zip(*map(_items, content), strict=True)) if kind else content
