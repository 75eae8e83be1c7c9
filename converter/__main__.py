"""`python -m converter`, and the command `multihot-convert`."""

import sys


def run() -> None:
    """Entry point."""
    # Not at the top: the processes that write shards import the main module of the program, and need none of this.
    try:
        from converter import main
    except KeyboardInterrupt:
        sys.exit(130)
    main.run()


if __name__ == "__main__":
    run()
