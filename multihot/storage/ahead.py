"""Reads the files of a sequence ahead of their use, as many at a time as it takes for nobody to wait.

A store answers after tens of milliseconds, in which a processor proves a hundred images. So many requests have to be
under way at a time, and how many depends on the store: the number grows while someone waits for files. More of them
than that take processor time, since each has a thread.
"""

import collections
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from multihot.storage import objects
from multihot.storage.files import File

_T = TypeVar("_T")

# Requests under way at a time: at first, at most, and the factor by which the number grows after a wait.
_FIRST, _MOST, _GROWTH = 8, 256, 2
# Bytes of the files that are read or wait to be used, in one process.
_HELD_BYTES = 1 << 28


class _Window:
    """The number of files that are read ahead. It is that of the process: the next sequence begins with it."""

    def __init__(self) -> None:
        self._size = float(_FIRST)
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return int(self._size)

    def grow(self) -> None:
        with self._lock:
            self._size = min(self._size * _GROWTH, _MOST)


_window = _Window()


def read(items: Iterable[_T], file: Callable[[_T], File], max_bytes: int) -> Iterator[tuple[_T, Callable[[], bytes]]]:
    """Yields each item in order, with a function that waits for the content of its file.

    A caller that may not need all of them closes the generator: requests that have not begun are then never made.

    Args:
        items: that have a file in a store.
        file: from an item to its file.
        max_bytes: largest number of bytes of a file, as in storage.read. The function raises what storage.read does.
    """
    executor = _threads()
    pending: collections.deque[tuple[_T, Future[bytes], int]] = collections.deque()
    held = 0
    # Number of items until a wait says that the window is too small: the first ones of a sequence are always waited
    # for, and after the window has grown, those that were asked for before.
    early = _window.size

    def waits_for(future: Future[bytes]) -> Callable[[], bytes]:
        def content() -> bytes:
            nonlocal early
            early -= 1
            if early < 0 and not future.done():
                _window.grow()
                early = _window.size
            return future.result()

        return content

    try:
        for item in items:
            wanted = file(item)
            while pending and (len(pending) >= _window.size or held + wanted.size > _HELD_BYTES):
                first, future, size = pending.popleft()
                held -= size
                yield first, waits_for(future)
            pending.append((item, executor.submit(objects.read, wanted.path, max_bytes), wanted.size))
            held += wanted.size
        while pending:
            first, future, _ = pending.popleft()
            yield first, waits_for(future)
    finally:
        # Nobody waits for these any more.
        for _, future, _ in pending:
            future.cancel()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Returns the threads of this process for `read`. They wait for most of the time, and hold no lock meanwhile.

    They are started once: with new ones for each shard, an image took 1.15 times as much processor time
    (scripts/bench_store, shards of 20 MB).
    """
    return ThreadPoolExecutor(_MOST, "read-ahead")
