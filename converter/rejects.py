"""Defines a rejected row: Reject. The closed list of reasons is in multihot/reasons.py."""

from typing import NamedTuple

from multihot.reasons import Reason

__all__ = ["Damaged", "Reason", "Reject", "RowRejectedError"]


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
