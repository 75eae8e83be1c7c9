"""Puts the items of many elements of the Beam job into buckets (shards/buckets.py)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from converter.shards.buckets import Buckets


class IntoBuckets(beam.DoFn):
    """element -> (bucket, [item]): buckets with the items of all elements of a bundle.

    If each part of a listing, each file of a table or each batch of sources had its own elements, there would be one
    for each pair of it and a bucket: nearly as many as items.
    """

    def __init__(
        self,
        items: Callable[..., Iterable[Any]],
        name: Callable[[Any], str],
        *args: Any,
        num_bytes: Callable[[Any], int] = lambda item: 0,
    ):
        """Stores the arguments.

        Args:
            items: from an element to its items. Outputs with a tag are handed on as they are.
            name: from an item to the name that decides its bucket.
            args: further arguments of `items`.
            num_bytes: from an item to its bytes; see Buckets.
        """
        super().__init__()
        self._items, self._name, self._args, self._num_bytes = items, name, args, num_bytes
        self._buckets: Buckets[Any] | None = None

    def start_bundle(self) -> None:
        """Forgets the items of a bundle that has failed: it is repeated as a whole."""
        self._buckets = None

    def process(self, element: Any, num_buckets: int) -> Iterator[Any]:
        """Yields buckets as soon as their items take much memory, and outputs with a tag."""
        self._buckets = self._buckets or Buckets(self._name, num_buckets, self._num_bytes)
        for item in self._items(element, *self._args):
            if isinstance(item, TaggedOutput):
                yield item
            elif self._buckets.add(item):
                yield from self._buckets.take()

    def finish_bundle(self) -> Iterator[Any]:
        """Yields the buckets with the items that are left."""
        for bucket in self._buckets.take() if self._buckets else ():
            yield GlobalWindows.windowed_value(bucket)
