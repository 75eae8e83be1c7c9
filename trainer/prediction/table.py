"""Writes predictions to a CSV or a Parquet file, and goes on with one that is not complete.

    predictions.csv                      complete
    .predictions.csv.0f3a5b7c9d1e.part   the rows so far; the name depends on the model and the files that are asked for

Each batch of rows is written at once, and a process that is killed leaves at most one row in part, at the end. The next
process removes it, and goes on behind the last whole row. A Parquet file is made from the rows when all are there. The
file is locked while a process writes to it: another one would write each row once more.
"""

import contextlib
import csv
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from multihot import formulas, locking, storage
from multihot.errors import UserError
from trainer.model_file import ModelInfo
from trainer.prediction import scoring
from trainer.prediction.reading import Batch

# Columns before the probabilities, which are named `p_` and the class.
_FILE, _LABELS, _REASON, _DETAIL = "file", "labels", "reason", "detail"
_COLUMNS = (_FILE, _LABELS, _REASON, _DETAIL)
_PREFIX = "p_"
_PARQUET = ".parquet"
# Rows of a row group.
_GROUP = 10_000
# End of a line that the writer of Python has written.
_WRITTEN_END = "\r\n"


class Format:
    """The columns of predictions, and the text of their rows."""

    def __init__(self, info: ModelInfo) -> None:
        """Makes the columns.

        Args:
            info: of the model, with the names of the classes.
        """
        self._info = info
        # A name with a comma cannot be told from two names.
        self._have_commas = any("," in name for name in info.classes)

    @property
    def header(self) -> bytes:
        """The first line of a CSV."""
        return _line([*_COLUMNS, *(formulas.escaped(_PREFIX + name) for name in self._info.classes)])

    def lines(self, batch: Batch, scores: npt.NDArray[np.float32]) -> bytes:
        """Returns a row of a CSV for each file.

        Args:
            batch: the files, of which some may have a fault.
            scores: of the others, in their order: float32 [m, k].
        """
        rows, sound = [], iter(scores)
        nothing = [""] * len(self._info.classes)
        for name, fault in zip(batch.names, batch.faults, strict=True):
            if fault:
                row = [name, "", fault.reason.value, fault.detail]
                numbers = nothing
            else:
                one = next(sound)
                row = [name, self._joined(scoring.labels(one, self._info)), "", ""]
                numbers = [f"{score:.7g}" for score in one.tolist()]
            rows.append(_line([*map(formulas.escaped, row), *numbers]))
        return b"".join(rows)

    def write_parquet(self, rows: Iterable[bytes], file: BinaryIO) -> None:
        """Writes a Parquet file.

        Args:
            rows: of a CSV, without the header.
            file: to write to.
        """
        texts = [(_FILE, pa.string()), (_LABELS, pa.list_(pa.string())), (_REASON, pa.string()), (_DETAIL, pa.string())]
        schema = pa.schema([*texts, *((_PREFIX + name, pa.float32()) for name in self._info.classes)])
        parsed = csv.reader(row.decode() for row in rows)
        with pq.ParquetWriter(file, schema) as writer:
            while some := _columns(parsed):
                files, labels, reasons, details, *numbers = some
                arrays: list[Sequence[Any]] = [
                    [formulas.unescaped(name) for name in files],
                    [self._parted(formulas.unescaped(cell)) for cell in labels],
                    [reason or None for reason in reasons],
                    [formulas.unescaped(detail) or None for detail in details],
                    *([float(number) if number else None for number in each] for each in numbers),
                ]
                arrays = [pa.array(array, field.type) for array, field in zip(arrays, schema, strict=True)]
                writer.write_table(pa.table(arrays, schema=schema))

    def _joined(self, labels: Sequence[str]) -> str:
        """Returns names of classes in one cell: `desert,sea`; as a list of JSON if a class has a comma in its name."""
        return json.dumps(labels, ensure_ascii=False) if self._have_commas else ",".join(labels)

    def _parted(self, cell: str) -> list[str]:
        if self._have_commas:
            found: list[str] = json.loads(cell or "[]")
            return found
        return cell.split(",") if cell else []


class Table:
    """The rows of a file of predictions, to which more are added. It is a context manager."""

    def __init__(self, path: Path, info: ModelInfo, key: str) -> None:
        """Opens the rows that are there.

        Args:
            path: of the file: Parquet if it ends with `.parquet`, otherwise CSV.
            info: of the model, with the names of the classes.
            key: depends on the model and the files: other predictions have other rows.

        Raises:
            UserError: another process writes the same rows.
            OSError: the folder cannot be made, or the file cannot be written.
        """
        self._path, self._format = path, Format(info)
        self._part = path.with_name(f".{path.name}.{key[:12]}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self._part.open("ab")
        if not locking.hold(self._file.fileno()) or not self._is_there():
            self._file.close()
            raise _in_use(path)
        self._keep_whole_rows()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _is_there(self) -> bool:
        """Whether the file still has its name, which another process may have changed before this one had the lock."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._part.stat())
        except FileNotFoundError:
            return False

    def _keep_whole_rows(self) -> None:
        """Removes what is behind the last whole row; writes the header if there is none."""
        num_bytes = sum(map(len, self._rows()))
        self._file.truncate(num_bytes)
        if not num_bytes:
            self._file.write(self._format.header)
            self._file.flush()

    def _rows(self) -> Iterator[bytes]:
        """Yields the header and the rows that are there."""
        with self._part.open("rb") as file:
            yield from whole_rows(file)

    def names(self) -> Iterator[str]:
        """Yields the file of each row that is there."""
        rows = csv.reader(row.decode() for row in self._rows())
        next(rows)
        yield from (formulas.unescaped(row[0]) for row in rows)

    def add(self, batch: Batch, scores: npt.NDArray[np.float32]) -> None:
        """Adds a row for each file.

        Args:
            batch: the files, of which some may have a fault.
            scores: of the others, in their order: float32 [m, k].
        """
        self._file.write(self._format.lines(batch, scores))
        # Rows that the system has got are kept when the process is killed.
        self._file.flush()

    def finish(self) -> None:
        """Gives the file its name; all rows are there."""
        self._file.flush()
        if is_parquet(str(self._path)):
            with storage.create(str(self._path)) as file:
                self._format.write_parquet(itertools.islice(self._rows(), 1, None), file)
            self._part.unlink()
        else:
            os.replace(self._part, self._path)
        # Not before: the file is locked as long as it is open.
        self._file.close()


def is_parquet(path: str) -> bool:
    """Whether the rows are written as Parquet, by the name of the file."""
    return path.endswith(_PARQUET)


def reason(row: bytes) -> str:
    """Returns the reason in a row of a CSV, why there is no prediction; "" if there is one."""
    return next(csv.reader([row.decode()]))[_COLUMNS.index(_REASON)]


def remove_parts(path: Path) -> None:
    """Removes the rows of predictions that were not completed.

    Args:
        path: of the file of predictions.

    Raises:
        UserError: another process writes some of them.
        OSError: they cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        for each in path.parent.iterdir():
            if each.name.startswith(f".{path.name}.") and each.suffix == ".part":
                with each.open("r+b") as file:
                    if not locking.hold(file.fileno()):
                        raise _in_use(path)
                    each.unlink()


def _in_use(path: Path) -> UserError:
    return UserError(f"Another process writes the rows of {path}. Wait until it has ended, or choose another --output.")


def _columns(rows: Iterator[list[str]]) -> list[tuple[str, ...]]:
    """Returns the next rows as columns; none if there are no more rows."""
    return list(zip(*(row for row, _ in zip(rows, range(_GROUP), strict=False)), strict=True))


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    # Before Python 3.13, the writer puts a cell with a carriage return in quotes only if its lines end with one.
    csv.writer(text, lineterminator=_WRITTEN_END).writerow(cells)
    # A path that is not UTF-8 has surrogates.
    return f"{text.getvalue().removesuffix(_WRITTEN_END)}\n".encode(errors="backslashreplace")


def whole_rows(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the rows of a CSV, of one line or several, with their ends; the last one only if it is complete.

    Args:
        lines: of the file, with their ends.
    """
    row, quotes = b"", 0
    for line in lines:
        row += line
        quotes += line.count(b'"')
        if quotes % 2 == 0 and line.endswith(b"\n"):
            yield row
            row, quotes = b"", 0
