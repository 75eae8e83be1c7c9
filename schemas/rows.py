"""Reads from which row of which table each example of a shard was made.

The rows are a part of the note about the shard (layout.shard_origin). Examples do not have them: a shard stays the same
when rows of the table change their order.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from multihot import storage
from multihot.errors import UserError
from schemas import layout

# The key of the rows in the note.
ROWS = "rows"


class RowPlace(NamedTuple):
    """The row that an example was made from.

    Attributes:
        filename: of the example.
        csv: path of the table, as it was given to the conversion.
        line: of the row in that file, where 1 is the header of a CSV; the first row of several that were merged.
        group: name of its group, from a column or a pattern; "" if the dataset has no groups.
    """

    filename: str
    csv: str
    line: int
    group: str = ""


def plain(places: Sequence[RowPlace]) -> dict[str, list[Any]]:
    """Returns the rows as values of JSON, by column, in which each path of a table stands once."""
    tables = {csv: i for i, csv in enumerate(sorted({place.csv for place in places}))}
    return {
        "tables": list(tables),
        "table": [tables[place.csv] for place in places],
        "line": [place.line for place in places],
        "filename": [place.filename for place in places],
        "group": [place.group for place in places] if any(place.group for place in places) else [],
    }


def build(columns: Mapping[str, Sequence[Any]]) -> Iterator[RowPlace]:
    """Yields the rows that were written with `plain`.

    Raises:
        LookupError, TypeError, ValueError: the columns are not such.
    """
    tables, groups = columns["tables"], columns["group"]
    groups = groups or [""] * len(columns["filename"])
    for filename, table, line, group in zip(
        columns["filename"], columns["table"], columns["line"], groups, strict=True
    ):
        yield RowPlace(str(filename), str(tables[table]), int(line), str(group))


def read(directory: str, splits: Iterable[str]) -> dict[str, RowPlace]:
    """Returns the rows of the examples of some splits, by their file names.

    Args:
        directory: of the dataset, local or in a store.
        splits: names of the splits.

    Returns:
        A row for each example. There are none for shards that an older version of multihot made.

    Raises:
        UserError: a note is damaged.
        OSError: a note cannot be read.
    """
    # A note may have another number than its shard, if shards without an example were left out.
    folders = [f"{directory.rstrip('/')}/{layout.MADE_FROM}/{split}" for split in splits]
    notes = [file.path for folder in folders for file in storage.list_files(folder)]
    with storage.in_parallel(directory) as threads:
        return {place.filename: place for places in threads.map(_of_note, notes) for place in places}


def _of_note(path: str) -> list[RowPlace]:
    try:
        columns = json.loads(storage.read(path)).get(ROWS)
        return list(build(columns)) if columns else []
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}. Convert again.") from error
