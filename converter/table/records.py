"""Reads the cells of a CSV or Parquet file as text, record by record, with the line of each.

Neither kind of file is held in memory as a whole; a compressed CSV is decompressed as it is read. The first record is
the header. Each record has its line:

    CSV        the line that it starts on, as an editor counts them: 1 is the header, a quoted cell may span several
    Parquet    the number of the row: 1 is the first, since the names of columns are no row
"""

import codecs
import contextlib
import csv
import io
import itertools
import re
from collections.abc import Collection, Generator, Iterator
from typing import BinaryIO

from converter.options import ConvertOptions
from converter.table import dialect, encodings, parquet
from converter.table.compressed import Contents, open_contents
from converter.table.dialect import FormError, Record
from converter.table.parquet import Cell
from multihot.errors import UserError

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
    (rb"\x1f\x8b|BZh\d1AY|\xfd7zXZ|\x28\xb5\x2f\xfd", "compressed twice. Decompress it"),
    (rb"\x1f\x9d|\x04\x22\x4d\x18|7z\xbc\xaf|Rar!", "compressed, neither by gzip nor as ZIP. Decompress it"),
    (rb"(?s).{257}ustar", "an archive (tar). Unpack it"),
    (rb"%PDF-", "a PDF. Save the table as CSV"),
    (rb"SQLite format 3\x00", "a database of SQLite. Export its table as CSV"),
    (rb"ARROW1", "an Arrow file (Feather). Save it as Parquet or CSV"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml)", "a page of HTML or XML. Download the file itself"),
    (rb'(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[\[{"\]])', "JSON. Save it as CSV"),
)


# Lines in which the header is looked for, behind comments and blank lines.
_MOST_COMMENTS = 1000


def read_header(path: str, options: ConvertOptions) -> Record:
    """Returns the names of the columns; no names when the file is empty or its first line is blank.

    Args:
        path: of the file.
        options: of the conversion, with the encoding of a CSV without a byte order mark, and how its lines are written.

    Raises:
        UserError: the file cannot be read, is neither a CSV nor Parquet, or has other lines before its header.
    """
    with open_contents(path) as (file, head):
        if _is_parquet(path, file, head):
            return Record(1, parquet.header(path, file))
        for start, what in _OTHERS:
            if re.match(start, head):
                raise UserError(f"{path} is no CSV but {what}.")
        with contextlib.closing(_csv_records(path, file, _encoding(path, head, options), options)) as records:
            first = next(records, Record(options.skip_lines + 1, []))
            if any("\0" in str(name) for name in first.cells):
                raise FormError(
                    f"{path} line {first.line} has NUL characters",
                    "If it is UTF-16, give --encoding=utf-16-le or utf-16-be",
                )
            rows = list(itertools.islice(records, dialect.SAMPLE_ROWS))
            return Record(first.line, dialect.complete(path, first, rows))


def form(path: str, options: ConvertOptions) -> str:
    """Returns the form of a file in words: Parquet, or the delimiter and the encoding of a CSV.

    Raises:
        UserError: the file cannot be read.
    """
    with open_contents(path) as (file, head):
        if _is_parquet(path, file, head):
            return "Parquet"
        encoding = _encoding(path, head, options)
        with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            _, _, delimiter = _start(path, text, options)
    between = dialect.NAMES.get(delimiter, repr(delimiter))
    return f"CSV, {between} between the cells, {encoding.removesuffix('-sig')}"


def unusable(path: str) -> dict[int, str]:
    """Returns the types of the columns of a Parquet file that hold neither cells nor lists of them; {} for a CSV.

    Raises:
        UserError: the file cannot be read.
    """
    with open_contents(path) as (file, head):
        return parquet.unusable(path, file) if _is_parquet(path, file, head) else {}


def first_lines(path: str, options: ConvertOptions, number: int) -> list[str]:
    """Returns the first lines of a file as they are, with replacements for bytes that --encoding cannot decode.

    Raises:
        UserError: the file cannot be read.
    """
    with (
        open_contents(path) as (file, head),
        io.TextIOWrapper(file, encoding=_encoding(path, head, options), errors="replace") as text,
    ):
        return [line.rstrip("\n") for line in itertools.islice(text, number)]


def read_records(
    path: str, options: ConvertOptions, columns: Collection[int], lists: Collection[int] = ()
) -> Iterator[Record]:
    """Yields the records after the header.

    Args:
        path: of the file.
        options: of the conversion, with the encoding of a CSV without a byte order mark, and how its lines are written.
        columns: indices of the columns whose cells are needed. A record of a CSV has all cells; in one of a Parquet
            file, the cells of other columns are "".
        lists: indices of the columns that may hold lists of names in a Parquet file.

    Raises:
        UserError: a line cannot be read; the records before it have been yielded.
    """
    with open_contents(path) as (file, head):
        if _is_parquet(path, file, head):
            yield from itertools.starmap(Record, parquet.rows(path, file, columns, lists))
        else:
            records = _csv_records(path, file, _encoding(path, head, options), options)
            yield from itertools.islice(records, 1, None)


def is_blank(cell: Cell) -> bool:
    """Whether a cell is empty, or has only spaces."""
    return not (cell.strip() if isinstance(cell, str) else cell)


def _is_parquet(path: str, file: BinaryIO, head: bytes) -> bool:
    if head.startswith(parquet.MAGIC) and isinstance(file, io.BufferedReader) and isinstance(file.raw, Contents):
        raise UserError(f"{path} is a compressed Parquet file. Decompress it: Parquet compresses its columns itself.")
    return head.startswith(parquet.MAGIC) or path.lower().endswith((".parquet", ".pq"))


def _encoding(path: str, head: bytes, options: ConvertOptions) -> str:
    """Returns the encoding of a CSV: the one of its byte order mark, or else --encoding.

    Raises:
        UserError: Python does not know --encoding, or the file lacks the byte order mark that it needs.
    """
    encoding = options.encoding
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


def _csv_records(path: str, file: BinaryIO, encoding: str, options: ConvertOptions) -> Generator[Record]:
    """Yields the records of a CSV, the header among them."""
    line = options.skip_lines + 1
    try:
        with io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            lines = _Lines(text)
            line, first, delimiter = _start(path, text, options)
            before = line - 1
            reader = dialect.reader(itertools.chain(first, lines), delimiter)
            for cells in reader:
                # At the end of the file, the last record is complete only if all of its quotes are closed.
                if lines.ended:
                    raise UserError(f"{path} line {line}: a quoted cell that starts here is never closed.")
                yield Record(line, cells)
                line = before + reader.line_num + 1
    except UnicodeError as error:
        raise FormError(
            f"{path} line {_undecodable_line(path, encoding)} is not {encoding.removesuffix('-sig')}: {_why(error)}",
            _remedy(path, encoding),
        ) from error
    except csv.Error as error:
        raise UserError(
            f"{path} line {line}: a cell that starts here cannot be read ({error}). Is a quote never closed?"
        ) from error


def _start(path: str, text: io.TextIOWrapper, options: ConvertOptions) -> tuple[int, list[str], str]:
    """Reads the first lines of a CSV: returns the number of the header's line, it and the next lines, the delimiter."""
    line = options.skip_lines + 1
    for _ in itertools.islice(text, options.skip_lines):
        pass
    first = dialect.lookahead(text, _MOST_COMMENTS)
    delimiter = options.delimiter
    if first and (excel := dialect.delimiter_of_excel(first[0])):
        delimiter = delimiter or excel
        line += 1
        first = first[1:] or dialect.lookahead(text, _MOST_COMMENTS)
    dialect.check_comments(path, line, first)
    return line, first, delimiter or dialect.detected(*[*first, "", ""][:2])


def _why(error: UnicodeError) -> str:
    """Returns the undecodable byte and the decoder's reason. Some decoders give no byte, or one past the end."""
    if isinstance(error, UnicodeDecodeError) and error.start < len(error.object):
        return f"byte 0x{error.object[error.start]:02x} ({error.reason})"
    return "it cannot be decoded"


def _remedy(path: str, encoding: str) -> str:
    """Returns the sentence that names the encodings in which the lines that cannot be decoded read as words."""
    with open_contents(path) as (file, _):
        lines, mixed = encodings.offending(file, encoding)
    if mixed:
        return "Most other lines are: mend this one, which may be damaged or pasted from another file."
    found = " or ".join(
        f"--encoding={reading.encoding}" + (f" reads {reading.word!r}" if reading.word else "")
        for reading in encodings.readings(lines)
    )
    return f"Name its encoding: {found}" if found else "Name its encoding, e.g. --encoding=cp1252 or --encoding=cp949"


def _undecodable_line(path: str, encoding: str) -> int:
    """Returns the number of the first line that cannot be decoded; a decoder's error is about a block of lines."""
    with (
        contextlib.suppress(UnicodeError),
        open_contents(path) as (file, _),
        io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="") as text,
    ):
        return next((line for line, content in enumerate(text, start=1) if "\ufffd" in content), 1)
    return 1
