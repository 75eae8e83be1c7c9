"""Handles Ctrl-C and SIGTERM, which both end a program in the same way.

Batch systems, containers and `kill` send SIGTERM. Python raises KeyboardInterrupt for Ctrl-C only, and between two
bytecodes of the main thread, which may be inside of TensorFlow for minutes, or at a point where TensorFlow crashes.
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
# Seconds for the main thread to end its work, before another thread ends the process.
_PATIENCE_SECONDS = 5.0

_received: list[int] = []
_deferred = False


def received() -> int | None:
    """Returns the number of the signal that ends this program; None if none has come."""
    return _received[0] if _received else None


def status(number: int) -> int:
    """Returns the exit status of a program after a signal, as in a shell: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + number


def end_at_once() -> None:
    """Makes the signals end the process without a message, while it imports modules and has not started any work."""
    _handle(lambda number, _: os._exit(status(number)))


def interrupt(give_up: Callable[[int], object]) -> None:
    """Makes the first signal raise KeyboardInterrupt in the main thread, from which this must be called.

    Args:
        give_up: called in another thread, with the number of the signal, if the main thread has not ended the process
            after some seconds, or if a second signal comes.
    """
    _received.clear()
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    # The system writes to the pipe when a signal comes, whatever the main thread is doing.
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(wake, give_up), name="signals", daemon=True).start()
    _handle(_raise)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Delays KeyboardInterrupt in this context until `check` is called, or the context ends.

    TensorFlow crashes when Python raises an unexpected exception: when it makes an iterator, it calls Python from C++
    with lists that it then frees twice, and the process ended with SIGSEGV or SIGABRT. If the main thread does not call
    `check` within some seconds, another thread ends the process, see `interrupt`.
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
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` and background jobs of a shell ignore them.
            signal.signal(number, handler)


def _raise(number: int, _: FrameType | None) -> None:
    if _received:
        return
    _received.append(number)
    # Later errors are consequences of the signal, and of no use to the user.
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
