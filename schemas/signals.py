"""Ctrl-C and SIGTERM: both end a program, in the same way.

Batch systems, containers and `kill` send SIGTERM. Python knows KeyboardInterrupt only, and raises it between two
bytecodes of the main thread, which may be inside of TensorFlow for minutes, or where TensorFlow cannot bear it.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How long the main thread may take to end what it does, before the process ends without it.
_PATIENCE_SECONDS = 5.0

_received: list[int] = []
_deferred = False


def received() -> int | None:
    """Returns the signal that ends this program, if one has come."""
    return _received[0] if _received else None


def status(number: int) -> int:
    """Returns with which status a program ends after a signal: 130 after Ctrl-C, 143 after SIGTERM, as in a shell."""
    return 128 + number


def end_at_once() -> None:
    """Lets the signals end the process without a word: while it imports modules, nothing has begun."""
    _handle(lambda number, _: os._exit(status(number)))


def interrupt(give_up: Callable[[int], object]) -> None:
    """Lets the first signal raise KeyboardInterrupt in the main thread, from which this must be called.

    Args:
        give_up: is called in another thread when the main thread has not ended the process some seconds later, or when
            a second signal comes; with the number of the signal.
    """
    _received.clear()
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    # The system writes to it when a signal comes, whatever the main thread is at.
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(wake, give_up), name="signals", daemon=True).start()
    _handle(_raise)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Has signals raise KeyboardInterrupt in this context only where `check` is called, and at its end.

    TensorFlow crashes when Python raises what it does not expect: where it makes an iterator, it calls Python from C++
    with lists that it then frees twice, and the process ended with SIGSEGV or SIGABRT. A main thread that does not come
    to a `check` in some seconds is not waited for, see `interrupt`.
    """
    global _deferred
    before, _deferred = _deferred, True
    try:
        yield
        check()
    finally:
        _deferred = before


def check() -> None:
    """Raises KeyboardInterrupt if a signal has come."""
    if _received:
        raise KeyboardInterrupt


def _handle(handler: Callable[[int, FrameType | None], object]) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # As `nohup` and shells start what runs in the background.
            signal.signal(number, handler)


def _raise(number: int, _: FrameType | None) -> None:
    if _received:
        return
    _received.append(number)
    # Errors from now on follow from the signal, and are of no use to the user.
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None
    if not _deferred:
        raise KeyboardInterrupt


def _watch(wake: int, give_up: Callable[[int], object]) -> None:
    number = _next(wake)
    select.select([wake], [], [], _PATIENCE_SECONDS)
    give_up(number)


def _next(wake: int) -> int:
    while True:
        number = os.read(wake, 1)[0]
        if number in _SIGNALS:
            return number
