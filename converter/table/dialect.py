"""Finds how the lines of a CSV are written: the delimiter, lines above the header, a header without its first name."""

import _csv
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from converter.table.parquet import Cell
from multihot.errors import UserError
from schemas import example


class Record(NamedTuple):
    """A header or a row: its line, and its cells."""

    line: int
    cells: Sequence[Cell]


# Stands for runs of blanks.
BLANKS = " "
_DELIMITERS = ",;\t|"
# Words for delimiters.
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", BLANKS: "blanks"}
# The line by which Excel is told the delimiter.
_EXCEL = re.compile(r'"?sep=([^"\r\n])"?[,;\t]*\s*')
# Names of columns of file names. Such a name in a first line means that the line is the header.
_NAME_OF_NAMES = re.compile(
    r"#?\s*((file|image|img|photo|pic|picture|path|url|name|fname)([ _]?(name|id|path|index|file|url))?s?|id|\w+_id)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[+-]?\d[\d.,]*")
# Number of rows by which a header is judged.
SAMPLE_ROWS = 100
# So many rows with one cell more than the header show that a column has no name. In fewer rows, the additional cell may
# be a part of a cell without quotes.
_CERTAIN_ROWS = 10


class FormError(UserError):
    """A CSV is written in another way than the flags for its form say.

    Attributes:
        fact: what was found, with the place.
    """

    def __init__(self, fact: str, remedy: str) -> None:
        """Keeps both parts of the message.

        Args:
            fact: what was found, with the place; without a full stop.
            remedy: the sentence that names a flag of the table. Other files have no such flags.
        """
        # Both are arguments of the error, so that it can be sent from one process to another.
        super().__init__(fact, remedy)
        self.fact = fact

    def __str__(self) -> str:
        """Returns the message."""
        return ". ".join(self.args)


def delimiter_of_excel(line: str) -> str:
    """Returns the delimiter of Excel's first line `sep=;`; "" if the line is another one."""
    found = _EXCEL.fullmatch(line)
    return found[1] if found else ""


def detected(header: str, row: str) -> str:
    """Returns the most frequent delimiter outside of quotes; of equally frequent ones, the first of _DELIMITERS.

    Args:
        header: the line of the header.
        row: the line after it. Without another delimiter, blanks are one if both lines have them, since a name of a
            column may have blanks too.
    """
    unquoted = re.sub(r'"[^"]*("|$)', "", header)
    best = max(_DELIMITERS, key=unquoted.count)
    if best not in unquoted:
        num_names, num_cells = _num_cells(header, BLANKS), _num_cells(row, BLANKS)
        if num_names > 1 and num_cells in (num_names, num_names + 1):
            return BLANKS
    return best


def _num_cells(line: str, delimiter: str) -> int:
    """Returns the number of cells of a line; 0 if they cannot be read."""
    try:
        return len(next(reader([line], delimiter), ()))
    except csv.Error:
        return 0


def reader(lines: Iterable[str], delimiter: str) -> "_csv.Reader":
    """Returns the reader of the cells of lines."""
    if delimiter == BLANKS:
        return csv.reader(map(_trimmed, lines), delimiter=" ", skipinitialspace=True)
    # Blanks around cells have no meaning. Before a quote, they would make it a part of the cell: a.jpg, "sea,sun"
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True)


def _trimmed(line: str) -> str:
    """Returns a line with blanks for tabs, and without the blanks around it, which separate nothing."""
    return line.strip("\r\n\t ").replace("\t", " ") + "\n"


def lookahead(lines: Iterator[str], most: int) -> list[str]:
    """Returns the next lines up to the first that is neither blank nor a comment, and the one after it."""
    found: list[str] = []
    for text in lines:
        found.append(text)
        if len(found) >= most or (len(found) > 1 and found[-2].strip() and not _is_comment(found[-2])):
            break
    return found


def check_comments(path: str, line: int, lines: Sequence[str]) -> None:
    """Checks that the first line is neither a comment nor blank.

    Args:
        path: for messages.
        line: number of the first line.
        lines: the first line and those after it.

    Raises:
        UserError: there is a header further down; the message names --skip_lines.
    """
    first = next((i for i, text in enumerate(lines) if text.strip() and not _is_comment(text)), len(lines))
    if first == 0 or not any(map(str.strip, lines)):
        return
    what = " is a comment" if lines[0].strip() else ": no header. Expected a line such as: filename,desert,sea"
    fact = f"{path} line {line}{what}"
    raise FormError(fact, _skip(line + first)) if first < len(lines) else UserError(fact)


def _is_comment(line: str) -> bool:
    """Whether a line starts with # and a text that is no name of a column: `#filename,...` and `#,...` are headers."""
    return re.match(r'\s*"?#[#\s]*[^\s,;|"#]', line) is not None and not _NAME_OF_NAMES.match(line.lstrip(' \t"'))


def _skip(header: int) -> str:
    return f"If the header is line {header}, give --skip_lines={header - 1}"


def complete(path: str, header: Record, rows: Sequence[Record]) -> tuple[str, ...]:
    """Returns the names of the columns, with one for the first column if the header has none for it.

    The header is one name shorter than all rows if the column of file names has no name (CelebA), which is then
    `filename`; or if R has written the numbers of the rows, whose name is then "".

    Args:
        path: for messages.
        header: the first record.
        rows: the records after it.

    Raises:
        UserError: the line is no header, since it has fewer cells than the lines after it.
    """
    names = tuple(str(cell).strip() for cell in header.cells)
    filled = [row for row in rows if any(map(str.strip, map(str, row.cells)))]
    if not any(names) or not filled:
        return names
    widths = {len(row.cells) for row in filled}
    one_more = widths == {len(names) + 1} and str(filled[0].cells[-1]).strip()
    if one_more and _are_numbered(filled):
        return ("", *names)
    if _NAME_OF_NAMES.match(names[0]):
        return names
    if len(names) == 1:
        _check_title(path, header, filled)
        return names
    if len(widths) > 1 or min(widths) <= len(names) or not str(filled[0].cells[-1]).strip():
        return names
    if one_more and _lacks_a_name(names, filled):
        return (example.FILENAME, *names)
    raise FormError(
        f"{path} line {header.line} has {len(names)} cells, and the next ones have {min(widths)}. If it is the header, "
        "name all columns in it, and quote cells that have the delimiter in them",
        _skip(filled[0].line),
    )


def _are_numbered(rows: Sequence[Record]) -> bool:
    """Whether the first cells of rows are the numbers of the rows, from 0 or 1."""
    cells = [str(row.cells[0]).strip() for row in rows]
    return any(cells == [str(i) for i in range(first, first + len(cells))] for first in (0, 1))


def _lacks_a_name(names: Sequence[str], rows: Sequence[Record]) -> bool:
    """Whether a first line is a header that lacks the name of the first column, and no title above the header."""
    if all(map(_NUMBER.fullmatch, names)) or _NAME_OF_NAMES.fullmatch(str(rows[0].cells[0]).strip()):
        return False
    labels = (str(cell).strip() for row in rows for cell in row.cells[1:])
    return len(rows) >= _CERTAIN_ROWS or all(_NUMBER.fullmatch(cell) for cell in labels if cell)


def _check_title(path: str, header: Record, rows: Sequence[Record]) -> None:
    """Checks that a first line of one cell is no title or number of rows above the header."""
    for row, after in zip(rows, [*rows[1:], rows[-1]], strict=True):
        line, next_line = str(row.cells[0]), str(after.cells[0])
        delimiter = detected(line, next_line)
        if len(row.cells) > 1 or delimiter in line:
            num_cells = max(len(row.cells), _num_cells(line, delimiter))
            raise FormError(
                f"{path} line {header.line} has 1 cell, and line {row.line} has {num_cells}", _skip(row.line)
            )
