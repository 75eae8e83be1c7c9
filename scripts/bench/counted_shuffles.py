"""Runs `python -m converter`, and prints at its end how many bytes went through the shuffles of the runner here."""

import atexit
import contextlib
import os
from collections.abc import Callable, Iterator

SAID = "bytes through shuffles: "


@contextlib.contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """Counts the bytes that go through the shuffles of Beam's runner in this process.

    Yields:
        the function that returns their number so far.
    """
    # Imported here, since further processes of the converter import this module, too.
    from apache_beam.runners.portability.fn_api_runner import execution

    number = 0
    append = execution.GroupingBuffer.append

    def counting(buffer: execution.GroupingBuffer, elements: bytes) -> None:
        nonlocal number
        number += len(elements)
        append(buffer, elements)

    execution.GroupingBuffer.append = counting
    try:
        yield lambda: number
    finally:
        execution.GroupingBuffer.append = append


def main() -> None:
    """The command line: that of the converter."""
    from multihot import machine

    for name, value in machine.SINGLE_THREADED.items():
        os.environ.setdefault(name, value)
    from converter.__main__ import run

    with counted() as number:
        # The program runs these functions, and then ends the process at once.
        atexit.register(lambda: print(f"{SAID}{number()}", flush=True))
        run()


if __name__ == "__main__":
    main()
