"""Reads the header of the table: which column holds what, and which classes there are.

There are two kinds of table, which the cells of the label columns distinguish:

    multi-hot      Filenames,desert,mountains      a label column for each class, with 0 or 1
                   1.jpg,1,0
    delimited      Filenames,labels                one label column, with the names of classes
                   4.jpg,"desert,mountains"

Several files can form one table: each has its own order of columns, and all have the same classes in the same order.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from converter import formulas
from converter.options import ConvertOptions
from converter.system import storage
from converter.table import records as files
from converter.table.parquet import Cell
from converter.table.records import Record
from converter.text import CONTROL, composed, some
from multihot.errors import UserError
from schemas import layout, metadata

# Values of a cell in a label column: upper and lower case are the same, and spaces around a value are ignored.
BINARY = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


# Endings of image names. A first line with such a cell is a row, not a header.
_IMAGE = re.compile(r"\.(jpe?g|png|gif|bmp|webp|tiff?|heic)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """The columns of one file, and the classes of the whole table.

    Attributes:
        path: of the file.
        columns: names of all columns.
        filename: index of the column with the file names.
        labels: indices of the label columns, in the order of `classes` when the table is multi-hot.
        split: index of the column with the split, if one is used.
        group: index of the column with the group, if one is used.
        multi_hot: whether each class has a label column; otherwise one column holds the names of classes.
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
    """Reads the header of each file, and all rows if the classes are known only from the cells.

    Raises:
        UserError: a file is no table of file names and labels; the message names the file, the line and the column.
    """
    paths = storage.match(options.csv)
    if not paths:
        raise UserError(f"--csv: no file matches {options.csv}")
    headers = [_header(options, path) for path in paths]
    for path, columns in zip(paths, headers, strict=True):
        alone = sorted(set(columns) ^ set(headers[0]))
        if alone:
            raise UserError(f"{paths[0]} and {path} must have the same columns. Only one of them has: {some(alone)}")
    # Without --filename_column, the first column of the first file holds the file names. In other files, the column of
    # this name may stand elsewhere.
    first = _find_columns(options, paths[0], headers[0], filename=options.filename_column or headers[0][0])
    filename, labels = first.columns[first.filename], tuple(first.columns[i] for i in first.labels)
    chosen = dataclasses.replace(options, label_columns=labels)
    tables = [_find_columns(chosen, path, columns, filename) for path, columns in zip(paths, headers, strict=True)]
    if next((row for table in tables for row in records(options, table)), None) is None:
        raise UserError(f"{options.csv} has a header and no rows.")
    return tuple(_find_classes(options, tables))


def records(options: ConvertOptions, table: Table) -> Iterator[Record]:
    """Yields the rows of a file, unchecked; in those of a Parquet file, columns that the table does not name are "".

    Raises:
        UserError: a line cannot be read; the rows before it have been yielded.
    """
    used = [i for i in (table.filename, table.split, table.group, *table.labels) if i is not None]
    return files.read_records(table.path, options.encoding, used, lists=() if table.multi_hot else table.labels)


def _header(options: ConvertOptions, path: str) -> tuple[str, ...]:
    """Returns the names of the columns: "" for a column without a name; all other names are different."""
    columns = [composed(formulas.unescaped(name).strip()) for name in files.read_header(path, options.encoding)]
    while columns and not columns[-1]:  # A delimiter at the end of the line.
        columns.pop()
    if not columns:
        raise UserError(f"{path} line 1: no header. Expected a line such as: filename,desert,sea")
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise UserError(f"{path} line 1: several columns have the name {twice[0]!r}. Give each a name of its own.")
    return tuple(columns)


def _find_columns(options: ConvertOptions, path: str, columns: tuple[str, ...], filename: str) -> Table:
    """Returns the table of one file as far as its header determines it: the classes are not final."""
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
    """Checks that the file names and the labels have columns with names, and that the header is not a row."""
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
    """Completes the tables with the classes. If a single label column holds names, its cells determine the classes."""
    multi_hot, columns = tables[0].multi_hot, tables[0].classes
    asked = _asked(options)
    found = asked
    # If --classes names other classes than the column, the column holds names, and its cells need not be read.
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
    """Returns the classes that --classes or --schema asks for; () without either."""
    if options.schema:
        return metadata.load(options.schema.removesuffix(layout.MANIFEST)).classes
    return tuple(composed(name) for name in options.classes)


def _misfit(options: ConvertOptions, asked: Sequence[str], columns: Sequence[str]) -> str:
    """Returns the message that the label columns are not the classes that --classes or --schema asks for."""
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
    """Returns whether more than half of the cells of a single label column hold 0 or 1, and all names in them.

    One wrong cell among many is then a bad label, and '0' and '1' do not become classes. All cells are counted, and not
    the first few, so that the order of the rows does not matter.
    """
    counts: Counter[Cell] = Counter()
    for table in tables:
        (label,) = table.labels
        counts.update(row.cells[label] for row in records(options, table) if len(row.cells) > label)
    binary = sum(count for cell, count in counts.items() if isinstance(cell, str) and cell.strip().lower() in BINARY)
    blank = sum(count for cell, count in counts.items() if files.is_blank(cell))
    names = set().union(*(class_names(cell, options.label_delimiter or ",") for cell in counts))
    return 2 * binary > counts.total() - blank, tuple(sorted(names))


def _check_classes(where: str, classes: Sequence[str]) -> None:
    if not classes:
        raise UserError(f"{where} names no class in any row.")
    for name in classes:
        if CONTROL.search(re.sub(r"[\t\r\n]", "", name)):
            raise UserError(f"{where}: the name of a class has control characters: {name!a}")
