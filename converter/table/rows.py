"""Turns each row of the table into a Row, or into a Reject that says why not."""

from collections.abc import Iterator, Sequence

from converter.options import ConvertOptions
from converter.rejects import Reason, Reject, RowRejectedError
from converter.splits import assignment
from converter.table import filenames
from converter.table.header import Table, records
from converter.table.labels import encoder
from converter.table.parquet import Cell
from converter.table.records import is_blank
from converter.table.row import Row
from converter.text import composed
from schemas import layout


def read_rows(options: ConvertOptions, table: Table) -> Iterator[Row | Reject]:
    """Yields every row of a file in order, as a Row or a Reject. Rows in which all cells are blank are left out.

    Args:
        options: of the conversion, with the splits and the delimiter between the names of classes.
        table: of this file, from `read_tables`.

    Raises:
        UserError: a line cannot be read at all; the rows before it have been yielded.
    """
    split_of = assignment.splitter(options.splits)
    labels_of = encoder(options, table.labels, table.classes, table.value)
    for line, cells in records(options, table):
        try:
            _check_width(table, cells)
            filename = filenames.checked(_text(cells, table.filename))
            group = composed(_text(cells, table.group).strip()) or filename
            split = split_of(group) if table.split is None else _split(table, cells)
            yield Row(table.path, line, filename, labels_of(cells), split, group)
        except RowRejectedError as error:
            if not all(map(is_blank, cells)):
                yield Reject(table.path, line, _text(cells, table.filename).strip(), *error.args)


def _text(cells: Sequence[Cell], column: int | None) -> str:
    """Returns the text in a column; "" if `column` is None or the row has too few cells. For columns without lists."""
    return str(cells[column]) if column is not None and column < len(cells) else ""


def _check_width(table: Table, cells: Sequence[Cell]) -> None:
    """Checks the number of cells. Additional blank cells are fine, since spreadsheets write them.

    A row with too few cells is rejected, since it may have been cut off.
    """
    width = len(table.columns)
    if len(cells) < width or not all(map(is_blank, cells[width:])):
        raise RowRejectedError(Reason.BAD_ROW, f"must have {width} cells. Received: {len(cells)}")


def _split(table: Table, cells: Sequence[Cell]) -> str:
    cell = _text(cells, table.split)
    name = cell.strip()
    if not layout.is_split(name):
        raise RowRejectedError(
            Reason.BAD_SPLIT,
            f"column {table.columns[table.split or 0]!r}: must be a letter, then letters, digits and underscores, "
            f"and not 'index' or 'made_from'. Received: {cell!r}",
        )
    return name
