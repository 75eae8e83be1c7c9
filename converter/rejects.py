"""Defines why a row is rejected: Reject, and the closed list of reasons."""

import enum
from typing import NamedTuple


class Reason(enum.StrEnum):
    """The reason for a rejected row. The list is closed: each reason has a test, and a line in docs/rejects.md."""

    # Faults of the row itself.
    BAD_ROW = "bad_row"
    MISSING_NAME = "missing_name"
    UNSAFE_PATH = "unsafe_path"
    BAD_LABEL = "bad_label"
    UNKNOWN_CLASS = "unknown_class"
    BAD_SPLIT = "bad_split"
    DUPLICATE_NAME = "duplicate_name"
    CONFLICTING_ROWS = "conflicting_rows"
    # Faults of the file that it names.
    MISSING_FILE = "missing_file"
    AMBIGUOUS_NAME = "ambiguous_name"
    EMPTY_FILE = "empty_file"
    UNREADABLE_FILE = "unreadable_file"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_LARGE = "too_large"
    CORRUPT_IMAGE = "corrupt_image"


class RowRejectedError(Exception):
    """A row cannot be used: `args` are the Reason and a detail."""


class Reject(NamedTuple):
    """One rejected row.

    Attributes:
        csv: path of the CSV or Parquet file.
        line: of the row in that file, where 1 is the header of a CSV; the first of its lines, if it spans several.
        filename: the normalized name of the file; or, if the row names no possible file, its cell in that spelling.
        reason: one of the closed list.
        detail: description of the fault, for people.
    """

    csv: str
    line: int
    filename: str
    reason: Reason
    detail: str


class Damaged(NamedTuple):
    """One row whose image is damaged and was kept.

    Attributes:
        csv: path of the CSV or Parquet file.
        line: of the row in that file, as in Reject.
        filename: normalized.
        detail: the warning of libjpeg.
    """

    csv: str
    line: int
    filename: str
    detail: str
