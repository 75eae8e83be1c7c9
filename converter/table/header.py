"""Reads the header of a file of the table: which column holds what.

There are three kinds of table, which differ in their label columns (labels.py):

    multi-hot      Filenames,desert,mountains      a column for each class, with 0 or 1
                   1.jpg,1,0
    delimited      Filenames,labels                one column, with the names of classes
                   4.jpg,"desert,mountains"
    several names  Filenames,weather,time          several columns with names, which --label_columns lists
                   7.jpg,rainy,noon
"""

import dataclasses
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from converter.options import ConvertOptions
from converter.table import filenames, misfits
from converter.table import records as files
from converter.table.dialect import Record
from converter.table.labels import Kind, LabelColumn, Meanings
from converter.text import CONTROL, nfc, some
from multihot import formulas, storage
from multihot.errors import UserError
from schemas import example

# A number that no class has for a name.
_NEGATIVE = re.compile(r"-\d+(\.\d*)?")
# An index, which pandas writes without a name and reads as "Unnamed: 0".
_UNNAMED = re.compile(r"(Unnamed: \d+)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """The columns of one file, and the classes of the whole table.

    Attributes:
        path: of the file.
        line: of the header, where 1 is the first.
        columns: names of all columns.
        filename: index of the column with the file names.
        labels: the label columns, in the order of `classes` when the table is multi-hot.
        split: index of the column with the split, if one is used.
        group: index of the column with the group, if one is used.
        value: index of the column that says whether the named classes hold, if one is used.
        classes: in the order of the label vector.
        split_name: the split of all rows, if each split has a file of its own; otherwise "".
    """

    path: str
    line: int
    columns: tuple[str, ...]
    filename: int
    labels: tuple[LabelColumn, ...]
    split: int | None
    group: int | None
    value: int | None = None
    classes: tuple[str, ...] = ()
    split_name: str = ""

    @property
    def header(self) -> str:
        """The place of the header for messages."""
        return f"{self.path} line {self.line}"

    @property
    def multi_hot(self) -> bool:
        """Whether each class has a label column."""
        return all(column.kind == Kind.BINARY for column in self.labels)


def records(options: ConvertOptions, table: Table) -> Iterator[Record]:
    """Yields the rows of a file, unchecked; in those of a Parquet file, columns that the table does not name are "".

    Raises:
        UserError: a line cannot be read; the rows before it have been yielded.
    """
    labels = [column.place for column in table.labels]
    used = [i for i in (table.filename, table.split, table.group, table.value, *labels) if i is not None]
    return files.read_records(table.path, options, used, lists=labels)


def found_again(options: ConvertOptions, table: Table) -> Table:
    """Returns a table whose columns are where the file has them now: a job may read it long after it was submitted.

    Raises:
        UserError: the file has other columns now.
    """
    line, columns = read_columns(options, table.path)
    if columns == table.columns:
        return table
    if sorted(columns) != sorted(table.columns) or len(set(columns)) < len(columns):
        raise UserError(
            f"{table.path} line {line}: the header has changed since the conversion was started. It was "
            f"{some(table.columns)}, and is {some(columns)}. Start the conversion again."
        )

    def place(index: int | None) -> int | None:
        return None if index is None else columns.index(table.columns[index])

    return dataclasses.replace(
        table,
        line=line,
        columns=columns,
        filename=columns.index(table.columns[table.filename]),
        labels=tuple(one._replace(place=columns.index(table.columns[one.place])) for one in table.labels),
        split=place(table.split),
        group=place(table.group),
        value=place(table.value),
    )


def read_columns(options: ConvertOptions, path: str) -> tuple[int, tuple[str, ...]]:
    """Returns the line of the header, and the names of the columns.

    A column without a name has the name ""; all other names are different.
    """
    line, cells = files.read_header(path, options)
    columns = [nfc(formulas.unescaped(str(name)).strip()) for name in cells]
    while columns and not columns[-1]:  # A delimiter at the end of the line.
        columns.pop()
    if not columns:
        raise UserError(f"{path} line {line}: no header. Expected a line such as: filename,desert,sea")
    if _is_row(options, columns):
        raise UserError(
            f"{path} line {line}: expected column names, not a row. Received: {some(columns)}. If there is no header, "
            f"write a line above it, such as: {_example(options, columns)}"
        )
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise UserError(
            f"{path} line {line}: several columns have the name {twice[0]!r}. Give each a name of its own; "
            f"or, if the header is the next line: --skip_lines={line}"
        )
    return line, tuple(columns)


def _example(options: ConvertOptions, row: Sequence[str]) -> str:
    """Returns a header for a table whose first row is given."""
    meanings = Meanings(options)
    names = [f"class{i}" if meanings.knows(cell) and len(row) > 2 else f"column{i}" for i, cell in enumerate(row)]
    name = next((i for i, cell in enumerate(row) if misfits.is_image_name(cell)), 0)
    names[name] = example.FILENAME
    if len(row) == 2:
        names[1 - name] = "label"
    return some(names, ",")


def _is_row(options: ConvertOptions, columns: Sequence[str]) -> bool:
    """Whether the first line is a row, since it has the name of an image or nothing but labels behind a name."""
    if any(misfits.IMAGE_NAME.search(name) for name in columns):
        return True
    meanings = Meanings(options)
    if len(columns) > 1 and all(name and (meanings.knows(name) or _NEGATIVE.fullmatch(name)) for name in columns[1:]):
        return True
    return is_file(options, columns[0], options.filename_suffix)


def is_file(options: ConvertOptions, cell: str, suffix: str) -> bool:
    """Whether a cell names a file in the folder of images, with a suffix behind it."""
    name = filenames.normalized(cell) if cell else ""
    if not name or name.startswith(("/", "..")) or "://" in name or CONTROL.search(name) or len(name) > 255:
        return False
    path = posixpath.join(options.images, name + suffix)
    return storage.exists(path) and not storage.exists(f"{path}/.")  # A file has no ".", and a folder is no image.


def find_columns(options: ConvertOptions, path: str, line: int, columns: tuple[str, ...]) -> Table:
    """Returns the table of one file as far as its header determines it: kinds and classes are not final."""
    where = f"{path} line {line}"
    indices = {name: i for i, name in enumerate(columns)}

    def index(flag: str, name: str) -> int:
        if nfc(name) not in indices:
            raise UserError(f"{where}: {flag} names a column {name!r}, but the columns are: {some(columns)}")
        return indices[nfc(name)]

    split = index("--split_column", options.split_column) if options.split_column else None
    group = index("--group_column", options.group_column) if options.group_column else None
    value = index("--value_column", options.value_column) if options.value_column else None
    ignored = {index("--ignore_columns", name) for name in options.ignore_columns}
    named = [i for i, name in enumerate(columns) if not _UNNAMED.fullmatch(name)]
    if options.filename_column:
        filename = index("--filename_column", options.filename_column)
    elif not named:
        raise UserError(f"{where}: no column has a name. Received: {some(columns)}")
    else:
        filename = next((i for i in named if i not in (split, group, value, *ignored)), named[0])
    if options.label_columns:
        labels = [index("--label_columns", name) for name in options.label_columns]
    else:
        labels = [i for i in range(len(columns)) if i not in (filename, split, group, value, *ignored)]
        # An index stands before all other columns, and has no name.
        while labels and labels[0] < named[0]:
            del labels[0]
    _check_columns(where, columns, filename, labels)
    uses = [filename, *labels, *(i for i in (split, value) if i is not None)]
    twice = [i for i, count in Counter(uses).items() if count > 1]
    if twice:
        raise UserError(
            f"{where}: column {columns[twice[0]]!r} cannot hold two of file names, labels, values and splits."
        )
    return Table(
        path=path,
        line=line,
        columns=columns,
        filename=filename,
        labels=tuple(LabelColumn(i, columns[i]) for i in labels),
        split=split,
        group=group,
        value=value,
    )


def _check_columns(where: str, columns: tuple[str, ...], filename: int, labels: Sequence[int]) -> None:
    """Checks that there are labels, and that their columns have names."""
    if not labels:
        raise UserError(
            f"{where}: no label column beside {columns[filename]!r}. Are the cells separated by commas? "
            "--delimiter names another character."
        )
    unnamed = [i + 1 for i in labels if not columns[i]]
    if unnamed:
        raise UserError(
            f"{where}: column {unnamed[0]} has no name. Name it, choose others by --label_columns, or skip a "
            "line above the header by --skip_lines."
        )
