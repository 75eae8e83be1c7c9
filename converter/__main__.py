"""`python -m converter`, and the command `multihot-convert`."""

from schemas import signals


def run() -> None:
    """Entry point."""
    signals.end_at_once()
    # Not at the top: the processes that write shards import the main module of the program, and need none of this.
    from converter import main

    main.run()


if __name__ == "__main__":
    run()
