"""Writes predictions to a CSV or a Parquet file, and goes on with one that is not complete.

    predictions.csv                      complete
    .predictions.csv.0f3a5b7c9d1e.part   the rows so far; the name depends on the model and the files that are asked for

Each batch of rows is written at once, and a process that is killed leaves at most one row in part, at the end. The next
process removes it, and goes on behind the last whole row. A Parquet file is made from the rows when all are there.
"""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from multihot import formulas, storage
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


class Table:
    """The rows of a file of predictions, to which more are added. It is a context manager."""

    def __init__(self, path: Path, info: ModelInfo, key: str) -> None:
        """Opens the rows that are there.

        Args:
            path: of the file: Parquet if it ends with `.parquet`, otherwise CSV.
            info: of the model, with the names of the classes.
            key: depends on the model and the files: other predictions have other rows.

        Raises:
            OSError: the folder cannot be made, or the file cannot be written.
        """
        self._path, self._info = path, info
        self._part = path.with_name(f".{path.name}.{key[:12]}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._header = _line([*_COLUMNS, *(formulas.escaped(_PREFIX + name) for name in info.classes)])
        self._file: BinaryIO = self._part.open("ab")
        self._keep_whole_rows()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _keep_whole_rows(self) -> None:
        """Removes what is behind the last whole row; writes the header if there is none."""
        num_bytes = sum(map(len, _whole_rows(self._part)))
        self._file.truncate(num_bytes)
        if not num_bytes:
            self._file.write(self._header)
            self._file.flush()

    def names(self) -> Iterator[str]:
        """Yields the file of each row that is there."""
        rows = csv.reader(row.decode() for row in _whole_rows(self._part))
        next(rows)
        yield from (formulas.unescaped(row[0]) for row in rows)

    def add(self, batch: Batch, scores: npt.NDArray[np.float32]) -> None:
        """Adds a row for each file.

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
        self._file.write(b"".join(rows))
        # Rows that the system has got are kept when the process is killed.
        self._file.flush()

    def finish(self) -> None:
        """Gives the file its name; all rows are there."""
        self._file.close()
        if self._path.suffix == _PARQUET:
            with storage.create(str(self._path)) as file:
                self._write_parquet(file)
            self._part.unlink()
        else:
            os.replace(self._part, self._path)

    def _joined(self, labels: Sequence[str]) -> str:
        """Returns names of classes in one cell: `desert,sea`; as a list of JSON if a class has a comma in its name."""
        return json.dumps(labels, ensure_ascii=False) if self._have_commas else ",".join(labels)

    def _parted(self, cell: str) -> list[str]:
        if self._have_commas:
            found: list[str] = json.loads(cell or "[]")
            return found
        return cell.split(",") if cell else []

    @property
    def _have_commas(self) -> bool:
        return any("," in name for name in self._info.classes)

    def _write_parquet(self, file: BinaryIO) -> None:
        texts = [(_FILE, pa.string()), (_LABELS, pa.list_(pa.string())), (_REASON, pa.string()), (_DETAIL, pa.string())]
        schema = pa.schema([*texts, *((_PREFIX + name, pa.float32()) for name in self._info.classes)])
        rows = csv.reader(row.decode() for row in _whole_rows(self._part))
        next(rows)
        with pq.ParquetWriter(file, schema) as writer:
            while some := _columns(rows):
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


def remove_parts(path: Path) -> None:
    """Removes the rows of predictions that were not completed."""
    with contextlib.suppress(FileNotFoundError):
        for each in path.parent.iterdir():
            if each.name.startswith(f".{path.name}.") and each.suffix == ".part":
                each.unlink()


def _columns(rows: Iterator[list[str]]) -> list[tuple[str, ...]]:
    """Returns the next rows as columns; none if there are no more rows."""
    return list(zip(*(row for row, _ in zip(rows, range(_GROUP), strict=False)), strict=True))


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    # A path that is not UTF-8 has surrogates.
    return text.getvalue().encode(errors="backslashreplace")


def _whole_rows(path: Path) -> Iterator[bytes]:
    """Yields the rows of a CSV, of one line or several, with their ends; the last one only if it is complete."""
    row, quotes = b"", 0
    with path.open("rb") as file:
        for line in file:
            row += line
            quotes += line.count(b'"')
            if quotes % 2 == 0 and line.endswith(b"\n"):
                yield row
                row, quotes = b"", 0
