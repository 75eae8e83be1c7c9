"""Each row of the CSV becomes a Row, or a Reject that says why not."""

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from converter import assignment
from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.table import BINARY, Table, class_names, read_chunks
from schemas import layout

_INVALID = 255

# What rows of one file must agree in.
_CLAIMS = ("labels", "split", "group")

# Control characters, line separators and lone surrogates; not what else is invisible: a name may well have a no-break
# space (macOS screenshots) or a joiner (Persian, emoji).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


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


class _RejectedError(Exception):
    """Carries a reason and a detail up to the row."""


def read_rows(options: ConvertOptions, table: Table) -> Iterator[Row | Reject]:
    """Yields every row of a CSV, in order, but for those in which every cell is blank.

    Args:
        options: how to split, and what stands between the names of classes.
        table: of this CSV, from `read_tables`.

    Raises:
        UserError: from some line on, the CSV cannot be read at all.
    """
    line = table.first_line
    for chunk in read_chunks(options, table):
        labels_of = _multi_hot(table, chunk) if table.multi_hot else _delimited(options, table, chunk)
        filenames = chunk[table.filename].tolist()
        split_names = chunk[table.split].tolist() if table.split is not None else None
        groups = chunk[table.group].tolist() if table.group is not None else None
        too_much = chunk[len(table.columns)].tolist()
        for i, height in enumerate(_heights(chunk)):
            try:
                if too_much[i].strip():
                    raise _RejectedError(
                        Reason.BAD_ROW, f"must have {len(table.columns)} cells. Received one more: {too_much[i]!r}"
                    )
                filename = normalized(filenames[i])
                group = (composed(groups[i].strip()) if groups else "") or filename
                split = _split(options, table, group, split_names[i] if split_names else None)
                yield Row(table.path, line, filename, labels_of(i), split, group)
            except _RejectedError as error:
                if any(cell.strip() for cell in chunk.iloc[i]):
                    yield Reject(table.path, line, filenames[i].strip(), *error.args)
            line += height


def composed(text: str) -> str:
    """Returns a text as it is compared: in composed characters, since file systems and editors differ in that."""
    return unicodedata.normalize("NFC", text)


def normalized(filename: str) -> str:
    """Returns the one name that a file goes by: relative, with '/', composed characters, and no spaces around.

    Raises:
        _RejectedError: there is no name, or it points out of the folder of images.
    """
    name = composed(filename.strip()).replace("\\", "/")
    if not name:
        raise _RejectedError(Reason.MISSING_NAME, "the file name is blank")
    if name.startswith("/") or re.match(r"[A-Za-z]:|[\w+.-]+://", name) or ".." in name.split("/"):
        raise _RejectedError(Reason.UNSAFE_PATH, "the file name must be relative to the folder of images, without '..'")
    if _CONTROL.search(name):
        raise _RejectedError(Reason.UNSAFE_PATH, f"the file name has control characters: {name!a}")
    return posixpath.normpath(name)


def conflicts(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Yields every row with what another one says otherwise; nothing when all of them agree.

    Args:
        rows: that name the same file. None of them is better than another: which one stands first must not decide
            what a model learns.
    """
    other = next((row for row in rows if _claim(row) != _claim(rows[0])), None)
    for row in rows if other else ():
        against = other if other and _claim(row) == _claim(rows[0]) else rows[0]
        differ = [name for name in _CLAIMS if getattr(row, name) != getattr(against, name)]
        yield row, f"{place(against, row)} names this file too, and differs in {' and '.join(differ)}"


def place(row: Row, reader: Row) -> str:
    """Returns where a row stands, for someone who looks at another one."""
    return f"line {row.line}" if row.csv == reader.csv else f"{row.csv} line {row.line}"


def _claim(row: Row) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _CLAIMS)


def _split(options: ConvertOptions, table: Table, group: str, cell: str | None) -> str:
    if cell is None or table.split is None:
        return assignment.split(group, options.splits)
    name = cell.strip()
    if not layout.is_split(name):
        raise _RejectedError(
            Reason.BAD_SPLIT,
            f"column {table.columns[table.split]!r}: must be a letter, then letters, digits and underscores, "
            f"and not 'index'. Received: {cell!r}",
        )
    return name


def _multi_hot(table: Table, chunk: pd.DataFrame) -> Callable[[int], bytes]:
    """Returns the function from a row of the chunk to its label vector."""
    cells = chunk[list(table.labels)].to_numpy(object)
    # Millions of cells, but a handful of different ones.
    codes, texts = pd.factorize(cells.ravel())
    values = np.array([BINARY.get(text.strip().lower(), _INVALID) for text in texts], np.uint8)
    vectors = values[codes].reshape(cells.shape)

    def labels_of(i: int) -> bytes:
        labels = vectors[i].tobytes()
        if _INVALID in labels:
            column = table.labels[labels.index(_INVALID)]
            raise _RejectedError(
                Reason.BAD_LABEL, f"column {table.columns[column]!r}: must be 0 or 1. Received: {chunk.at[i, column]!r}"
            )
        return labels

    return labels_of


def _delimited(options: ConvertOptions, table: Table, chunk: pd.DataFrame) -> Callable[[int], bytes]:
    """Returns the function from a row of the chunk to its label vector."""
    cells = chunk[table.labels[0]].tolist()
    classes = frozenset(table.classes)

    def labels_of(i: int) -> bytes:
        names = class_names(cells[i], options.label_delimiter)
        if not names <= classes:
            raise _RejectedError(
                Reason.UNKNOWN_CLASS,
                f"column {table.columns[table.labels[0]]!r}: must name classes of {', '.join(table.classes)}. "
                f"Received: {', '.join(sorted(names - classes))}",
            )
        return bytes(name in names for name in table.classes)

    return labels_of


def _heights(chunk: pd.DataFrame) -> list[int]:
    """Returns how many lines of the file each row takes: one, and one more for each line break inside a cell."""
    heights = np.ones(len(chunk), int)
    for i in chunk:
        # Almost no column has any, and one look at all of its text is a hundred times faster than one at each cell.
        if "\n" in "".join(chunk[i]):
            heights += chunk[i].str.count("\n").to_numpy(int)
    return heights.tolist()
