"""Decides the group and the split of each row: from its cells, from the table that it is in, and from its file name."""

import re
from collections.abc import Callable, Iterable, Mapping

from converter.options import ConvertOptions
from converter.rejects import Reason, RowRejectedError
from converter.splits import assignment
from converter.table.row import Row
from converter.text import nfc, some
from multihot.errors import UserError
from schemas import layout

# Cells of a column such as is_valid: they could be names of splits, and are not meant as such.
_NO_NAMES = frozenset(("true", "false", "yes", "no"))
# Names that a message gives to the splits of such cells, and of numbers.
_SUGGESTED = ("train", "validation", "test")
# So many different cells may be the folds of a cross-validation.
_MOST_FOLDS = 20


def placer(options: ConvertOptions) -> Callable[[str, str, str], tuple[str, str]]:
    """Returns the function from a file name, a group and a split to the final group and split.

    A blank group is the first group of --group_pattern in the file name, or else the file name. A blank split follows
    from the group.
    """
    pattern = re.compile(options.group_pattern) if options.group_pattern else None
    split_of = assignment.splitter(options.splits)

    def place(filename: str, group: str, split: str) -> tuple[str, str]:
        if not group and pattern:
            found = pattern.search(filename)
            group = nfc(found[1] or "") if found else ""
        group = group or filename
        return group, split or split_of(group)

    return place


def placed(row: Row, filename: str, place: Callable[[str, str, str], tuple[str, str]]) -> Row:
    """Returns a row with the name of its file, and with the group and the split that follow from this name."""
    group, split = place(filename, row.group, row.split)
    return row._replace(filename=filename, group=group, split=split)


def split_name(cell: str, names: Mapping[str, str], column: str) -> str:
    """Returns the name of the split in a cell of --split_column.

    Args:
        cell: of the row.
        names: from --split_names: names by cells; {} if the cells are names.
        column: name of the column.

    Raises:
        RowRejectedError: the cell names no split.
    """
    text = cell.strip()
    if names:
        found = names.get(text) or names.get(_whole(text))
        if not found:
            raise RowRejectedError(
                Reason.BAD_SPLIT,
                f"column {column!r}: must be one of {some([name or repr(name) for name in names])} (--split_names). "
                f"Received: {cell!r}",
            )
        return found
    if not layout.is_split(text):
        raise RowRejectedError(
            Reason.BAD_SPLIT,
            f"column {column!r}: must be a letter, then letters, digits and underscores, "
            f"and not 'index' or 'made_from'. Received: {cell!r}",
        )
    return text


def check_split_cells(path: str, column: str, cells: Iterable[str]) -> None:
    """Checks that a column whose cells are to be names of splits has any name in it.

    Args:
        path: of the table.
        column: name of the column.
        cells: of the column; they are read until there is a name.

    Raises:
        UserError: all cells are numbers, or say yes and no; the message shows them, and how to name the splits.
    """
    found: set[str] = set()
    for cell in cells:
        text = cell.strip()
        if layout.is_split(text) and text.lower() not in _NO_NAMES:
            return
        if text and len(found) < 100:
            found.add(_whole(text))
    if found:
        seen = sorted(found, key=lambda text: (len(text), text))
        # Folds beyond those of the other splits are for training.
        names = [*_SUGGESTED, *("train" for _ in seen)] if len(seen) <= _MOST_FOLDS else _SUGGESTED
        example = ",".join(f"{cell}={name}" for cell, name in zip(seen, names, strict=False))
        raise UserError(
            f"{path}: column {column!r} must name the split of each row, and holds {some(seen)}. Say which split each "
            f"of them means, as in --split_names={example}"
        )


def _whole(text: str) -> str:
    """Returns a whole number without a fraction, as in 1.0, which tables have when another cell is blank."""
    return re.sub(r"^(-?\d+)\.0*$", r"\1", text)
