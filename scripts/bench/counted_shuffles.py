"""Runs `python -m converter`, and prints at its end how many bytes went through the shuffles of the runner here."""

import atexit
import os

SAID = "bytes through shuffles: "


def main() -> None:
    """The command line: that of the converter."""
    # Imported here, since further processes of the converter import this module, too.
    from multihot import machine

    for name, value in machine.SINGLE_THREADED.items():
        os.environ.setdefault(name, value)
    from apache_beam.runners.portability.fn_api_runner import execution

    from converter.__main__ import run

    number = 0
    append = execution.GroupingBuffer.append

    def counted(buffer: execution.GroupingBuffer, elements: bytes) -> None:
        nonlocal number
        number += len(elements)
        append(buffer, elements)

    execution.GroupingBuffer.append = counted
    atexit.register(lambda: print(f"{SAID}{number}", flush=True))
    run()


if __name__ == "__main__":
    main()
