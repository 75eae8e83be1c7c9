"""Writes and reads the lists beside the shards: rejects.csv, unlisted.csv, duplicates.csv, damaged.csv.

People open them in a spreadsheet or print them on a terminal. So no cell is a formula or has control characters.
"""

import csv
import functools
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from multihot import formulas, storage
from multihot.errors import UserError
from multihot.printable import printable


class Table(NamedTuple):
    """The contents of a CSV: the names of its columns, and its rows, which are iterated over once."""

    columns: Sequence[str]
    rows: Iterable[Iterable[object]]


def unlisted(names: Iterable[str]) -> Table:
    """Returns the contents of unlisted.csv: the files in the folder of images that no row names."""
    return Table(("filename",), ((name,) for name in names))


def write(path: str, table: Table) -> None:
    """Writes a CSV in which every cell has been made harmless by `escaped_cell`. There may be millions of rows.

    Raises:
        OSError: the file cannot be written.
    """
    with storage.create(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows([escaped_cell(str(cell)) for cell in row] for row in table.rows)
        text.detach()  # `create` closes the file.


def first_of_each(rows: Iterable[Mapping[str, str]], number: int) -> dict[str, list[tuple[str, str]]]:
    """Returns file names and details of the first rejects of each reason, in the order of the file names.

    The order of lines would change with that of the rows.

    Args:
        rows: of rejects.csv.
        number: number of rejects for each reason.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        some = found.setdefault(row["reason"], [])
        some.append((row["filename"], row["detail"]))
        if len(some) > 100 * number:  # There may be millions.
            some[:] = sorted(some)[:number]
    return {reason: sorted(some)[:number] for reason, some in sorted(found.items())}


def escaped_cell(text: str) -> str:
    """Returns a text without control characters for terminals and without formulas for spreadsheets."""
    # The cache is for splits and reasons, which recur. It would also keep 1024 long texts.
    return _escaped_short(text) if len(text) <= 100 else _escaped(text)


def _escaped(text: str) -> str:
    return formulas.escaped(printable(text))


_escaped_short = functools.lru_cache(1 << 10)(_escaped)


def read_csv(directory: str, name: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yields the rows of one of these CSVs in a dataset.

    Args:
        directory: of the dataset, local or in a store.
        name: of the CSV.
        columns: the columns that it must have.

    Raises:
        UserError: the CSV is damaged.
        OSError: the CSV cannot be read.
    """
    try:
        with (
            storage.open_binary(f"{directory.rstrip('/')}/{name}") as file,
            io.TextIOWrapper(file, "utf-8", newline="") as text,
        ):
            for row in csv.DictReader(text, strict=True):
                if list(row) != list(columns) or None in row.values():
                    raise ValueError(f"every row must have {', '.join(columns)}")
                yield row
    except (ValueError, csv.Error) as error:
        raise UserError(f"{name} is damaged: {error}. `python -m converter.verify` has details.") from error
