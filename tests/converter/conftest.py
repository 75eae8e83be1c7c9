"""Shared by the tests of the converter: CSVs, datasets and their results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from converter.options import ConvertOptions
from converter.rejects import Reject
from converter.table import rows, tables
from converter.table.header import Table
from converter.table.row import Row


class Read(NamedTuple):
    """The result of reading a CSV."""

    table: Table
    rows: list[Row | Reject]

    @property
    def names(self) -> list[str]:
        """File names of the rows that are good."""
        return [row.filename for row in self.rows if isinstance(row, Row)]

    @property
    def rejects(self) -> list[Reject]:
        """Rows that are not."""
        return [row for row in self.rows if isinstance(row, Reject)]


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Read]:
    """Returns the function that reads the content of a CSV, as the file `labels.csv`, with the options given."""
    folder = tmp_path_factory.mktemp("csv")

    def read_csv(content: str | bytes, **given: Any) -> Read:
        path = folder / "labels.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        options = ConvertOptions(csv=str(path), images="images", output="data", **given)
        (found,) = tables.read_tables(options)
        return Read(found, list(rows.read_rows(options, found)))

    return read_csv


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Returns an empty folder for images."""
    folder = tmp_path / "images"
    folder.mkdir()
    return folder
