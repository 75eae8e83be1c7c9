"""Puts rows and files into buckets: per-element overhead in Beam exceeds the cost of our work.

A bucket holds the rows and files whose positions lie within one range (see splits/assignment.py). So a row and the file
that it names are in the same bucket, and most images of a bucket go to the same shard of their split.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from converter.shards.batches import Batch
from converter.splits import assignment

_T = TypeVar("_T")

# Estimated memory of the items that `fill` holds at a time.
_MAX_HELD_BYTES = 1 << 26
_ITEM_BYTES = 1 << 9


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
