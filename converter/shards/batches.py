"""Groups rows and files into batches: per-element overhead in Beam exceeds the cost of our work.

A bucket holds the rows and files whose positions lie within one range (see splits/assignment.py). So a row and the file
that it names are in the same bucket, and most images of a bucket go to the same shard of their split.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from converter.splits import assignment

_T = TypeVar("_T")
_K = TypeVar("_K")

# Bytes of CSV for each bucket, about 500 rows: the work on a bucket then exceeds Beam's overhead for an element.
_BUCKET_BYTES = 1 << 14
# Largest number of buckets. With a billion rows, a bucket has 250 000 rows, which still fit in memory.
_MAX_BUCKETS = 1 << 12
# Bytes of CSV, about 300 000 rows, whose fingerprints are compared in one task. The number of steps in a task is the
# number of images in the most frequent value of a band: in smaller tasks, the steps would take longer than the
# comparisons.
_PART_BYTES = 1 << 23
# Bytes of CSV, about 5000 rows, below which starting processes takes longer than their work saves.
_PROCESSES_BYTES = 1 << 17
# Memory of a process that has loaded TensorFlow, to decode an image that is not a plain JPEG: 280 MB of its own, its
# part of the memory that all of them share, and some batches of images. Without TensorFlow, a process takes 15 MB.
_PROCESS_BYTES = 400_000_000
# Estimated memory of the items that `fill` holds at a time.
_MAX_HELD_BYTES = 1 << 26
_ITEM_BYTES = 1 << 9


class Batch(list[_T]):
    """Items that travel together as one element. Beam would inspect and pickle the items of a plain list one by one.

    Named tuples are pickled column by column, since pickling them one by one takes a Python call for each.
    """

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _unpacked, (_packed(self),)


def _packed(items: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Returns the type of named tuples and their columns, packed; or None and the items, if they are something else."""
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
    """Returns the number of buckets for a CSV of this size."""
    return max(1, min(_MAX_BUCKETS, csv_bytes // _BUCKET_BYTES))


def num_parts(csv_bytes: int) -> int:
    """Returns the number of parts to cut each band of fingerprints into, for a CSV of this size."""
    return max(1, min(_MAX_BUCKETS, csv_bytes // _PART_BYTES))


def num_processes(csv_bytes: int, most: int, memory: int) -> int:
    """Returns the number of processes that write shards: 1 if more would not be faster.

    Args:
        csv_bytes: size of all files of the table.
        most: largest number of processes to start.
        memory: available bytes on this machine. Processes take at most half of them; the rest is left for images.
    """
    return max(1, min(most, memory // 2 // _PROCESS_BYTES)) if csv_bytes >= _PROCESSES_BYTES else 1


def fill(
    items: Iterable[_T], name: Callable[[_T], str], num_buckets: int, num_bytes: Callable[[_T], int] = lambda item: 0
) -> Iterator[tuple[int, Batch[_T]]]:
    """Yields buckets with their items; a bucket is yielded several times, so that few items are held in memory.

    Args:
        items: to be put into buckets.
        name: from an item to the name that decides its bucket.
        num_buckets: number of buckets.
        num_bytes: from an item to its bytes, beyond the _ITEM_BYTES that each item takes.
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
    """Returns the items of each key, in the order in which they were given."""
    groups: defaultdict[_K, Batch[_T]] = defaultdict(Batch)
    for item in items:
        groups[key(item)].append(item)
    return groups
