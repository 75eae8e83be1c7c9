"""Runs the converter: `python -m converter`, and the command `multihot-convert`."""

import os
import sys

from multihot import signals

# Bytes of addresses. Measured with Beam and a process that writes shards: a conversion succeeds with 2.1 GB, and fails
# in various ways with 1.5 GB.
_ADDRESSES = 2_000_000_000


def run() -> None:
    """Entry point."""
    signals.end_at_once()
    # Imported here, since the processes that write shards import the main module of the program without needing these.
    from multihot import machine
    from multihot.errors import UserError

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
