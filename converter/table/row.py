"""Defines Row: a row that passed every test that needs no image file."""

from typing import NamedTuple


class Row(NamedTuple):
    """A row that passed every test that needs no image file.

    Attributes:
        csv: path of the CSV or Parquet file.
        line: of the row in that file, where 1 is the header of a CSV; the first of its lines, if it spans several.
        filename: normalized name of the image, relative to the folder of images.
        labels: one byte for each class: 0, 1 or example.UNKNOWN.
        split: name of its split.
        group: name of its group, in composed characters, which decides the split: all rows of a group are in one split.
            Without a group column, the file name.
    """

    csv: str
    line: int
    filename: str
    labels: bytes
    split: str
    group: str
