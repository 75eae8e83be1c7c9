"""Reads and defines the Parquet file of features with names, that `trainer.embed` writes: a row for each image.

    filename   string                     name of the image, as in the records of its dataset
    split      string                     its split
    features   fixed_size_list<float>[d]  its features
    thumbnail  fixed_size_binary[1024]    32 x 32 levels of grey, row by row

The metadata of the schema say what made the features. Files that other programs have read and written again may have
lists and binaries of any size in place of the fixed ones: every row is checked.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from multihot import storage
from multihot.errors import UserError
from multihot.printable import printable

FILENAME, SPLIT, FEATURES, THUMBNAIL = "filename", "split", "features", "thumbnail"
# Side of a thumbnail, in pixels.
SIDE = 32

_MADE_FROM = b"multihot"
# Rows that are read at a time: some 10 MB.
_BATCH = 1024
_AGAIN = "Write it again: python -m trainer.embed"


class Columns(NamedTuple):
    """Some rows.

    Attributes:
        filenames: n.
        splits: n.
        features: float32 [n, d], finite.
        thumbnails: uint8 [n, SIDE, SIDE].
    """

    filenames: list[str]
    splits: list[str]
    features: NDArray[np.float32]
    thumbnails: NDArray[np.uint8]


class Description(NamedTuple):
    """Describes a file.

    Attributes:
        num_rows: number of rows.
        made_from: values of types that JSON has, which say what made the features; empty if the file does not say it.
    """

    num_rows: int
    made_from: dict[str, Any]


def schema(width: int, made_from: Mapping[str, Any]) -> pa.Schema:
    """Returns the schema of a file.

    Args:
        width: number of features, d.
        made_from: values of types that JSON has.
    """
    fields = [
        (FILENAME, pa.string()),
        (SPLIT, pa.string()),
        (FEATURES, pa.list_(pa.float32(), width)),
        (THUMBNAIL, pa.binary(SIDE * SIDE)),
    ]
    return pa.schema(fields, {_MADE_FROM: json.dumps(made_from, ensure_ascii=False)})


def table(columns: Columns, schema: pa.Schema) -> pa.Table:
    """Returns rows as a table of Arrow."""
    arrays = [
        pa.array(columns.filenames, pa.string()),
        pa.array(columns.splits, pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(columns.features.ravel()), columns.features.shape[1]),
        pa.array([one.tobytes() for one in columns.thumbnails], schema.field(THUMBNAIL).type),
    ]
    return pa.table(arrays, schema=schema)


def describe(path: str) -> Description:
    """Returns what a file says of itself, after its columns have been checked.

    Raises:
        UserError: the file is no Parquet, or lacks a column.
        OSError: the file cannot be read.
    """
    with _opened(path) as parquet:
        return Description(parquet.metadata.num_rows, _made_from(parquet.schema_arrow))


def read(path: str) -> Iterator[Columns]:
    """Yields all rows in their order, some at a time.

    Raises:
        UserError: the file is no Parquet, lacks a column, or has a row that cannot be used.
        OSError: the file cannot be read.
    """
    with _opened(path) as parquet:
        first, width = 1, None
        for batch in parquet.iter_batches(_BATCH, columns=[FILENAME, SPLIT, FEATURES, THUMBNAIL], use_threads=False):
            if not batch.num_rows:
                continue
            if width is None:
                width = len(batch.column(FEATURES)[0].as_py() or ())
            yield _columns(batch, _Place(path, first), width)
            first += batch.num_rows


def thumbnails(path: str, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Returns the thumbnails of some rows: uint8 [n, SIDE, SIDE].

    Args:
        path: of the file.
        rows: their indices, ascending.

    Raises:
        UserError: as `read`.
        OSError: the file cannot be read.
    """
    found, first = [np.empty((0, SIDE, SIDE), np.uint8)], 0
    with _opened(path) as parquet:
        for batch in parquet.iter_batches(_BATCH, columns=[THUMBNAIL], use_threads=False):
            start, stop = np.searchsorted(rows, [first, first + batch.num_rows])
            if stop > start:
                chosen = batch.column(THUMBNAIL).take(pa.array(rows[start:stop] - first))
                found.append(_pixels(chosen, _Place(path, first + 1)))
            first += batch.num_rows
    return np.concatenate(found)


class _Place(NamedTuple):
    """A file, and the number of the first of some rows, from 1: for messages."""

    path: str
    first: int

    def error(self, index: int, problem: str) -> UserError:
        return UserError(f"{self.path} row {self.first + index} {problem}. {_AGAIN}")


def _columns(batch: pa.RecordBatch, place: _Place, width: int) -> Columns:
    names = batch.column(FILENAME).to_pylist()
    for i, name in enumerate(names):
        if not name:
            raise place.error(i, "has no filename")
    features = _features(batch.column(FEATURES), place, width)
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        i = int(finite.argmin())
        raise place.error(i, f"({printable(names[i])}) has features that are not finite numbers")
    splits = [split or "" for split in batch.column(SPLIT).to_pylist()]
    return Columns(names, splits, features, _pixels(batch.column(THUMBNAIL), place))


def _features(lists: pa.Array, place: _Place, width: int) -> NDArray[np.float32]:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != width) if width else np.arange(1)
    if wrong.size:
        has = "no features" if not lengths[wrong[0]] else f"{lengths[wrong[0]]} features, and the first row {width}"
        raise place.error(int(wrong[0]), f"has {has}")
    values = pc.fill_null(pc.cast(lists.flatten(), pa.float32(), safe=False), np.nan)
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float32).reshape(-1, width)


def _pixels(binaries: pa.Array, place: _Place) -> NDArray[np.uint8]:
    values = binaries.to_pylist()
    for i, value in enumerate(values):
        if value is None or len(value) != SIDE * SIDE:
            raise place.error(i, f"has no thumbnail of {SIDE} x {SIDE} bytes")
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, SIDE, SIDE)


def _made_from(found: pa.Schema) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        made_from = json.loads((found.metadata or {}).get(_MADE_FROM, b"{}"))
        if isinstance(made_from, dict):
            return made_from
    return {}


@contextlib.contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    """Opens a file and checks the types of its columns."""
    with storage.open_binary(path) as file, _readable(path):
        parquet = pq.ParquetFile(file, pre_buffer=False)
        _check(path, parquet.schema_arrow)
        yield parquet


_Kinds = tuple[Callable[[pa.DataType], bool], ...]
_TEXTS: _Kinds = (pa.types.is_string, pa.types.is_large_string)
_LISTS: _Kinds = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
_BINARIES: _Kinds = (pa.types.is_fixed_size_binary, pa.types.is_binary, pa.types.is_large_binary)
_KINDS: dict[str, _Kinds] = {FILENAME: _TEXTS, SPLIT: _TEXTS, FEATURES: _LISTS, THUMBNAIL: _BINARIES}


def _check(path: str, found: pa.Schema) -> None:
    for name, kinds in _KINDS.items():
        if found.names.count(name) != 1:
            has = f"it has no column {name}"
        else:
            kind = found.field(name).type
            has = "" if any(each(kind) for each in kinds) else f"its column {name} has the type {kind}"
            if not has and name == FEATURES and not pa.types.is_floating(kind.value_type):
                has = f"its column {name} has the type {kind}"
        if has:
            raise UserError(f"{path} is no file of features, as `python -m trainer.embed` writes it: {has}.")


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turns the errors of pyarrow for a damaged file into UserError."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if getattr(error, "errno", None) is not None:  # The disk or the store has failed.
            raise
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
