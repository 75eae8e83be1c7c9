"""Reads the files of the table: the columns of each, the kinds of the label columns, and the classes.

Several files can form one table: each has its own order of columns, and all have the same classes in the same order.
"""

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from converter.options import ConvertOptions
from converter.table import header, kinds, misfits, vocabulary
from converter.table.header import Table, find_columns, read_columns, records
from converter.table.labels import Kind, LabelColumn, Meanings
from converter.table.misfits import ColumnSample
from converter.table.parquet import Cell
from converter.table.records import is_blank
from converter.text import CONTROL, nfc, some
from multihot import storage
from multihot.errors import UserError
from schemas import layout, metadata

# Rows, and cells, of each file from which columns are told apart before all rows are read.
_SAMPLE_ROWS = 1000
_SAMPLE_CELLS = 1_000_000

# In fewer rows, each image may well be the only one of its class.
_FEWEST_KEYS = 30

# Endings that names of files in a table often lack.
_ENDINGS = (".jpg", ".png", ".jpeg")


def read_tables(options: ConvertOptions) -> tuple[Table, ...]:
    """Reads the header of each file, its first rows, and all rows if the classes are known only from the cells.

    Raises:
        UserError: a file is no table of file names and labels; the message names the file, the line and the column.
    """
    found = [(split, pattern, storage.match(pattern)) for split, pattern in options.csv_files]
    for _, pattern, matched in found:
        if not matched:
            raise UserError(f"--csv: no file matches {pattern}")
    paths = [path for _, _, matched in found for path in matched]
    splits = [split for split, _, matched in found for _ in matched]
    headers = [read_columns(options, path) for path in paths]
    for path, (_, columns) in zip(paths, headers, strict=True):
        alone = sorted(set(columns) ^ set(headers[0][1]))
        if alone:
            raise UserError(f"{paths[0]} and {path} must have the same columns. Only one of them has: {some(alone)}")
    # In other files than the first, columns may stand elsewhere: names count.
    first = find_columns(options, paths[0], *headers[0])
    chosen = dataclasses.replace(
        options,
        filename_column=first.columns[first.filename],
        label_columns=tuple(column.name for column in first.labels),
    )
    tables = [
        dataclasses.replace(find_columns(chosen, path, line, columns), split_name=split)
        for path, (line, columns), split in zip(paths, headers, splits, strict=True)
    ]
    if next((row for table in tables for row in records(options, table)), None) is None:
        raise UserError(f"{options.csv} has a header and no rows.")
    return tuple(_find_classes(options, tables))


def _find_classes(options: ConvertOptions, tables: Sequence[Table]) -> Iterator[Table]:
    """Completes the tables with the kinds of their label columns and with the classes."""
    asked = _asked(options)
    first = tables[0]
    others, samples, num_rows = _sample(options, tables)
    _check_names_of_files(options, tables, others)
    if len(first.labels) == 1:
        columns, found = _single(options, tables, asked)
    else:
        columns, found = _several(options, tables, asked, samples, num_rows)
    if not options.value_column and any(column.kind == Kind.NAMES for column in columns):
        used = {column.name for column in columns} | {
            *options.ignore_columns,
            options.split_column,
            options.group_column,
        }
        unused = [column for column in others if column.name not in used]
        misfits.check_values(options, first.header, unused)
    if options.value_column and any(column.kind != Kind.NAMES for column in columns):
        raise UserError(
            f"{first.header}: --value_column needs columns of names. {columns[0].name!r} holds none: --label_columns"
        )
    kind_of = {column.name: column for column in columns}
    names = tuple(column.name for column in columns)
    multi_hot = all(column.kind == Kind.BINARY for column in columns)
    if multi_hot and asked and sorted(asked) != sorted(names):
        raise UserError(f"{first.header}: {_misfit(options, asked, names)}")
    classes = asked or found
    where = first.header if multi_hot else f"{options.csv}: column {columns[0].name!r}"
    _check_classes(where, classes)
    for table in tables:
        indices = {column.name: column.place for column in table.labels}
        order = classes if multi_hot else names
        labels = tuple(kind_of[name]._replace(place=indices[name]) for name in order)
        yield dataclasses.replace(table, labels=labels, classes=classes)


def _single(
    options: ConvertOptions, tables: Sequence[Table], asked: tuple[str, ...]
) -> tuple[tuple[LabelColumn, ...], tuple[str, ...]]:
    """Returns the only label column with its kind, and the classes."""
    (column,) = tables[0].labels
    place = f"{options.csv}: column {column.name!r}"
    cells = _different_cells(options, tables, [column.name])[column.name]
    column, found = kinds.single(options, place, column, cells, asked)
    if column.kind == Kind.BINARY:
        sample = [ColumnSample(column.name, cells)]
        misfits.check_labels(options, tables[0].header, sample, cells.total())
    elif column.name in found and (not asked or column.name in cells):
        where = tables[0].header
        raise UserError(f"{where}: expected column names, not a row. {column.name!r} is in the column, too.")
    if column.kind == Kind.NAMES and not asked and not options.label_columns:
        _check_keys(place, cells, found)
    return (column,), found


def _check_keys(where: str, cells: Counter[Cell], found: Collection[str]) -> None:
    """Checks that a column of names is no column of keys or descriptions, which no two rows have in common.

    Raises:
        UserError: it seems to be one; --label_columns names a column that is none nevertheless.
    """
    filled = {cell: number for cell, number in cells.items() if not is_blank(cell)}
    if _FEWEST_KEYS <= len(filled) == sum(filled.values()) <= len(found):
        shown = some([repr(str(cell)[:40]) for cell in list(filled)[:3]])
        raise UserError(
            f"{where} holds another text in each of {len(filled)} rows, such as {shown}. If these are classes, name "
            "the column: --label_columns"
        )


def _several(
    options: ConvertOptions,
    tables: Sequence[Table],
    asked: tuple[str, ...],
    samples: Sequence[ColumnSample],
    num_rows: int,
) -> tuple[tuple[LabelColumn, ...], tuple[str, ...]]:
    """Returns several label columns with their kinds, and the classes.

    A column holds 0 and 1 if one of its first cells does. Columns of names must be asked for: there are columns of
    dates and notes in most tables.
    """
    first = tables[0]
    meanings = Meanings(options)
    of_names = {
        sample.name
        for sample in samples
        if options.label_columns
        and not kinds.is_binary(meanings, sample.filled)
        and not vocabulary.says_yes_or_no(sample.filled)
    }
    binary = [sample for sample in samples if sample.name not in of_names]
    if binary:
        misfits.check_labels(options, first.header, binary, num_rows, options.ignore_columns)
    if not of_names:
        return first.labels, tuple(column.name for column in first.labels)
    cells = _different_cells(options, tables, of_names)
    columns, classes = [], dict[str, None]()
    for column in first.labels:
        if column.name in of_names:
            prefix = "" if options.merge_columns else f"{column.name}="
            mine = [name.removeprefix(prefix) for name in asked if name.startswith(prefix)]
            filled = sorted((cell for cell in cells[column.name] if not is_blank(cell)), key=str)
            where = f"{options.csv}: column {column.name!r}"
            column, found = kinds.names(options, where, column, filled, mine)
            column = column._replace(prefix=prefix)
            classes |= dict.fromkeys(prefix + name for name in found)
        else:
            classes[column.name] = None
        columns.append(column)
    missing = [column.name for column in columns if column.kind == Kind.BINARY and asked and column.name not in asked]
    if missing:
        raise UserError(f"{first.header}: {_misfit(options, asked, tuple(classes))}")
    return tuple(columns), tuple(classes)


def _check_names_of_files(options: ConvertOptions, tables: Sequence[Table], columns: Iterable[ColumnSample]) -> None:
    def ending_of(column: ColumnSample) -> str | None:
        for ending in ("",) if options.filename_suffix else ("", *_ENDINGS):
            suffix = options.filename_suffix or ending
            if any(header.is_file(options, str(cell), suffix) for cell in column.filled[:3]):
                return ending
        return None

    if not options.filename_column:
        name = tables[0].columns[tables[0].filename]
        by_name = {column.name: column for column in columns}
        as_written = options.names_are_paths and not options.filename_pattern and not options.relative_to_csv
        misfits.check_filenames(
            tables[0].header, by_name.pop(name), [*by_name.values()], ending_of, as_written=as_written
        )


def _sample(options: ConvertOptions, tables: Sequence[Table]) -> tuple[list[ColumnSample], list[ColumnSample], int]:
    """Reads the first rows of each file.

    Returns:
        The first cells of all columns, those of the label columns, and the number of rows.
    """
    names = tables[0].columns
    counts: dict[str, Counter[Cell]] = {name: Counter() for name in names}
    num_rows = 0
    for table in tables:
        number = max(20, min(_SAMPLE_ROWS, _SAMPLE_CELLS // len(names)) // len(tables))
        rows = [
            record.cells[: len(names)]
            for record in itertools.islice(records(options, table), number)
            if len(record.cells) >= len(names)
            and all(map(is_blank, record.cells[len(names) :]))
            and not all(map(is_blank, record.cells))
        ]
        num_rows += len(rows)
        for name, cells in zip(table.columns, zip(*rows, strict=True), strict=False):
            counts[name].update(cells)
    samples = {name: ColumnSample(name, cells) for name, cells in counts.items()}
    return list(samples.values()), [samples[column.name] for column in tables[0].labels], num_rows


def _different_cells(
    options: ConvertOptions, tables: Sequence[Table], names: Collection[str]
) -> dict[str, Counter[Cell]]:
    """Reads all rows, and returns how often each cell occurs in some of the label columns."""
    counts: dict[str, Counter[Cell]] = {name: Counter() for name in names}
    for table in tables:
        columns = [(column.place, counts[column.name]) for column in table.labels if column.name in counts]
        for row in records(options, table):
            if not all(map(is_blank, row.cells)):
                for i, cells in columns:
                    if i < len(row.cells):
                        cells[row.cells[i]] += 1
    return counts


def _asked(options: ConvertOptions) -> tuple[str, ...]:
    """Returns the classes that --classes or --schema asks for; () without either."""
    if options.schema:
        return metadata.load(options.schema.removesuffix(layout.MANIFEST)).classes
    return tuple(nfc(name) for name in options.classes)


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


def _check_classes(where: str, classes: Sequence[str]) -> None:
    if not classes:
        raise UserError(f"{where} names no class in any row.")
    for name in classes:
        if CONTROL.search(re.sub(r"[\t\r\n]", "", name)):
            raise UserError(f"{where}: the name of a class has control characters: {name!a}")
