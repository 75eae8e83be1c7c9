"""Fetches small objects by libcurl, many at a time, in one thread of the process.

The client of stores (objects.py) needs a thread of Python for each request under way, and more than twice the
processor time (scripts/bench_store). It repeats requests and explains errors, which is not done here: whatever does not
succeed at once is for the caller to read in that way.
"""

import asyncio
import atexit
import collections
import functools
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from io import BytesIO
from typing import NamedTuple

import certifi

import multihot
from multihot.storage import connections
from multihot.storage.libcurl import pycurl
from multihot.storage.signing import Request

# Transfers under way at a time. Others wait for one of them to end.
MOST = connections.MOST_REQUESTS
# Seconds: for a connection, without a byte, and of all of a transfer. Those of the client (connections.py).
_CONNECT_SECONDS, _STALLED_SECONDS, _SECONDS = 5, 20, 300
_OK = 200
_NOWHERE = BytesIO()
# After so many failures in a row, as of a store that refuses such requests, the caller's way is taken for some seconds.
_MOST_FAILURES, _PAUSE_SECONDS = 16, 60.0


class Transfer(NamedTuple):
    """An object to fetch.

    Attributes:
        request: for the object.
        otherwise: gets `content` if the transfer fails, for whatever reason, and sets it in another way. It returns at
            once.
        content: of the object, to come. If it is cancelled before the transfer begins, no request is made.
    """

    request: Request
    otherwise: Callable[[Future[bytes]], None]
    content: Future[bytes]


def begin(transfers: Sequence[Transfer], max_bytes: int) -> None:
    """Begins transfers. Any thread may call it.

    Args:
        transfers: to begin.
        max_bytes: objects with more of them are not fetched.
    """
    _driver().begin(transfers, max_bytes)


def work() -> bool:
    """Whether transfers are worth a try: of late, some have succeeded."""
    return time.monotonic() >= _driver().resumes


@functools.cache
def _driver() -> "_Driver":
    """Returns the one driver of this process, so that all of its transfers share connections."""
    return _Driver()


class _Driver:
    """A thread with an event loop, in which transfers run.

    Attributes:
        resumes: time (of time.monotonic) before which transfers are not worth a try.
    """

    def __init__(self) -> None:
        self.resumes = 0.0
        self._failures = 0
        self._waiting: collections.deque[tuple[Transfer, int]] = collections.deque()
        self._idle: list[pycurl.Curl] = []
        self._num_running = 0
        self._multi = pycurl.AsyncCurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, MOST)
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="transfers", daemon=True)
        self._thread.start()
        # Not in the middle of a transfer when the interpreter goes away.
        atexit.register(self._end)

    def begin(self, transfers: Sequence[Transfer], max_bytes: int) -> None:
        self._waiting.extend((transfer, max_bytes) for transfer in transfers)
        self._loop.call_soon_threadsafe(self._begin_waiting)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)

    def _begin_waiting(self) -> None:
        while self._waiting and self._num_running < MOST:
            transfer, max_bytes = self._waiting.popleft()
            if not transfer.content.set_running_or_notify_cancel():
                continue
            handle, received = self._idle.pop() if self._idle else _handle(), BytesIO()
            try:
                handle.setopt(pycurl.URL, transfer.request.url)
                handle.setopt(pycurl.HTTPHEADER, list(transfer.request.headers))
                handle.setopt(pycurl.MAXFILESIZE_LARGE, max_bytes)
                handle.setopt(pycurl.WRITEDATA, received)
                begun = self._multi.add_handle(handle)
            except (pycurl.error, ValueError):  # libcurl does not take the URL. Nobody else would tell the future.
                self._fail(transfer)
                continue
            self._num_running += 1
            begun.add_done_callback(functools.partial(self._finish, transfer, handle, received))

    def _finish(
        self, transfer: Transfer, handle: pycurl.Curl, received: BytesIO, done: asyncio.Future[pycurl.Curl]
    ) -> None:
        is_whole = done.exception() is None and handle.getinfo(pycurl.RESPONSE_CODE) == _OK
        self._num_running -= 1
        # An idle handle keeps no content in memory.
        handle.setopt(pycurl.WRITEDATA, _NOWHERE)
        self._idle.append(handle)
        self._begin_waiting()
        if is_whole:
            self._failures = 0
            transfer.content.set_result(received.getvalue())
        else:
            self._fail(transfer)

    def _fail(self, transfer: Transfer) -> None:
        self._failures += 1
        if self._failures == _MOST_FAILURES:
            self._failures, self.resumes = 0, time.monotonic() + _PAUSE_SECONDS
        transfer.otherwise(transfer.content)


def _handle() -> pycurl.Curl:
    """Returns a handle for one transfer at a time."""
    handle = pycurl.Curl()
    options = {
        pycurl.NOSIGNAL: 1,
        pycurl.CONNECTTIMEOUT: _CONNECT_SECONDS,
        pycurl.LOW_SPEED_LIMIT: 1,
        pycurl.LOW_SPEED_TIME: _STALLED_SECONDS,
        pycurl.TIMEOUT: _SECONDS,
        # One connection for each transfer: a store limits the bytes of each.
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        # Names are literal: no folder in them is a step up.
        pycurl.PATH_AS_IS: 1,
        pycurl.USERAGENT: f"multihot/{multihot.__version__}",
        # The library that comes with pycurl looks where another system has its certificates.
        **_certificates(),
    }
    for option, value in options.items():
        handle.setopt(option, value)
    return handle


@functools.cache
def _certificates() -> dict[int, str]:
    paths = ssl.get_default_verify_paths()
    folder = {pycurl.CAPATH: paths.capath} if paths.capath else {}
    return {pycurl.CAINFO: paths.cafile or certifi.where(), **folder}
