"""What the command lines have in common: how they end."""

import atexit
import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app

from schemas.errors import UserError
from schemas.printable import printable


def run(
    main: Callable[[Any], object],
    *,
    parse: Callable[[list[str]], Any] = app.parse_flags_with_usage,
    errors: tuple[type[Exception], ...] = (),
    status: int = 1,
) -> None:
    """Runs a program and ends the process: what the user can mend is a message, Ctrl-C is status 130.

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
    try:
        app.run(main, flags_parser=parse)
    except SystemExit as end:
        _exit(end.code)
    except mendable as error:
        # A message may have several lines, and cells of a CSV in them.
        print("error: " + "\n".join(map(printable, _sentence(error).split("\n"))), file=sys.stderr)
        _exit(status)
    except KeyboardInterrupt:
        _exit(130)


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


def _sentence(error: Exception) -> str:
    """Returns what a person needs of an error: of the system's, which file, and what is wrong with it."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
