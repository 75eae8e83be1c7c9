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

# What rows of one file must agree in.
_CLAIMS = ("labels", "split", "group")


class Source(NamedTuple):
    """A row, and the file that it names."""

    row: Row
    file: File


def match_all(
    rows: Iterable[Row], files: Iterable[File], max_bytes: int = DEFAULT.max_image_bytes
) -> Iterator[Source | Reject | File]:
    """Yields what `match` does, of rows and files of many names."""
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
        rows: that name the same file, in any order.
        files: of this name, in any order.
        max_bytes: that the file of an image may have.
    """
    candidates = sorted(rows)
    found = sorted(files, key=lambda file: file.path)
    # Two files may have one name, in composed and in decomposed characters: rows can name only the first.
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
    """Yields every row with what another one says otherwise; nothing when all of them agree.

    None of them is better than another: which one stands first must not decide what a model learns.
    """
    other = next((row for row in rows[1:] if _claim(row) != _claim(rows[0])), None)
    for row in rows if other else ():
        against = other if other and _claim(row) == _claim(rows[0]) else rows[0]
        differ = [name for name in _CLAIMS if getattr(row, name) != getattr(against, name)]
        yield row, f"{_place(against, row)} names this file too, and differs in {' and '.join(differ)}"


def _place(row: Row, reader: Row) -> str:
    """Returns where a row stands, for someone who looks at another one."""
    return f"line {row.line}" if row.csv == reader.csv else f"{row.csv} line {row.line}"


def _claim(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _CLAIMS)
