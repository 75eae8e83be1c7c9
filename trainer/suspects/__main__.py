"""Runs `python -m trainer.suspects`."""

from trainer.suspects import program

if __name__ == "__main__":
    program.run()
