"""Runs `python -m converter.look`."""

from converter.look import program

if __name__ == "__main__":
    program.run()
