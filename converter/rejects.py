"""Rejects: rows that were left out, and why. They are data, written to rejects.csv, not lines of a log."""

import csv
import enum
import functools
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from converter import formulas
from converter.system import storage
from schemas.errors import UserError
from schemas.printable import printable


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


def damaged_csv(damaged: Iterable[Damaged]) -> str:
    """Returns the text of damaged.csv: in the order of the files and their lines."""
    return inert_csv(Damaged._fields, sorted(damaged))


def to_csv(rejects: Iterable[Reject]) -> str:
    """Returns the text of rejects.csv: in the order of the files and their lines."""
    return inert_csv(Reject._fields, sorted(rejects))


def first_of_each(rows: Iterable[Mapping[str, str]], number: int) -> dict[str, list[tuple[str, str]]]:
    """Returns file names and details of the first rejects of each reason, by name.

    Not by line: that would change with the order of the rows.

    Args:
        rows: of rejects.csv.
        number: how many of each reason.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        some = found.setdefault(row["reason"], [])
        some.append((row["filename"], row["detail"]))
        if len(some) > 100 * number:  # Millions are not kept.
            some[:] = sorted(some)[:number]
    return {reason: sorted(some)[:number] for reason, some in sorted(found.items())}


def unlisted_csv(names: Iterable[str]) -> str:
    """Returns the text of unlisted.csv: the files in the folder of images that no row names."""
    return inert_csv(("filename",), ((name,) for name in sorted(names)))


def inert_csv(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Returns the text of a CSV in which every cell is inert."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([inert(str(cell)) for cell in row] for row in rows)
    return text.getvalue()


def inert(text: str) -> str:
    """Returns a text that no terminal obeys, and that no spreadsheet runs as a formula."""
    # Splits and reasons come again and again. Long texts would be kept as well, 1024 of them.
    return _inert_short(text) if len(text) <= 100 else _inert(text)


def _inert(text: str) -> str:
    return formulas.escaped(printable(text))


_inert_short = functools.lru_cache(1 << 10)(_inert)


def read_csv(directory: str, name: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yields the rows of such a CSV of a dataset.

    Args:
        directory: of the dataset, local or in a store.
        name: of the CSV.
        columns: that it must have.

    Raises:
        UserError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        text = storage.read(f"{directory.rstrip('/')}/{name}").decode()
        for row in csv.DictReader(io.StringIO(text, newline=""), strict=True):
            if list(row) != list(columns) or None in row.values():
                raise ValueError(f"every row must have {', '.join(columns)}")
            yield row
    except (ValueError, csv.Error) as error:
        raise UserError(f"{name} is damaged: {error}. `python -m converter.verify` says more.") from error
