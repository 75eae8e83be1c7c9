"""`python -m trainer`, and the command `multihot-train`."""

from multihot import signals


def run() -> None:
    """Entry point."""
    signals.end_at_once()
    # Not at the top: it takes seconds.
    from trainer import main

    main.run()


if __name__ == "__main__":
    run()
