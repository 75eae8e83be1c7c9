"""Reads the files of a sequence ahead of their use, as many at a time as it takes for nobody to wait.

A store answers after tens of milliseconds, in which a processor proves a hundred images. So many requests have to be
under way at a time, and how many depends on the store: the number grows while someone waits for files.

libcurl makes the requests where their credentials are at hand (signing.py). Whatever it does not get at once is read by
the client of the store, which has a thread for each request, repeats it and explains errors.
"""

import collections
import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType
from typing import TypeVar

from multihot.storage import connections, objects, signing
from multihot.storage.files import File

_T = TypeVar("_T")

# Requests under way at a time: at first, at most, and the factor by which the number grows after a wait.
_FIRST, _MOST, _GROWTH = 8, connections.MOST_REQUESTS, 2
# Share of the window that is left when more requests are begun.
_REFILLED = 0.75
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
    coming = iter(items)
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
        while True:
            # Several at a time: requests that are signed together take less time.
            if len(pending) <= _window.size * _REFILLED:
                some = _take(coming, file, _window.size - len(pending), _HELD_BYTES - held)
                contents = _begin([wanted.path for _, wanted in some], max_bytes)
                for (item, wanted), content in zip(some, contents, strict=True):
                    pending.append((item, content, wanted.size))
                    held += wanted.size
            if not pending:
                return
            first, future, size = pending.popleft()
            held -= size
            yield first, waits_for(future)
    finally:
        # Nobody waits for these any more.
        for _, future, _ in pending:
            future.cancel()


def _take(items: Iterator[_T], file: Callable[[_T], File], most: int, num_bytes: int) -> list[tuple[_T, File]]:
    """Returns the next items with their files: at most so many, and none after their files have so many bytes."""
    taken: list[tuple[_T, File]] = []
    for item in itertools.islice(items, most if num_bytes > 0 else 0):
        taken.append((item, file(item)))
        num_bytes -= taken[-1][1].size
        if num_bytes <= 0:
            break
    return taken


def _begin(paths: Sequence[str], max_bytes: int) -> list[Future[bytes]]:
    """Begins to read objects."""
    transfers = _transfers()
    requests = signing.requests(paths) if paths and transfers and transfers.work() else None
    if transfers is None or requests is None:
        return [_threads().submit(objects.read, path, max_bytes) for path in paths]
    begun = [
        transfers.Transfer(request, functools.partial(_read_by_client, path, max_bytes), Future())
        for path, request in zip(paths, requests, strict=True)
    ]
    transfers.begin(begun, max_bytes)
    return [each.content for each in begun]


def _read_by_client(path: str, max_bytes: int, content: Future[bytes]) -> None:
    """Begins to read an object by the client of its store, which repeats requests and explains errors."""

    def read_now() -> None:
        try:
            content.set_result(objects.read(path, max_bytes))
        except BaseException as error:
            content.set_exception(error)

    _threads().submit(read_now)


@functools.cache
def _transfers() -> ModuleType | None:
    """Returns the module of transfers. It takes time to import, and is of no use without its library."""
    try:
        from multihot.storage import transfers
    except ImportError:
        return None
    return transfers


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Returns the threads of this process for `read`. They wait for most of the time, and hold no lock meanwhile.

    They are started once: with new ones for each shard, an image took 1.15 times as much processor time
    (scripts/bench_store, shards of 20 MB).
    """
    return ThreadPoolExecutor(_MOST, "read-ahead")
