"""Defines why a row is rejected: Reject, and the closed list of reasons."""

import enum
from typing import NamedTuple


class Reason(enum.StrEnum):
    """Why a row was rejected. The list is closed: each has a test, and a line in docs/rejects.md."""

    # Of the row itself.
    BAD_ROW = "bad_row"
    MISSING_NAME = "missing_name"
    UNSAFE_PATH = "unsafe_path"
    BAD_LABEL = "bad_label"
    UNKNOWN_CLASS = "unknown_class"
    BAD_SPLIT = "bad_split"
    DUPLICATE_NAME = "duplicate_name"
    CONFLICTING_ROWS = "conflicting_rows"
    # Of the file that it names.
    MISSING_FILE = "missing_file"
    EMPTY_FILE = "empty_file"
    UNREADABLE_FILE = "unreadable_file"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_LARGE = "too_large"
    CORRUPT_IMAGE = "corrupt_image"


class Reject(NamedTuple):
    """One rejected row.

    Attributes:
        csv: path of the file that the row stands in.
        line: of that file, 1 for its header; the first line where a quoted field spans several.
        filename: as the CSV has it, or normalized where the row was fine and its file is not.
        reason: one of the closed list.
        detail: what was found there, for a person.
    """

    csv: str
    line: int
    filename: str
    reason: Reason
    detail: str


class Damaged(NamedTuple):
    """One row whose image is damaged and was kept.

    Attributes:
        csv: path of the file that the row stands in.
        line: of that file, as in Reject.
        filename: normalized.
        detail: the words of libjpeg.
    """

    csv: str
    line: int
    filename: str
    detail: str
