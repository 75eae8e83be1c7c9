"""`python -m converter`, and the command `multihot-convert`."""


def run() -> None:
    """Entry point."""
    # Not at the top: the processes that write shards import the main module of the program, and need none of this.
    from converter import main

    main.run()


if __name__ == "__main__":
    run()
