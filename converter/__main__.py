"""Runs the converter: `python -m converter`, and the command `multihot-convert`."""

import os
import sys

from schemas import signals

# Measured, with Beam and a process that writes shards: it ends well with 2.1 GB, and in many ways with 1.5 GB.
_ADDRESSES = 2_000_000_000


def run() -> None:
    """Entry point."""
    signals.end_at_once()
    # Not at the top: the processes that write shards import the main module of the program, and need none of this.
    from schemas import machine
    from schemas.errors import UserError

    for name, value in machine.SINGLE_THREADED.items():
        os.environ.setdefault(name, value)
    try:
        machine.check_addresses(_ADDRESSES, "A conversion")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    from converter import main

    main.run()


if __name__ == "__main__":
    run()
