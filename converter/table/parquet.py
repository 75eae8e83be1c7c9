"""Reads a Parquet file as the cells of a CSV: every value as the text that a person would have typed."""

import contextlib
import itertools
from collections.abc import Collection, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from multihot.errors import UserError

# A text, or the names in a cell of a column of lists: joined to one text, a name with a delimiter in it would be cut.
Cell = str | tuple[str, ...]

MAGIC = b"PAR1"

_STRINGS = ("string", "large_string", "string_view")

# Number of cells that are decoded at a time: some tens of megabytes, whatever the size of the file.
_BATCH_CELLS = 500_000


def header(path: str, file: BinaryIO) -> tuple[str, ...]:
    """Returns the names of the columns; "" for an index that pandas has added.

    Raises:
        UserError: the file is damaged, or not Parquet.
    """
    with _readable(path):
        names = _open(file).schema_arrow.names
    return tuple("" if name.startswith("__index_level_") else name.strip() for name in names)


def num_rows(path: str, file: BinaryIO) -> int:
    """Returns the number of rows.

    Raises:
        UserError: the file is damaged, or not Parquet.
    """
    with _readable(path):
        return int(_open(file).metadata.num_rows)


def unusable(path: str, file: BinaryIO) -> dict[int, str]:
    """Returns the types of the columns that hold neither cells nor lists of them, by their indices.

    Raises:
        UserError: the file is damaged, or not Parquet.
    """
    with _readable(path):
        types = _open(file).schema_arrow.types
    return {i: str(kind) for i, kind in enumerate(types) if not (_is_text(kind) or _is_list(kind))}


def rows(
    path: str, file: BinaryIO, columns: Collection[int], lists: Collection[int]
) -> Iterator[tuple[int, tuple[Cell, ...]]]:
    """Yields the rows with their numbers, from 1; see `records.read_records`. Cells of other columns are ""."""
    with _readable(path):
        parquet = _open(file)
        schema = parquet.schema_arrow
        for i in columns:
            if not _is_text(schema.types[i]) and not (i in lists and _is_list(schema.types[i])):
                raise UserError(
                    f"{path}: column {schema.names[i]!r} must hold text, numbers or booleans, not {schema.types[i]}. "
                    "Leave it out by --ignore_columns, or choose others by --filename_column and --label_columns"
                )
        wanted = sorted(columns)
        batches = parquet.iter_batches(
            batch_size=max(1, _BATCH_CELLS // len(wanted)), columns=[schema.names[i] for i in wanted], use_threads=False
        )
        yield from enumerate(itertools.chain.from_iterable(_cells(batch, schema, wanted) for batch in batches), start=1)


def _open(file: BinaryIO) -> pq.ParquetFile:
    """Opens a file that is read by the calling thread alone.

    With `pre_buffer`, threads of pyarrow read a file of Python. One that still holds the file while the interpreter
    ends aborts the process ("terminate called without an active exception").
    """
    return pq.ParquetFile(file, pre_buffer=False)


def _cells(batch: pa.RecordBatch, schema: pa.Schema, wanted: Collection[int]) -> Iterator[tuple[Cell, ...]]:
    """Returns the rows of a batch. They come from `zip`, since a loop in Python is slow for millions of rows."""
    cells = (
        _texts(batch.column(name)) if i in wanted else itertools.repeat("", batch.num_rows)
        for i, name in enumerate(schema.names)
    )
    return zip(*cells, strict=True)


def _is(kind: pa.DataType, *names: str) -> bool:
    if pa.types.is_dictionary(kind):
        return _is(kind.value_type, *names)
    return any(getattr(pa.types, f"is_{name}")(kind) for name in names)


def _is_text(kind: pa.DataType) -> bool:
    return _is(kind, *_STRINGS, "integer", "floating", "boolean", "null", "decimal", "date")


def _is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists of names, or of numbers: vectors of labels."""
    return _is(kind, "list", "large_list", "fixed_size_list") and _is(
        kind.value_type, *_STRINGS, "integer", "floating", "boolean"
    )


def _texts(column: pa.Array) -> list[Cell]:
    """Returns the cells of a column; a null is a blank cell."""
    if _is_list(column.type):
        lists = column.to_pylist()
        return ["" if items is None else tuple(_text(item) for item in items if item is not None) for items in lists]
    return ["" if cell is None else str(cell) for cell in column.to_pylist()]


def _text(item: object) -> str:
    return str(int(item)) if isinstance(item, bool) else str(item)


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turns the errors of pyarrow for a damaged file into UserError."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
