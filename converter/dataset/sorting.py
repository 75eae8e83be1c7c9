"""Defines Sorted: items in their order, most of which lie in a file if there are many."""

import functools
import heapq
import itertools
import os
import pickle
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import BinaryIO, TypeVar

_T = TypeVar("_T")

# Items that are sorted at a time, some 60 MB of rejects; there are twice as many in memory at most.
_HELD = 1 << 17
# Items that are read at a time, of each sorted run, while runs are merged.
_READ = 1 << 8


class Sorted(Collection[_T]):
    """Items in their order. It can be iterated over several times.

    Up to `held` items are in memory. If there are more, sorted runs of them lie in a temporary file, and are merged
    whenever they are iterated over: a million rejects are 8 runs, a billion 7630.
    """

    def __init__(self, items: Iterable[_T], held: int = _HELD):
        """Sorts items.

        Args:
            items: that can be compared and pickled.
            held: the number of items that are sorted in memory at a time.

        Raises:
            OSError: the temporary file cannot be written.
        """
        items, self._length = iter(items), 0
        self._runs: list[list[tuple[int, int]]] = []  # Of each run in the file, the places of its parts.
        self._last: list[_T] = []
        for run in iter(lambda: sorted(itertools.islice(items, held)), []):  # type: ignore[type-var]
            if self._last:
                self._runs.append([self._write(self._last[i : i + _READ]) for i in range(0, len(self._last), _READ)])
            self._last = run
            self._length += len(run)
        if self._runs:
            self._file.flush()

    def __len__(self) -> int:
        """Returns the number of items."""
        return self._length

    def __iter__(self) -> Iterator[_T]:
        """Yields the items in their order."""
        return iter(heapq.merge(*map(self._read, self._runs), self._last))  # type: ignore[type-var]

    def __contains__(self, item: object) -> bool:
        """Whether an item is among them, by looking at each."""
        return any(each == item for each in self)

    @functools.cached_property
    def _file(self) -> BinaryIO:
        file = tempfile.TemporaryFile()  # noqa: SIM115  It has no name, and is gone when it is closed.
        weakref.finalize(self, file.close)
        return file

    def _write(self, some: Sequence[_T]) -> tuple[int, int]:
        return self._file.tell(), self._file.write(pickle.dumps(some))

    def _read(self, run: Iterable[tuple[int, int]]) -> Iterator[_T]:
        for offset, size in run:
            yield from pickle.loads(os.pread(self._file.fileno(), size, offset))
