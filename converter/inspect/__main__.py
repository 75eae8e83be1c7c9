"""Runs `python -m converter.inspect`."""

from converter.inspect import selection

if __name__ == "__main__":
    selection.run()
