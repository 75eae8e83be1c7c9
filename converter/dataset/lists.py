"""Writes and reads the lists beside the shards: rejects.csv, unlisted.csv, duplicates.csv, damaged.csv.

A person opens them in a spreadsheet and on a terminal. So no cell is a formula, and none has control characters.
"""

import csv
import functools
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

from converter import formulas
from converter.rejects import Damaged, Reject
from converter.system import storage
from schemas.errors import UserError
from schemas.printable import printable

# Of duplicates.csv.
DUPLICATES_COLUMNS = ("group", "filename", "split", "kind")


def damaged_csv(damaged: Iterable[Damaged]) -> str:
    """Returns the text of damaged.csv: in the order of the files and their lines."""
    return inert_csv(Damaged._fields, sorted(damaged))


def to_csv(rejects: Iterable[Reject]) -> str:
    """Returns the text of rejects.csv: in the order of the files and their lines."""
    return inert_csv(Reject._fields, sorted(rejects))


def first_of_each(rows: Iterable[Mapping[str, str]], number: int) -> dict[str, list[tuple[str, str]]]:
    """Returns file names and details of the first rejects of each reason, by name.

    Not by line: that would change with the order of the rows.

    Args:
        rows: of rejects.csv.
        number: how many of each reason.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        some = found.setdefault(row["reason"], [])
        some.append((row["filename"], row["detail"]))
        if len(some) > 100 * number:  # Millions are not kept.
            some[:] = sorted(some)[:number]
    return {reason: sorted(some)[:number] for reason, some in sorted(found.items())}


def unlisted_csv(names: Iterable[str]) -> str:
    """Returns the text of unlisted.csv: the files in the folder of images that no row names."""
    return inert_csv(("filename",), ((name,) for name in sorted(names)))


def inert_csv(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Returns the text of a CSV in which every cell is inert."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([inert(str(cell)) for cell in row] for row in rows)
    return text.getvalue()


def inert(text: str) -> str:
    """Returns a text that no terminal obeys, and that no spreadsheet runs as a formula."""
    # Splits and reasons come again and again. Long texts would be kept as well, 1024 of them.
    return _inert_short(text) if len(text) <= 100 else _inert(text)


def _inert(text: str) -> str:
    return formulas.escaped(printable(text))


_inert_short = functools.lru_cache(1 << 10)(_inert)


def read_csv(directory: str, name: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yields the rows of such a CSV of a dataset.

    Args:
        directory: of the dataset, local or in a store.
        name: of the CSV.
        columns: that it must have.

    Raises:
        UserError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        text = storage.read(f"{directory.rstrip('/')}/{name}").decode()
        for row in csv.DictReader(io.StringIO(text, newline=""), strict=True):
            if list(row) != list(columns) or None in row.values():
                raise ValueError(f"every row must have {', '.join(columns)}")
            yield row
    except (ValueError, csv.Error) as error:
        raise UserError(f"{name} is damaged: {error}. `python -m converter.verify` says more.") from error
