"""Turns each row of the table into a Row, or into a Reject that says why not."""

from collections.abc import Callable, Iterator, Sequence

from converter.options import ConvertOptions
from converter.rejects import Reason, Reject, RowRejectedError
from converter.table import filenames, places
from converter.table.header import Table, found_again, records
from converter.table.labels import encoder
from converter.table.parquet import Cell
from converter.table.records import is_blank
from converter.table.row import Row
from converter.text import nfc


def read_rows(options: ConvertOptions, table: Table) -> Iterator[Row | Reject]:
    """Yields every row of a file in order, as a Row or a Reject. Rows in which all cells are blank are left out.

    Args:
        options: of the conversion, with the splits and the delimiter between the names of classes.
        table: of this file, from `read_tables`.

    Raises:
        UserError: a line cannot be read at all; the rows before it have been yielded. Or the file has other columns
            than the table. Or names are to be relative to the table, and it lies outside of the folder of images.
    """
    table = found_again(options, table)
    name_of = filenames.reader(options, table.path)
    # Groups and splits follow from the names of files. Only with this setting, a name in a row is that of its file.
    place = places.placer(options) if options.names_are_paths else _as_it_is
    labels_of = encoder(options, table.labels, table.classes, table.value)
    for line, cells in records(options, table):
        try:
            _check_width(table, cells)
            filename = name_of(_text(cells, table.filename))
            split = table.split_name or _split(options, table, cells)
            group, split = place(filename, nfc(_text(cells, table.group).strip()), split)
            yield Row(table.path, line, filename, labels_of(cells), split, group)
        except RowRejectedError as error:
            if not all(map(is_blank, cells)):
                yield Reject(table.path, line, _name_of_rejected(_text(cells, table.filename), name_of), *error.args)


def check_splits(options: ConvertOptions, tables: Sequence[Table]) -> None:
    """Checks that --split_column holds names of splits, unless --split_names says what its cells mean.

    Raises:
        UserError: no cell is the name of a split.
    """
    if options.split_column and not options.split_names:
        cells = (_text(row.cells, table.split) for table in tables for row in records(options, table))
        places.check_split_cells(options.csv, options.split_column, cells)


def _as_it_is(filename: str, group: str, split: str) -> tuple[str, str]:
    return group, split


def _name_of_rejected(cell: str, name_of: Callable[[str], str]) -> str:
    """Returns the name of the file that a rejected row names; if it names none, the cell in the same spelling."""
    try:
        return name_of(cell)
    except RowRejectedError:
        return filenames.in_one_spelling(cell).encode(errors="backslashreplace").decode()


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


def _split(options: ConvertOptions, table: Table, cells: Sequence[Cell]) -> str:
    if table.split is None:
        return ""
    return places.split_name(_text(cells, table.split), options.split_names, table.columns[table.split])
