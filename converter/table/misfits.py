"""Finds whole columns that do not fit, before any image is read, and says in one sentence what to do about them.

Single cells that do not fit are no matter of this module: their rows are rejected, and listed in rejects.csv.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from converter.options import ConvertOptions
from converter.table import kinds
from converter.table.labels import Meanings, canonical, is_number
from converter.table.parquet import Cell
from converter.table.records import is_blank
from converter.text import flag, some
from multihot.errors import UserError

# Endings of image names.
IMAGE_NAME = re.compile(
    r"\.(jpe?g|jpe|jfif|jp2|png|gif|bmp|dib|webp|tiff?|heic|heif|avif|ppm|pgm|dcm|svg)$", re.IGNORECASE
)

# In so few rows a column is not judged: they are listed in rejects.csv.
_FEW_ROWS = 4

_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval", "trainval"}


class ColumnSample(NamedTuple):
    """The first cells of a column.

    Attributes:
        name: of the column.
        cells: how often each cell occurs in them.
    """

    name: str
    cells: Counter[Cell]

    @property
    def filled(self) -> list[Cell]:
        """The different cells that are not blank, in the order of the rows."""
        return [cell for cell in self.cells if not is_blank(cell)]


def check_filenames(where: str, filename: ColumnSample, others: Iterable[ColumnSample]) -> None:
    """Checks that no other column looks like the one with the file names.

    Args:
        where: place for messages.
        filename: the column that is taken for the file names, since it is the first.
        others: all other columns.

    Raises:
        UserError: another one has names of images, and this one has none.
    """
    if any(map(is_image_name, filename.filled)):
        return
    for other in others:
        if other.filled and all(map(is_image_name, other.filled)):
            raise UserError(
                f"{where}: the first column, {filename.name!r}, holds {_shown(filename)}, and {other.name!r} holds "
                f"{_shown(other)}. Name the column with the file names: --filename_column={other.name}"
            )


def check_labels(
    options: ConvertOptions, where: str, columns: Sequence[ColumnSample], num_rows: int, ignored: Sequence[str] = ()
) -> None:
    """Checks that columns which are to hold 0 and 1 do so.

    Args:
        options: of the conversion.
        where: place for messages.
        columns: that are to hold 0 and 1.
        num_rows: number of rows that the samples are from.
        ignored: columns that --ignore_columns names already.

    Raises:
        UserError: whole columns do not; the message names them, their cells, and the flags that help.
    """
    meanings = Meanings(options)
    allowed = options.rejects_allowed(num_rows)
    few = max(allowed, num_rows // 10, _FEW_ROWS)
    numbers = [(column, _num_unknown(meanings, column)) for column in columns]
    misfits = [column for column, number in numbers if number > few or number == num_rows > allowed]
    strange = [column for column in misfits if column.filled and not _is_like_labels(meanings, column)]
    if strange:
        raise UserError(_without_labels(options, where, columns, strange, ignored))
    if misfits:
        raise UserError(_unclear(options, where, meanings, misfits))


def is_image_name(cell: Cell) -> bool:
    """Whether a cell ends as names of images do; an address may have a query behind the name."""
    return isinstance(cell, str) and IMAGE_NAME.search(cell.strip().partition("?")[0]) is not None


def _num_unknown(meanings: Meanings, column: ColumnSample) -> int:
    """Returns the number of rows whose cell has no meaning."""
    return sum(count for cell, count in column.cells.items() if not meanings.knows(cell))


def _is_like_labels(meanings: Meanings, column: ColumnSample) -> bool:
    """Whether each cell of a column says yes, no or unknown, in the words of a flag or in others."""
    known = kinds.YES | kinds.NO | kinds.PLACEHOLDERS | {"-1"}
    return all(meanings.knows(cell) or canonical(cell) in known for cell in column.filled)


def _without_labels(
    options: ConvertOptions,
    where: str,
    columns: Sequence[ColumnSample],
    strange: Sequence[ColumnSample],
    ignored: Sequence[str],
) -> str:
    shown = "; ".join(f"{column.name!r} holds {_shown(column)}" for column in strange[:3])
    more = f"; and {len(strange) - 3} more" if len(strange) > 3 else ""
    start = f"{where}: {shown}{more}, and labels are 0 and 1."
    splits = [column.name for column in strange if _names_splits(column)]
    if splits:
        start += f" If {splits[0]!r} says which split a row belongs to: {flag('split_column', splits[:1])}"
        strange = [column for column in strange if column.name != splits[0]]
        if not strange:
            return start
        start += "."
    if len(strange) < len(columns):
        left = [column.name for column in columns if column not in strange and column.name not in splits]
        names = flag("ignore_columns", [*ignored, *(column.name for column in strange)])
        chosen = flag("label_columns", left) if 0 < len(left) <= 20 else "--label_columns"
        return f"{start} Leave out what is no label: {names}, or name the label columns: {chosen}{_or_names(strange)}"
    decimals = all(is_number(cell) for column in strange for cell in column.filled)
    if decimals:
        return f"{start} Write 1 where a number reaches the threshold of your choice and 0 elsewhere."
    return f"{start} If one of the columns holds names of classes: {flag('label_columns', [_likeliest(strange).name])}"


def _or_names(columns: Sequence[ColumnSample]) -> str:
    """Returns a hint to the column that may hold names of classes; "" if none seems to."""
    likeliest = _likeliest(columns)
    texts = [cell for cell in likeliest.filled if not is_number(cell)]
    is_one = 2 <= len(texts) < likeliest.cells.total() / 2
    return f" (and columns of names of classes, such as {likeliest.name!r})" if is_one else ""


def _likeliest(columns: Sequence[ColumnSample]) -> ColumnSample:
    """Returns the column that looks most like one with names of classes: few different texts, no numbers or dates."""

    def unlikely(column: ColumnSample) -> tuple[bool, bool, int]:
        texts = [cell for cell in column.filled if not re.match(r"[+-]?\d+([.,:/-]|$)", str(cell).strip())]
        has_name = re.search("label|class|tag|categor|type|finding|species", column.name, re.IGNORECASE) is not None
        return len(texts) < 2, not has_name, len(texts)

    return min(columns, key=unlikely)


def _unclear(options: ConvertOptions, where: str, meanings: Meanings, columns: Sequence[ColumnSample]) -> str:
    cells: Counter[str] = Counter()
    known: set[str] = set()
    for column in columns:
        for cell, count in column.cells.items():
            if meanings.knows(cell):
                known.add(str(cell).strip())
            else:
                cells[str(cell).strip()] += count
    found = [cell for cell, _ in cells.most_common(6)]
    shown = ", ".join(map(repr, found)) + (" and others" if len(cells) > len(found) else "")
    beside = f" beside {some(sorted(known))}" if known else ""
    names = some([repr(column.name) for column in columns[:3]]) + (
        f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    )
    holds = "column {} holds" if len(columns) == 1 else "columns {} hold"
    return f"{where}: {holds.format(names)} {shown}{beside}. {kinds.meanings_of(options, found)}"


def _names_splits(column: ColumnSample) -> bool:
    """Whether a column seems to hold the names or the numbers of splits."""
    cells = {canonical(cell) for cell in column.filled}
    is_named_so = re.search("split|partition|subset|fold|set$", column.name, re.IGNORECASE) is not None
    return cells <= _SPLITS or (is_named_so and cells <= set("0123456789"))


def _shown(column: ColumnSample) -> str:
    cells = [str(cell).strip() for cell in column.filled]
    return ", ".join(repr(cell[:40]) for cell in cells[:3]) + (", ..." if len(cells) > 3 else "")
