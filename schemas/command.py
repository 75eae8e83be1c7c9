"""What the command lines have in common: how they end."""

import atexit
import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import app

from schemas import signals
from schemas.errors import UserError
from schemas.printable import printable

_INTERRUPTED = "Interrupted."

_describe: Callable[[], str] = str
# Held by the thread that ends the process.
_ending = threading.Lock()


def run(
    main: Callable[[Any], object],
    *,
    parse: Callable[[list[str]], Any] = app.parse_flags_with_usage,
    errors: tuple[type[Exception], ...] = (),
    status: int = 1,
) -> None:
    """Runs a program and ends the process: what the user can mend is a message, Ctrl-C is status 130, SIGTERM 143.

    Args:
        main: the program; what it returns is the status, None is 0.
        parse: from the arguments, with the name of the program, to what `main` is given.
        errors: that the user can mend, beside UserError and OSError.
        status: with which these end.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal cannot show is shown in part, and does not end the program.
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
        if not isinstance(error, mendable):
            raise
        _say(f"error: {_sentence(error)}", error)
        _exit(status)


@contextlib.contextmanager
def leaves(describe: Callable[[], str]) -> Iterator[None]:
    """Says what is left when the work in this context ends with an exception, in a note of the exception.

    A command line prints it behind its error, and when it is interrupted.

    Args:
        describe: returns what is left, and how one goes on; "" if there is nothing to say.
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


def _left() -> str:
    try:
        return _describe()
    except OSError:  # It cannot be looked at now.
        return ""


def _give_up(number: int) -> None:
    """Ends the process in the place of the main thread, which does something that takes long."""
    if _ending.acquire(blocking=False):
        _print("\n".join(filter(None, (_INTERRUPTED, _left()))))
    os._exit(signals.status(number))


def _say(sentence: str, error: BaseException) -> None:
    if _ending.acquire(blocking=False):
        _print("\n".join([sentence, *getattr(error, "__notes__", [])]))


def _print(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout.isatty():
            print()  # A bar may stand there.
        # A message may have several lines, and cells of a CSV in them.
        print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


def _exit(status: object) -> NoReturn:
    """Ends the process without taking TensorFlow and Beam apart: that takes a second, and does nothing for anyone.

    What asked to be called at the end is called. `status` is what `sys.exit` takes.
    """
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # Who read the output is gone.
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status or 0)


def _sentence(error: BaseException) -> str:
    """Returns what a person needs of an error: of the system's, which file, and what is wrong with it."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
