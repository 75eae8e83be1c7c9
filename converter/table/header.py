"""Reads the header of the table: which column holds what, and which classes there are.

Two kinds of table are read, and told apart by their cells:

    multi-hot      Filenames,desert,mountains      a label column for each class, with 0 or 1
                   1.jpg,1,0
    delimited      Filenames,labels                one label column, with the names of classes
                   4.jpg,"desert,mountains"

Several files make one table: each has its own order of columns, and all have the same classes in the same order.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from converter import formulas
from converter.options import ConvertOptions
from converter.system import storage
from converter.table import cells
from converter.table.cells import Record
from converter.table.parquet import Cell
from converter.text import CONTROL, composed, some
from schemas import layout, metadata
from schemas.errors import UserError

# What a cell of a label column may hold, in any case and with spaces around it.
BINARY = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


# How the name of an image ends, and that of a column does not.
_IMAGE = re.compile(r"\.(jpe?g|png|gif|bmp|webp|tiff?|heic)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """How to read the rows of one file.

    Attributes:
        path: of the file.
        columns: names of all columns.
        filename: index of the column with the file names.
        labels: indices of the label columns, in the order of `classes` when the table is multi-hot.
        split: index of the column with the split, if one is used.
        group: index of the column with the group, if one is used.
        multi_hot: whether there is a label column for each class, and not one column with names.
        classes: in the order of the label vector.
    """

    path: str
    columns: tuple[str, ...]
    filename: int
    labels: tuple[int, ...]
    split: int | None
    group: int | None
    multi_hot: bool
    classes: tuple[str, ...]


def class_names(cell: Cell, delimiter: str) -> set[str]:
    """Returns the names of classes in a cell of a delimited column."""
    parts = cell.split(delimiter) if isinstance(cell, str) else cell
    return {name for part in parts if (name := composed(part.strip()))}


def read_tables(options: ConvertOptions) -> tuple[Table, ...]:
    """Reads the header of each file, and as many rows as it takes to know the classes.

    Raises:
        UserError: this is no table of file names and labels; the message names the file, the line and the column.
    """
    paths = storage.match(options.csv)
    if not paths:
        raise UserError(f"--csv: no file matches {options.csv}")
    headers = [_header(options, path) for path in paths]
    for path, columns in zip(paths, headers, strict=True):
        alone = sorted(set(columns) ^ set(headers[0]))
        if alone:
            raise UserError(f"{paths[0]} and {path} must have the same columns. Only one of them has: {some(alone)}")
    # The first file says what its first column is called; in another one that may not be the first.
    first = _find_columns(options, paths[0], headers[0], filename=options.filename_column or headers[0][0])
    filename, labels = first.columns[first.filename], tuple(first.columns[i] for i in first.labels)
    chosen = dataclasses.replace(options, label_columns=labels)
    tables = [_find_columns(chosen, path, columns, filename) for path, columns in zip(paths, headers, strict=True)]
    if next((row for table in tables for row in records(options, table)), None) is None:
        raise UserError(f"{options.csv} has a header and no rows.")
    return tuple(_find_classes(options, tables))


def records(options: ConvertOptions, table: Table) -> Iterator[Record]:
    """Yields the rows of a file as they are; those of a Parquet file have the cells that the table names.

    Raises:
        UserError: from some line on, it cannot be read.
    """
    used = [i for i in (table.filename, table.split, table.group, *table.labels) if i is not None]
    return cells.rows(table.path, options.encoding, used, lists=() if table.multi_hot else table.labels)


def _header(options: ConvertOptions, path: str) -> tuple[str, ...]:
    """Returns the names of the columns: each has one of its own, or none."""
    columns = [composed(formulas.unescaped(name).strip()) for name in cells.header(path, options.encoding)]
    while columns and not columns[-1]:  # A delimiter at the end of the line.
        columns.pop()
    if not columns:
        raise UserError(f"{path} line 1: no header. Expected a line such as: filename,desert,sea")
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise UserError(f"{path} line 1: several columns have the name {twice[0]!r}. Give each a name of its own.")
    return tuple(columns)


def _find_columns(options: ConvertOptions, path: str, columns: tuple[str, ...], filename: str) -> Table:
    """Returns the table of one file as far as its header tells it."""
    where = f"{path} line 1"
    indices = {name: i for i, name in enumerate(columns)}

    def index(flag: str, name: str) -> int:
        if composed(name) not in indices:
            raise UserError(f"{where}: {flag} names a column {name!r}, but the columns are: {some(columns)}")
        return indices[composed(name)]

    names = index("--filename_column", filename)
    split = index("--split_column", options.split_column) if options.split_column else None
    group = index("--group_column", options.group_column) if options.group_column else None
    if options.label_columns:
        labels = tuple(index("--label_columns", name) for name in options.label_columns)
    else:
        labels = tuple(i for i in range(len(columns)) if i not in (names, split, group))
    _check_columns(where, columns, names, labels)
    twice = [i for i, count in Counter([names, *labels, *([] if split is None else [split])]).items() if count > 1]
    if twice:
        raise UserError(f"{where}: column {columns[twice[0]]!r} cannot hold two of file names, labels and splits.")
    return Table(
        path=path,
        columns=columns,
        filename=names,
        labels=labels,
        split=split,
        group=group,
        multi_hot=len(labels) > 1,
        classes=tuple(columns[i] for i in labels),
    )


def _check_columns(where: str, columns: tuple[str, ...], filename: int, labels: tuple[int, ...]) -> None:
    """Checks that there are names to go by, and that this is no row."""
    if not columns[filename]:
        raise UserError(f"{where}: column {filename + 1} has no name. If it is an index, give --filename_column.")
    if not labels:
        raise UserError(f"{where}: no label column beside {columns[filename]!r}. Are the cells separated by commas?")
    unnamed = [i + 1 for i in labels if not columns[i]]
    if unnamed:
        raise UserError(f"{where}: column {unnamed[0]} has no name. Name it, or choose others by --label_columns.")
    if all(columns[i].lower() in BINARY for i in labels) or _IMAGE.search(columns[filename]):
        raise UserError(f"{where}: expected column names, not a row. Received: {some(columns)}")


def _find_classes(options: ConvertOptions, tables: Sequence[Table]) -> Iterator[Table]:
    """Completes the tables: a single label column may hold 0 and 1, or names, which must all be known in advance."""
    multi_hot, columns = tables[0].multi_hot, tables[0].classes
    asked = _asked(options)
    found = asked
    # With --classes of other names, there is nothing to find out.
    if not multi_hot and (not asked or set(asked) <= set(columns)):
        multi_hot, found = _look(options, tables)
    if multi_hot and asked and sorted(asked) != sorted(columns):
        raise UserError(f"{tables[0].path} line 1: {_misfit(options, asked, columns)}")
    classes = asked or (columns if multi_hot else found)
    where = f"{tables[0].path} line 1" if multi_hot else f"{options.csv}: column {columns[0]!r}"
    _check_classes(where, classes)
    for table in tables:
        indices = {name: i for i, name in enumerate(table.columns)}
        labels = tuple(indices[name] for name in classes) if multi_hot else table.labels
        yield dataclasses.replace(table, multi_hot=multi_hot, labels=labels, classes=classes)


def _asked(options: ConvertOptions) -> tuple[str, ...]:
    """Returns the classes that were asked for, by their names or by an earlier dataset that has them."""
    if options.schema:
        return metadata.load(options.schema.removesuffix(layout.MANIFEST)).classes
    return tuple(composed(name) for name in options.classes)


def _misfit(options: ConvertOptions, asked: Sequence[str], columns: Sequence[str]) -> str:
    """Says that the label columns are not the classes that were asked for."""
    if not options.schema:
        return (
            "--classes must name the label columns, in any order. "
            f"Received: {some(asked)}; label columns: {some(columns)}"
        )
    missing, unknown = sorted({*asked} - {*columns}), sorted({*columns} - {*asked})
    parts = [f"missing: {some(missing)}"] * bool(missing) + [f"not among them: {some(unknown)}"] * bool(unknown)
    hint = " --label_columns leaves columns out." if unknown else ""
    return f"the label columns must be the classes of {options.schema}, in any order; {'; '.join(parts)}.{hint}"


def _look(options: ConvertOptions, tables: Iterable[Table]) -> tuple[bool, tuple[str, ...]]:
    """Returns whether a single label column mostly holds 0 and 1, and all names that stand in it.

    Mostly: one wrong cell is a bad label, and does not make classes of '0' and '1'. Of all cells and not of the first
    ones, since their order must not matter.
    """
    counts: Counter[Cell] = Counter()
    for table in tables:
        (label,) = table.labels
        counts.update(row.cells[label] for row in records(options, table) if len(row.cells) > label)
    binary = sum(count for cell, count in counts.items() if isinstance(cell, str) and cell.strip().lower() in BINARY)
    blank = sum(count for cell, count in counts.items() if cells.is_blank(cell))
    names = set().union(*(class_names(cell, options.label_delimiter) for cell in counts))
    return 2 * binary > counts.total() - blank, tuple(sorted(names))


def _check_classes(where: str, classes: Sequence[str]) -> None:
    if not classes:
        raise UserError(f"{where} names no class in any row.")
    for name in classes:
        if CONTROL.search(re.sub(r"[\t\r\n]", "", name)):
            raise UserError(f"{where}: the name of a class has control characters: {name!a}")
