"""Reads duplicates.csv of a dataset: the images that are the same as others, or nearly.

    group,filename,split,kind
    381.jpg,381.jpg,train,near
    381.jpg,48.jpg,validation,near

A group has the name of one of its images.
"""

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from multihot import formulas, storage
from multihot.errors import UserError
from schemas import layout

DUPLICATES_COLUMNS = ("group", "filename", "split", "kind")


class Duplicate(NamedTuple):
    """An image in a group of duplicates.

    Attributes:
        group: name of the group.
        filename: of the image; its control characters are escaped, as `multihot.printable` does it.
        split: of the image.
        kind: `exact` if another image of the group has the same bytes, otherwise `near`.
    """

    group: str
    filename: str
    split: str
    kind: str


def read(directory: str) -> Iterator[Duplicate]:
    """Yields the images of all groups of duplicates of a dataset.

    Args:
        directory: of the dataset, local or in a store.

    Raises:
        UserError: the list is damaged.
        OSError: the list cannot be read.
    """
    path = f"{directory.rstrip('/')}/{layout.DUPLICATES}"
    try:
        with storage.open_binary(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
            rows = csv.reader(text, strict=True)
            if tuple(next(rows, ())) != DUPLICATES_COLUMNS:
                raise ValueError(f"its columns must be {', '.join(DUPLICATES_COLUMNS)}")
            for row in rows:
                if len(row) != len(DUPLICATES_COLUMNS):
                    raise ValueError(f"line {rows.line_num} must have {len(DUPLICATES_COLUMNS)} cells")
                yield Duplicate(*map(formulas.unescaped, row))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged: {error}. `python -m converter.verify` has details.") from error
