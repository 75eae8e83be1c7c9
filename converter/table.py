"""The CSV as a table: what its header says, and its rows as text, in chunks.

Two kinds of table are read, and told apart by their cells:

    multi-hot      Filenames,desert,mountains      a label column for each class, with 0 or 1
                   1.jpg,1,0
    delimited      Filenames,labels                one label column, with the names of classes
                   4.jpg,"desert,mountains"
"""

import contextlib
import csv
import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TextIO

import pandas as pd

from converter import storage
from converter.options import ConvertOptions
from schemas.errors import UserError

# What a cell of a label column may hold, in any case and with spaces around it.
BINARY = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}

# How the name of an image ends, and that of a column does not.
_IMAGE = re.compile(r"\.(jpe?g|png|gif|bmp|webp|tiff?|heic)$", re.IGNORECASE)
_DELIMITERS = ",;\t|"
# Cells that pandas holds at a time: some tens of megabytes, whatever the size of the CSV.
_CHUNK_CELLS = 500_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """How to read the rows of a CSV.

    Attributes:
        path: of the CSV.
        columns: names of all columns.
        delimiter: between the cells.
        first_line: line number of the first row.
        filename: index of the column with the file names.
        labels: indices of the label columns, in the order of `classes` when the table is multi-hot.
        split: index of the column with the split, if one is used.
        group: index of the column with the group, if one is used.
        multi_hot: whether there is a label column for each class, and not one column with names.
        classes: in the order of the label vector.
    """

    path: str
    columns: tuple[str, ...]
    delimiter: str
    first_line: int
    filename: int
    labels: tuple[int, ...]
    split: int | None
    group: int | None
    multi_hot: bool
    classes: tuple[str, ...]


def read_tables(options: ConvertOptions) -> tuple[Table, ...]:
    """Reads the header of each file, and as many rows as it takes to know the classes.

    Raises:
        UserError: this is no table of file names and labels; the message names the file, the line and the column.
    """
    return (_read_table(options),)


def _read_table(options: ConvertOptions) -> Table:
    with storage.open_text(options.csv, options.encoding) as file, _readable(options, file):
        header = file.readline()
        if not header.strip():
            raise UserError(f"{options.csv} line 1: no header. Expected a line such as: filename,desert,sea")
        # The delimiter that stands most often outside of quotes; a comma when there is a tie.
        delimiter = max(_DELIMITERS, key=re.sub(r'"[^"]*("|$)', "", header).count)
        records = csv.reader(itertools.chain([header], file), delimiter=delimiter, strict=True)
        columns = tuple(name.strip() for name in next(records))
        table = _find_columns(options, columns, delimiter, first_line=records.line_num + 1)
        chunks = _chunks(table, file)
        first = next(chunks, None)
        if first is None:
            raise UserError(f"{options.csv} has a header and no rows.")
        return _find_classes(options, table, first, chunks)


def read_chunks(options: ConvertOptions, table: Table) -> Iterator[pd.DataFrame]:
    """Yields the rows in order, all cells as text.

    The columns are numbered as in `table`; one more column has what a row holds beyond them. Missing cells are "".

    Raises:
        UserError: from some line on, the CSV cannot be read at all.
    """
    with storage.open_text(table.path, options.encoding) as file, _readable(options, file, table.delimiter):
        next(csv.reader(file, delimiter=table.delimiter))
        yield from _chunks(table, file)


def class_names(cell: str, delimiter: str) -> set[str]:
    """Returns the names of classes in a cell of a delimited column."""
    return {name for part in cell.split(delimiter) if (name := part.strip())}


def _find_columns(options: ConvertOptions, columns: tuple[str, ...], delimiter: str, first_line: int) -> Table:
    where = f"{options.csv} line 1"

    indices = {name: i for i, name in enumerate(columns)}

    def index(flag: str, name: str) -> int:
        if name not in indices:
            raise UserError(f"{where}: {flag} names a column {name!r}, but the columns are: {', '.join(columns)}")
        return indices[name]

    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise UserError(f"{where}: several columns have the name {twice[0]!r}. Give each a name of its own.")
    filename = index("--filename_column", options.filename_column) if options.filename_column else 0
    split = index("--split_column", options.split_column) if options.split_column else None
    group = index("--group_column", options.group_column) if options.group_column else None
    if options.label_columns:
        labels = tuple(index("--label_columns", name) for name in options.label_columns)
    else:
        labels = tuple(i for i in range(len(columns)) if i not in (filename, split, group))
    if not labels:
        raise UserError(f"{where}: no label column beside {columns[filename]!r}. Are the cells separated by commas?")
    unnamed = [i + 1 for i in labels if not columns[i]]
    if unnamed:
        raise UserError(f"{where}: column {unnamed[0]} has no name. Name it, or choose others by --label_columns.")
    if all(columns[i].lower() in BINARY for i in labels) or _IMAGE.search(columns[filename]):
        raise UserError(f"{where}: expected column names, not a row. Received: {delimiter.join(columns)}")
    return Table(
        path=options.csv,
        columns=columns,
        delimiter=delimiter,
        first_line=first_line,
        filename=filename,
        labels=labels,
        split=split,
        group=group,
        multi_hot=len(labels) > 1,
        classes=tuple(columns[i] for i in labels),
    )


def _find_classes(options: ConvertOptions, table: Table, first: pd.DataFrame, others: Iterable[pd.DataFrame]) -> Table:
    """Completes the table: a single label column may hold 0 and 1, or names, which must all be known in advance."""
    if len(table.labels) == 1:
        cells = first[table.labels[0]].str.strip().str.lower()
        # Most and not all of them: one wrong cell is a bad label, and does not make classes of '0' and '1'. Unless
        # --classes says so, that is: they may be numbers.
        binary = bool(cells[cells != ""].isin(list(BINARY)).mean() > 0.5)
        table = dataclasses.replace(table, multi_hot=binary and set(options.classes) <= set(table.classes))
    if table.multi_hot:
        if options.classes and sorted(options.classes) != sorted(table.classes):
            raise UserError(
                f"{options.csv} line 1: --classes must name the label columns, in any order. "
                f"Received: {', '.join(options.classes)}; label columns: {', '.join(table.classes)}"
            )
        classes = options.classes or table.classes
        indices = {name: i for i, name in enumerate(table.columns)}
        return dataclasses.replace(table, classes=classes, labels=tuple(indices[name] for name in classes))
    if options.classes:
        return dataclasses.replace(table, classes=options.classes)
    names: set[str] = set()
    for chunk in itertools.chain([first], others):
        for cell in chunk[table.labels[0]].unique():
            names |= class_names(cell, options.label_delimiter)
    if not names:
        raise UserError(f"{options.csv}: column {table.classes[0]!r} names no class in any row.")
    return dataclasses.replace(table, classes=tuple(sorted(names)))


class _WithFirstLine:
    """A text file with a line before what is left of it."""

    def __init__(self, line: str, file: TextIO):
        self._line, self._file = line, file

    def read(self, size: int = -1) -> str:
        line, self._line = self._line, ""
        # Some builds of pandas end a cell at a NUL, and a row would name another file than it does. Any other control
        # character stays, and is rejected with its row.
        return line or self._file.read(size).replace("\0", "\1")

    def __iter__(self) -> Iterator[str]:
        yield self.read()
        yield from self._file


def _chunks(table: Table, file: TextIO) -> Iterator[pd.DataFrame]:
    """Yields what is left of the file; see `read_chunks`.

    The C parser refuses a row that is longer than the first one, or drops what is too much. A made first line that is
    one cell longer than the header makes it keep that cell, and fill shorter rows up.
    """
    width = len(table.columns) + 1
    reader = pd.read_csv(
        _WithFirstLine(table.delimiter.join(map(str, range(width))) + "\n", file),  # type: ignore[call-overload]
        delimiter=table.delimiter,
        usecols=range(width),
        dtype=str,
        na_filter=False,
        skip_blank_lines=False,
        chunksize=max(1, _CHUNK_CELLS // width),
    )
    for chunk in reader:
        if len(chunk):
            yield chunk.set_axis(range(width), axis="columns").reset_index(drop=True)


@contextlib.contextmanager
def _readable(options: ConvertOptions, file: TextIO, delimiter: str = ",") -> Iterator[None]:
    """Turns what the decoder and the parsers say into a sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(
            f"{options.csv} is not {options.encoding}: byte 0x{error.object[error.start]:02x} ({error.reason}). "
            "Name its encoding, e.g. --encoding=cp949 or --encoding=latin-1"
        ) from error
    except (pd.errors.ParserError, csv.Error) as error:
        # What pandas says of a file that ends in a quoted cell, and what csv says of a header that does.
        if not re.search("EOF inside string|unexpected end of data", str(error)):
            raise UserError(f"{options.csv} cannot be read as a CSV: {error}") from error
        line = _last_record_line(file, delimiter)
        raise UserError(f"{options.csv} line {line}: a quoted cell that starts here is never closed.") from error


def _last_record_line(file: TextIO, delimiter: str) -> int:
    """Returns the line on which the last record starts: pandas counts records, which may span several lines."""
    file.seek(0)
    records = csv.reader(file, delimiter=delimiter)
    line = following = 1
    # A cell that never ends is also too long for `csv`.
    with contextlib.suppress(csv.Error):
        for _ in records:
            line, following = following, records.line_num + 1
        return line
    return following
