"""Groups rows and files into batches: per-element overhead in Beam exceeds the cost of our work.

A bucket holds what lies within a range of positions (see splits/assignment.py), so that the rows and the files of one
name meet in it, and most of it goes to one shard of each split.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from converter.splits import assignment

_T = TypeVar("_T")
_K = TypeVar("_K")

# Of a CSV so much goes to one bucket, 500 rows or so: an element of the job is then worth its cost...
_BUCKET_BYTES = 1 << 14
# ...but never more buckets than this: a billion rows make buckets of 250 000, which still fit in memory.
_MAX_BUCKETS = 1 << 12
# Of so much CSV, some 300 000 rows, the fingerprints are compared in one task: of fewer the steps, which are as many as
# the images in the most frequent value of a band, would take longer than the images.
_PART_BYTES = 1 << 23
# With less CSV, 5000 rows or so, processes would be started for longer than they work.
_PROCESSES_BYTES = 1 << 17
# Memory of a process that has met an image that TensorFlow decodes: 280 MB of its own, and its part of what all of
# them share; and some batches of images. Without such an image it takes 15 MB.
_PROCESS_BYTES = 400_000_000
# What is held back at a time by one who fills buckets, as an estimate.
_MAX_HELD_BYTES = 1 << 26
_ITEM_BYTES = 1 << 9


class Batch(list[_T]):
    """Items that travel together. Of a plain list, Beam would look at each item, and pickle it alone.

    Named tuples are pickled by their columns: one by one, each costs a call of Python.
    """

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _unpacked, (_packed(self),)


def _packed(items: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Returns the type of the items and their columns, packed; or no type and the items, where they are no tuples."""
    kinds = set(map(type, items))
    if len(kinds) == 1 and hasattr(kind := kinds.pop(), "_make"):
        return kind, [_packed(column) for column in zip(*items, strict=True)]
    return None, list(items)


def _unpacked(packed: tuple[Any, list[Any]]) -> Batch[Any]:
    return Batch(_items(packed))


def _items(packed: tuple[Any, list[Any]]) -> Iterable[Any]:
    kind, content = packed
    return map(kind._make, zip(*map(_items, content), strict=True)) if kind else content


def num_buckets(csv_bytes: int) -> int:
    """Returns how many buckets to use for so many bytes of CSV."""
    return max(1, min(_MAX_BUCKETS, csv_bytes // _BUCKET_BYTES))


def num_parts(csv_bytes: int) -> int:
    """Returns into how many parts to cut the fingerprints of so many bytes of CSV."""
    return max(1, min(_MAX_BUCKETS, csv_bytes // _PART_BYTES))


def num_processes(csv_bytes: int, most: int, memory: int) -> int:
    """Returns in how many processes to write shards: 1 where more would not pay.

    Args:
        csv_bytes: of all that is to be read.
        most: that may be started.
        memory: bytes that are left on this machine. Processes take half of them at most; images want the rest.
    """
    return max(1, min(most, memory // 2 // _PROCESS_BYTES)) if csv_bytes >= _PROCESSES_BYTES else 1


def fill(
    items: Iterable[_T], name: Callable[[_T], str], num_buckets: int, num_bytes: Callable[[_T], int] = lambda item: 0
) -> Iterator[tuple[int, Batch[_T]]]:
    """Yields buckets with their items, a bucket as often as it takes to hold little in memory.

    Args:
        items: to be put into buckets.
        name: from an item to the name that decides where it goes.
        num_buckets: how many there are.
        num_bytes: from an item to its size, beside what every item takes.
    """
    buckets: defaultdict[int, Batch[_T]] = defaultdict(Batch)
    held = 0
    for item in items:
        buckets[assignment.shard(assignment.position(name(item)), num_buckets)].append(item)
        held += _ITEM_BYTES + num_bytes(item)
        if held > _MAX_HELD_BYTES:
            yield from buckets.items()
            buckets.clear()
            held = 0
    yield from buckets.items()


def grouped(items: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, Batch[_T]]:
    """Returns the items of each key, in their order."""
    groups: defaultdict[_K, Batch[_T]] = defaultdict(Batch)
    for item in items:
        groups[key(item)].append(item)
    return groups
