"""Defines the closed list of reasons for which a row of a table, or an image, cannot be used."""

import enum


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
