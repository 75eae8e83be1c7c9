"""Runs a program and ends its process: messages and exit status, for all command lines."""

import atexit
import contextlib
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import app

from multihot import signals
from multihot.errors import UsageError, UserError
from multihot.printable import printable

_INTERRUPTED = "Interrupted."

_describe: Callable[[], str] = str
# The thread that ends the process holds this lock.
_ending = threading.Lock()


def run(
    main: Callable[[Any], object],
    *,
    parse: Callable[[list[str]], Any] = app.parse_flags_with_usage,
    errors: tuple[type[Exception], ...] = (),
    status: int = 1,
) -> None:
    """Runs a program and ends the process.

    An error that the user can correct ends with a message in place of a traceback, Ctrl-C with status 130, and SIGTERM
    with 143. If the reader of the output has ended, as after `program | head`, the program ends with 141, silently.

    Args:
        main: the program; its result is the status, where None is 0.
        parse: from the command line, with the name of the program, to the argument of `main`.
        errors: classes of errors that the user can correct, beside UserError and OSError.
        status: exit status after such an error; a UsageError has its own.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Characters that the terminal cannot show are escaped, and do not end the program.
        sys.stdout.reconfigure(errors="backslashreplace")
    mendable: tuple[type[Exception], ...] = (UserError, OSError, *errors)
    signals.interrupt(_give_up)
    try:
        app.run(main, flags_parser=parse)
    except SystemExit as end:
        _exit(end.code)
    except BaseException as error:
        number = signals.received()
        # Interrupted code may raise anything.
        if number or isinstance(error, KeyboardInterrupt):
            _say(_INTERRUPTED, error)
            _exit(signals.status(number) if number else 130)
        if isinstance(error, BrokenPipeError) and _is_cut_off():
            _exit(signals.status(signal.SIGPIPE))
        if not isinstance(error, mendable):
            raise
        _say(f"error: {sentence(error)}", error)
        _exit(error.status if isinstance(error, UsageError) else status)


@contextlib.contextmanager
def leaves(describe: Callable[[], str]) -> Iterator[None]:
    """Adds a note about unfinished files to an exception that ends the work in this context.

    Command lines print the note after the error, and when they are interrupted.

    Args:
        describe: returns a description of the unfinished files, and how to continue; "" for no note.
    """
    global _describe
    before, _describe = _describe, describe
    try:
        yield
    except BaseException as error:
        note = _left()
        if note:
            error.add_note(note)
        raise
    finally:
        _describe = before


def _is_cut_off() -> bool:
    """Whether nothing reads the output any more, as after `program | head`."""
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)
    except (OSError, ValueError):  # No file of the system.
        return False
    return bool(poll.poll(0))


def _left() -> str:
    try:
        return _describe()
    except OSError:  # The files cannot be listed now.
        return ""


def _give_up(number: int) -> None:
    """Ends the process from another thread, when the main thread does not end it in time."""
    if _ending.acquire(blocking=False):
        _print("\n".join(filter(None, (_INTERRUPTED, _left()))))
    os._exit(signals.status(number))


def _say(sentence: str, error: BaseException) -> None:
    if _ending.acquire(blocking=False):
        _print("\n".join([sentence, *getattr(error, "__notes__", [])]))


def _print(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout.isatty():
            print()  # The cursor may be behind a progress bar.
        # Each line of a message is escaped, since it may have cells of a CSV in it.
        print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


def _exit(status: object) -> NoReturn:
    """Ends the process without the cleanup of TensorFlow and Beam, which takes a second and has no use.

    Functions registered with `atexit` are called. `status` is an argument of `sys.exit`.
    """
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # The reader of a pipe may have ended.
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status or 0)


def sentence(error: BaseException) -> str:
    """Returns the text of an error; for an error of the system, the file and the reason."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        # Of a file that could not get its name, the first is a temporary one, which is gone.
        return f"{error.filename2 or error.filename}: {error.strerror}"
    return str(error)
