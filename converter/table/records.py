"""Reads the cells of a CSV or Parquet file as text, record by record, with the line of each.

Neither kind of file is held in memory as a whole. The first record is the header. Each record has its line:

    CSV        the line that it starts on, as an editor counts them: 1 is the header, a quoted cell may span several
    Parquet    the number of the row: 1 is the first, since the names of columns are no row
"""

import codecs
import contextlib
import csv
import io
import itertools
import re
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from converter.system import storage
from converter.table import parquet
from converter.table.parquet import Cell
from multihot.errors import UserError

_DELIMITERS = ",;\t|"

# A byte order mark overrides --encoding. UTF-32 comes before UTF-16, whose mark is the start of that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# First bytes of files that are often given in place of a CSV, and what to do about each.
_OTHERS = (
    (rb"PK\x03\x04", "a ZIP archive or a workbook of Excel. Save its sheet as CSV"),
    (rb"\xd0\xcf\x11\xe0", "a workbook of an old Excel. Save its sheet as CSV"),
    (rb"\x1f\x8b|BZh\d1AY|\xfd7zXZ|\x28\xb5\x2f\xfd", "compressed. Decompress it"),
    (rb"%PDF-", "a PDF. Save the table as CSV"),
    (rb"SQLite format 3\x00", "a database of SQLite. Export its table as CSV"),
    (rb"ARROW1", "an Arrow file (Feather). Save it as Parquet or CSV"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml)", "a page of HTML or XML. Download the file itself"),
    (rb'(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[\[{"\]])', "JSON. Save it as CSV"),
)


class Record(NamedTuple):
    """A header or a row: its line, and its cells."""

    line: int
    cells: Sequence[Cell]


def read_header(path: str, encoding: str) -> tuple[str, ...]:
    """Returns the names of the columns; no names when the file is empty or its first line is blank.

    Args:
        path: of the file.
        encoding: of a CSV without a byte order mark.

    Raises:
        UserError: the file cannot be read, or is neither a CSV nor Parquet.
    """
    with storage.open_file(path) as file:
        head = _head(file)
        if _is_parquet(path, head):
            return parquet.header(path, file)
        for start, what in _OTHERS:
            if re.match(start, head):
                raise UserError(f"{path} is no CSV but {what}.")
        with contextlib.closing(_csv_records(path, file, _encoding(path, head, encoding))) as records:
            names = tuple(str(cell).strip() for cell in next(records, Record(1, [])).cells)
        if any("\0" in name for name in names):
            raise UserError(
                f"{path} line 1 has NUL characters. If it is UTF-16, give --encoding=utf-16-le or utf-16-be"
            )
        return names


def read_records(path: str, encoding: str, columns: Collection[int], lists: Collection[int] = ()) -> Iterator[Record]:
    """Yields the records after the header.

    Args:
        path: of the file.
        encoding: of a CSV without a byte order mark.
        columns: indices of the columns whose cells are needed. A record of a CSV has all cells; in one of a Parquet
            file, the cells of other columns are "".
        lists: indices of the columns that may hold lists of names in a Parquet file.

    Raises:
        UserError: a line cannot be read; the records before it have been yielded.
    """
    with storage.open_file(path) as file:
        head = _head(file)
        if _is_parquet(path, head):
            yield from itertools.starmap(Record, parquet.rows(path, file, columns, lists))
        else:
            yield from itertools.islice(_csv_records(path, file, _encoding(path, head, encoding)), 1, None)


def is_blank(cell: Cell) -> bool:
    """Whether a cell is empty, or has only spaces."""
    return not (cell.strip() if isinstance(cell, str) else cell)


def _head(file: BinaryIO) -> bytes:
    head = file.read(512)
    file.seek(0)
    return head


def _is_parquet(path: str, head: bytes) -> bool:
    return head.startswith(parquet.MAGIC) or path.lower().endswith((".parquet", ".pq"))


def _encoding(path: str, head: bytes, encoding: str) -> str:
    """Returns the encoding of a CSV: the one of its byte order mark, or else `encoding`.

    Raises:
        UserError: Python does not know `encoding`, or the file lacks the byte order mark that it needs.
    """
    try:
        "".encode(encoding)
    except (LookupError, UnicodeError) as error:
        raise UserError(
            "--encoding must be the name of an encoding that Python knows, e.g. utf-8, cp949 or latin-1. "
            f"Received: {encoding!r}"
        ) from error
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    name = codecs.lookup(encoding).name
    # Without a mark, Python's decoders of these two encodings fail, with a message that depends on the version.
    if head and not marked and name in ("utf-16", "utf-32"):
        raise UserError(
            f"{path} line 1 is not {name}: it has no byte order mark. "
            f"Name its encoding, e.g. --encoding={name}-le, --encoding={name}-be or --encoding=utf-8"
        )
    return marked or encoding


class _Lines:
    """The lines of a text file, and whether it has ended."""

    def __init__(self, file: io.TextIOWrapper):
        self._file, self.ended = file, False

    def __iter__(self) -> Iterator[str]:
        yield from self._file
        self.ended = True


def _csv_records(path: str, file: BinaryIO, encoding: str) -> Generator[Record]:
    """Yields the records of a CSV, the header among them."""
    line = 1
    try:
        with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            lines = _Lines(text)
            first = text.readline()
            reader = csv.reader(itertools.chain([first], lines), delimiter=_delimiter(first))
            for cells in reader:
                # At the end of the file, the last record is complete only if all of its quotes are closed.
                if lines.ended:
                    raise UserError(f"{path} line {line}: a quoted cell that starts here is never closed.")
                yield Record(line, cells)
                line = reader.line_num + 1
    except UnicodeError as error:
        raise UserError(
            f"{path} line {_undecodable_line(path, encoding)} is not {encoding.removesuffix('-sig')}: {_why(error)}. "
            "Name its encoding, e.g. --encoding=cp949 or --encoding=latin-1"
        ) from error
    except csv.Error as error:
        raise UserError(
            f"{path} line {line}: a cell that starts here cannot be read ({error}). Is a quote never closed?"
        ) from error


def _delimiter(line: str) -> str:
    """Returns the most frequent delimiter outside of quotes; of equally frequent ones, the first of _DELIMITERS."""
    return max(_DELIMITERS, key=re.sub(r'"[^"]*("|$)', "", line).count)


def _why(error: UnicodeError) -> str:
    """Returns the undecodable byte and the decoder's reason. Some decoders give no byte, or one past the end."""
    if isinstance(error, UnicodeDecodeError) and error.start < len(error.object):
        return f"byte 0x{error.object[error.start]:02x} ({error.reason})"
    return "it cannot be decoded"


def _undecodable_line(path: str, encoding: str) -> int:
    """Returns the number of the first line that cannot be decoded; a decoder's error is about a block of lines."""
    with (
        contextlib.suppress(UnicodeError),
        storage.open_file(path) as file,
        io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="") as text,
    ):
        return next((line for line, content in enumerate(text, start=1) if "\ufffd" in content), 1)
    return 1
