"""Finds out what a conversion would make of a table and a folder of images, without opening an image."""

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.shards import listing
from converter.shards.matching import Matcher, Source
from converter.splits import augmented
from converter.table import records, rows, suggestions
from converter.table.header import Table
from converter.table.labels import Kind, LabelColumn, Meanings, is_number, listed
from converter.table.misfits import is_image_name
from converter.table.parquet import Cell
from converter.table.row import Row
from converter.table.tables import read_tables
from multihot import storage
from multihot.errors import UserError
from multihot.storage import File
from schemas.example import UNKNOWN

# Rows, and cells of them, of which the different cells of a column are shown.
_SAMPLE_ROWS, _SAMPLE_CELLS = 1000, 1_000_000
# Rows, and labels in them, that are read: some seconds of work, and some hundred megabytes.
_MOST_ROWS, _MOST_LABELS = 300_000, 50_000_000
# Lines that are shown where no column can be.
_SAMPLE_LINES = 4
# Different cells of a column that are kept.
_CELLS = 8


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        name: of the column.
        use: words for what it is taken for, or what its cells look like; the same for all columns of one use.
        cells: the first different cells.
        more: whether the column has other cells.
    """

    name: str
    use: str
    cells: tuple[Cell, ...]
    more: bool


class Glimpse(NamedTuple):
    """The first rows of a table, as far as they can be read, whether the table can be converted or not.

    Attributes:
        path: of the file, the first one of several.
        form: words for its kind: CSV, Parquet, with the encoding.
        columns: with what their cells look like; none if the header cannot be read.
        num_rows: number of rows that the cells are from.
        lines: the first lines as they are, if the header cannot be read.
    """

    path: str
    form: str = ""
    columns: tuple[Column, ...] = ()
    num_rows: int = 0
    lines: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """The classes, splits and rejects that a conversion would make of a table and a folder of images.

    Attributes:
        tables: the files of the table.
        form: words for the kind of the first file.
        columns: of the first file, with their use.
        num_rows: number of rows that were read.
        complete: whether these are all rows; otherwise the table is long, and they are the first ones.
        positives: number of rows that have the label, for each class, of the rows with good labels.
        unknown: number of rows of which it is unknown, for each class.
        without_labels: number of rows that have no label.
        splits: number of images in each split, of rows that name a file, in the order of the flags.
        rejects: the number of rejected rows, and the first of them, by the reason, with the most frequent one first.
        missing: rows whose names are no names of files.
        num_images: number of rows that name a file of their own.
        num_files: number of files in the folder.
        unlisted: names of the files that no row names.
        num_augmented: number of images that have augmented versions, by their names, in several splits.
    """

    tables: tuple[Table, ...]
    form: str
    columns: tuple[Column, ...]
    num_rows: int
    complete: bool
    positives: tuple[int, ...]
    unknown: tuple[int, ...]
    without_labels: int
    splits: Mapping[str, int]
    rejects: Mapping[Reason, tuple[int, Reject]]
    missing: tuple[Reject, ...]
    num_images: int
    num_files: int
    unlisted: tuple[str, ...]
    num_augmented: int

    @property
    def num_rejects(self) -> int:
        """The number of rows that would be rejected."""
        return sum(number for number, _ in self.rejects.values())


def find(options: ConvertOptions) -> Findings:
    """Reads the table and lists the folder.

    Raises:
        UserError: the table or the folder cannot be read.
    """
    tables = read_tables(options)
    rows.check_splits(options, tables)
    if storage.is_local(options.images) and not storage.exists(f"{options.images}/."):  # A file has no ".".
        raise UserError(f"--images: there is no folder {options.images}")
    most = min(_MOST_ROWS, _MOST_LABELS // len(tables[0].classes))
    all_rows = itertools.chain.from_iterable(rows.read_rows(options, table) for table in tables)
    read = list(itertools.islice(all_rows, most))
    complete = next(all_rows, None) is None
    files = list(listing.images(options, [table.path for table in tables]))
    good = [row for row in read if isinstance(row, Row)]
    matched = list(Matcher(options).match_all(read, files))
    rejects = [found for found in matched if isinstance(found, Reject)]
    sources = [found.row for found in matched if isinstance(found, Source)]
    labels = np.frombuffer(b"".join(row.labels for row in good), np.uint8).reshape(len(good), len(tables[0].classes))
    return Findings(
        tables=tables,
        form=records.form(tables[0].path, options),
        columns=tuple(_columns(options, tables[0])),
        num_rows=len(read),
        complete=complete,
        positives=tuple((labels == 1).sum(axis=0).tolist()),
        unknown=tuple((labels == UNKNOWN).sum(axis=0).tolist()),
        without_labels=int((labels == 0).all(axis=1).sum()),
        splits=_splits(options, sources),
        rejects=_by_reason(rejects),
        missing=tuple(reject for reject in rejects if suggestions.may_help(reject.reason)),
        num_images=len(sources),
        num_files=len(files),
        unlisted=tuple(sorted(found.name for found in matched if isinstance(found, File))),
        num_augmented=augmented.num_split(
            (name, row.split) for row in sources if (name := augmented.original(row.filename))
        ),
    )


def glimpse(options: ConvertOptions) -> Glimpse | None:
    """Reads the first rows of a table as far as they can be read; None if nothing can."""
    paths: list[str] = []
    with contextlib.suppress(UserError, OSError):
        paths = storage.match(options.csv_files[0][1])
    for path in paths[:1]:
        return _glimpse_of_columns(options, path) or _glimpse_of_lines(options, path)
    return None


def _glimpse_of_columns(options: ConvertOptions, path: str) -> Glimpse | None:
    for each in (options, dataclasses.replace(options, encoding="latin-1")):
        with contextlib.suppress(UserError, OSError):
            types = records.unusable(path)
            names, first = _first_rows(each, path, types)
            form = records.form(path, each)
            columns = [
                _column(name, types.get(i) or _kind_of(options, cells), Counter() if i in types else cells)
                for i, (name, cells) in enumerate(zip(names, _transposed(first, len(names)), strict=True))
            ]
            return Glimpse(path, form, tuple(columns), len(first))
    return None


def _glimpse_of_lines(options: ConvertOptions, path: str) -> Glimpse | None:
    with contextlib.suppress(UserError, OSError):
        lines = records.first_lines(path, options, _SAMPLE_LINES)
        if lines and not any("\0" in line or "\ufffd" in line for line in lines):
            return Glimpse(path, lines=tuple(lines))
    return None


def _first_rows(
    options: ConvertOptions, path: str, unusable: Collection[int]
) -> tuple[Sequence[str], list[Sequence[Cell]]]:
    """Returns the names of the columns, and the first rows; of a damaged file, those before the damage.

    The cells of unusable columns, by their numbers, are "": a Parquet file may have types that no table uses.
    """
    names = [str(cell).strip() for cell in records.read_header(path, options).cells]
    number = max(20, min(_SAMPLE_ROWS, _SAMPLE_CELLS // max(1, len(names))))
    first: list[Sequence[Cell]] = []
    indices = [i for i in range(len(names)) if i not in unusable]
    if not indices:
        return names, first
    with contextlib.suppress(UserError, OSError):
        for record in itertools.islice(records.read_records(path, options, indices, lists=indices), number):
            first.append(record.cells)
    return names, first


def _transposed(first: Iterable[Sequence[Cell]], number: int) -> Iterator[Counter[Cell]]:
    """Yields for each column how often each cell occurs in it."""
    filled = [row for row in first if not all(map(records.is_blank, row))]
    for i in range(number):
        yield Counter(row[i] for row in filled if i < len(row))


def _column(name: str, use: str, cells: Counter[Cell]) -> Column:
    shown = tuple(itertools.islice(cells, _CELLS))
    return Column(name, use, shown, len(cells) > len(shown))


def _columns(options: ConvertOptions, table: Table) -> Iterator[Column]:
    """Yields the columns of a table with their use."""
    types = records.unusable(table.path)
    _, first = _first_rows(options, table.path, types)
    uses = {table.filename: "names of files"}
    uses |= {column.place: _use(column) for column in table.labels}
    for place, use in ((table.split, "split"), (table.group, "group"), (table.value, "whether the label holds")):
        if place is not None:
            uses[place] = use
    for i, cells in enumerate(_transposed(first, len(table.columns))):
        yield _column(table.columns[i], uses.get(i, "not used"), Counter() if i in types else cells)


def _use(column: LabelColumn) -> str:
    """Returns words for what a label column is taken for."""
    if column.kind == Kind.BINARY:
        return "label"
    if column.kind == Kind.VECTOR:
        return "labels, a number for each class"
    between = {"\t": "a tab", " ": "a blank", "\n": "a line break"}.get(column.delimiter, repr(column.delimiter))
    return f"names of classes, {between} between them" if column.delimiter else "names of classes"


def _kind_of(options: ConvertOptions, cells: Iterable[Cell]) -> str:
    """Returns words for what the cells of a column look like."""
    meanings = Meanings(options)
    filled = [cell for cell in cells if not records.is_blank(cell)]
    if not filled:
        return "blank"
    for use, holds in (
        ("0 and 1", meanings.knows),
        ("numbers", is_number),
        ("names of images", is_image_name),
        ("lists", lambda cell: listed(cell) is not None),
    ):
        if all(map(holds, filled)):
            return use
    return "texts"


def _splits(options: ConvertOptions, sources: Sequence[Row]) -> dict[str, int]:
    counts = Counter(row.split for row in sources)
    order = options.split_order
    return {name: counts[name] for name in (*order, *sorted(set(counts) - {*order}))}


def _by_reason(rejects: Sequence[Reject]) -> dict[Reason, tuple[int, Reject]]:
    counts = Counter(reject.reason for reject in rejects)
    first = {reject.reason: reject for reject in sorted(rejects, reverse=True)}
    return {reason: (count, first[reason]) for reason, count in counts.most_common()}
