"""Puts rows and files into buckets: per-element overhead in Beam exceeds the cost of our work.

A bucket holds the rows and files whose positions lie within one range (see splits/assignment.py). So a row and the file
that it names are in the same bucket, and most images of a bucket go to the same shard of their split.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from converter.shards.batches import Batch
from converter.splits import assignment

_T = TypeVar("_T")

# Estimated memory of the items that are held at a time.
_MAX_HELD_BYTES = 1 << 26
_ITEM_BYTES = 1 << 9


class Buckets(Generic[_T]):
    """Puts items into buckets, and says when they are to be taken, so that few items are held in memory."""

    def __init__(
        self, name: Callable[[_T], str], num_buckets: int, num_bytes: Callable[[_T], int] = lambda item: 0
    ) -> None:
        """Stores the arguments.

        Args:
            name: from an item to the name that decides its bucket.
            num_buckets: number of buckets.
            num_bytes: from an item to its bytes, beyond the _ITEM_BYTES that each item takes.
        """
        self._name, self._num_buckets, self._num_bytes = name, num_buckets, num_bytes
        self._buckets: defaultdict[int, Batch[_T]] = defaultdict(Batch)
        self._held = 0

    def add(self, item: _T) -> bool:
        """Puts an item into its bucket, and returns whether the items take so much memory that they are to be taken."""
        self._buckets[assignment.shard(assignment.position(self._name(item)), self._num_buckets)].append(item)
        self._held += _ITEM_BYTES + self._num_bytes(item)
        return self._held > _MAX_HELD_BYTES

    def take(self) -> Iterator[tuple[int, Batch[_T]]]:
        """Yields the buckets with the items that are in them since they were last taken."""
        taken, self._buckets, self._held = self._buckets, defaultdict(Batch), 0
        yield from taken.items()
