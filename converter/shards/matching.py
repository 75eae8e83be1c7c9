"""Matches rows with the files that they name: at most one row gets a file, and the others are rejected."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from converter import limits
from converter.limits import DEFAULT
from converter.rejects import Reason, Reject
from converter.system.storage import File
from converter.table.row import Row
from converter.text import composed

# Fields in which all rows that name one file must agree.
_CLAIMS = ("labels", "split", "group")


class Source(NamedTuple):
    """A row, and the file that it names."""

    row: Row
    file: File


def match_all(
    rows: Iterable[Row], files: Iterable[File], max_bytes: int = DEFAULT.max_image_bytes
) -> Iterator[Source | Reject | File]:
    """Yields the results of `match` for rows and files of many names."""
    by_name: defaultdict[str, tuple[list[Row], list[File]]] = defaultdict(lambda: ([], []))
    for row in rows:
        by_name[row.filename][0].append(row)
    for file in files:
        by_name[composed(file.name)][1].append(file)
    for same_name in by_name.values():
        yield from match(*same_name, max_bytes)


def match(
    rows: Iterable[Row], files: Iterable[File], max_bytes: int = DEFAULT.max_image_bytes
) -> Iterator[Source | Reject | File]:
    """Yields at most one Source, a Reject for each other row, and the files that no row names.

    Args:
        rows: rows that name the same file, in any order.
        files: files of this name, in any order.
        max_bytes: largest size of a file.
    """
    candidates = sorted(rows)
    found = sorted(files, key=lambda file: file.path)
    # Two file names that differ only in composed and decomposed characters count as one: rows can name only the first.
    yield from found[1 if candidates else 0 :]
    conflicting = [_reject(row, Reason.CONFLICTING_ROWS, detail) for row, detail in _conflicts(candidates)]
    yield from conflicting
    if conflicting or not candidates:
        return
    first, *others = candidates
    for row in others:
        yield _reject(row, Reason.DUPLICATE_NAME, f"{_place(first, row)} says the same; that line was kept")
    if not found:
        yield _reject(first, Reason.MISSING_FILE, "no such file in the folder of images")
    elif not found[0].inside:
        yield _reject(first, Reason.UNSAFE_PATH, "a symbolic link that leads out of the folder of images")
    elif not found[0].size:
        yield _reject(first, Reason.EMPTY_FILE, "the file has 0 bytes")
    elif found[0].size > max_bytes:
        yield _reject(first, Reason.TOO_LARGE, limits.too_many_bytes(found[0].size, max_bytes))
    else:
        yield Source(first, found[0])


def _reject(row: Row, reason: Reason, detail: str) -> Reject:
    return Reject(row.csv, row.line, row.filename, reason, detail)


def _conflicts(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Yields every row with a sentence that names a row in conflict with it; nothing if all rows agree.

    All conflicting rows are rejected: keeping the first would let the order of the rows decide the labels.
    """
    other = next((row for row in rows[1:] if _claim(row) != _claim(rows[0])), None)
    for row in rows if other else ():
        against = other if other and _claim(row) == _claim(rows[0]) else rows[0]
        differ = [name for name in _CLAIMS if getattr(row, name) != getattr(against, name)]
        yield row, f"{_place(against, row)} names this file too, and differs in {' and '.join(differ)}"


def _place(row: Row, reader: Row) -> str:
    """Returns the line of a row, and its CSV if it is another one than that of `reader`."""
    return f"line {row.line}" if row.csv == reader.csv else f"{row.csv} line {row.line}"


def _claim(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _CLAIMS)
