"""Defines Row: a row that passed every test that needs no image file."""

from typing import NamedTuple


class Row(NamedTuple):
    """A row that passed every test that needs no file.

    Attributes:
        csv: path of the file that it stands in.
        line: of that file, 1 for its header; the first line where a cell spans several.
        filename: normalized; relative to the folder of images.
        labels: one byte for each class, 0 or 1.
        split: name of the split that it belongs to.
        group: what decides the split, in composed characters: rows of one group are never in two. The file name where
            nothing else was given.
    """

    csv: str
    line: int
    filename: str
    labels: bytes
    split: str
    group: str
