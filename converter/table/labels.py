"""Decides what the cells of label columns mean: the only module that does.

A label column is of one of three kinds:

    BINARY   one class, which has the name of the column; a cell says whether the image has it: 0 or 1
    NAMES    a cell names the classes that the image has: desert,sea, or a list as Python or JSON writes it
    VECTOR   a cell holds a number for each class: [0, 1, 0]

A cell that is in --positive_labels, --negative_labels or --unknown_labels means that, in a column of any kind.
"""

import ast
import enum
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from converter.options import ConvertOptions
from converter.rejects import Reason, RowRejectedError
from converter.table.parquet import Cell
from converter.text import nfc, some
from multihot.errors import UserError
from schemas import example

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, example.UNKNOWN
_INVALID = 255

# Also with a decimal comma: a table that is separated by semicolons has 1,0 for 1.
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)([.,][0-9]*)?|[.,][0-9]+)(e[+-]?[0-9]{1,3})?", re.IGNORECASE)
# A list in the words of Python, numpy or PyTorch: frozenset({'a'}), array(['a'], dtype=object), tensor([0, 1]), set()
_CALL = re.compile(r"[\w.]+\(\s*([\[({].*?[\])}]|)\s*(,\s*\w+=.*)?\)", re.DOTALL)
# A text in quotes, as Python and JSON write it.
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*(?:'|\Z)|"(?:[^"\\]|\\.)*(?:"|\Z)""", re.DOTALL)
# The longest cell that is read as a list.
_LONGEST_LIST = 100_000
# A cell is looked up in a cache of so many; combinations of names occur again and again.
_CACHED_CELLS = 100_000


class Kind(enum.StrEnum):
    """The kind of a label column: see the docstring of the module."""

    BINARY = "binary"
    NAMES = "names"
    VECTOR = "vector"


class LabelColumn(NamedTuple):
    """A column with labels.

    Attributes:
        place: index of the column in the file.
        name: of the column.
        kind: of its cells.
        prefix: before each name in its cells, to make the name of a class: "health=" where several columns hold names.
        delimiter: between the names in a cell; "" if a cell holds one name.
    """

    place: int
    name: str
    kind: Kind = Kind.BINARY
    prefix: str = ""
    delimiter: str = ""


def canonical(cell: Cell) -> str:
    """Returns the text by which cells are compared: without spaces around it, lower case, numbers in one spelling."""
    text = cell.strip().lower() if isinstance(cell, str) else str(list(cell))
    if _NUMBER.fullmatch(text):
        number = float(text.replace(",", "."))
        return str(int(number)) if number.is_integer() else repr(number)
    return text


def is_number(cell: Cell) -> bool:
    """Whether a cell holds one number, in any spelling."""
    return isinstance(cell, str) and _NUMBER.fullmatch(cell.strip()) is not None


class Meanings(dict[Cell, int]):
    """The meaning of each cell: POSITIVE, NEGATIVE, UNKNOWN, or another number if it is none of these.

    Cells that were asked for are keys, so that common spellings are found in one step.
    """

    def __init__(self, options: ConvertOptions):
        """Stores the meanings.

        Raises:
            UserError: two flags that were given have the same cell.
        """
        super().__init__()
        self._by_text: dict[str, int] = {}
        flag_of: dict[str, str] = {}
        for value, flag, cells, default in (
            (NEGATIVE, "--negative_labels", options.negative_labels, ConvertOptions.negative_labels),
            (POSITIVE, "--positive_labels", options.positive_labels, ConvertOptions.positive_labels),
            (UNKNOWN, "--unknown_labels", options.unknown_labels, ConvertOptions.unknown_labels),
        ):
            self._by_text |= {canonical(cell): value for cell in cells}
            for cell in () if cells == default else cells:
                other = flag_of.setdefault(canonical(cell), flag)
                if other != flag:
                    raise UserError(f"{other} and {flag} both have {cell!r}: give each cell one meaning.")
        given = (*options.negative_labels, *options.unknown_labels)
        self._given = {canonical(cell) for cell in given} - {"0", "false"}

    def __missing__(self, cell: Cell) -> int:
        value = self._by_text.get(canonical(cell), _INVALID)
        if len(self) < _CACHED_CELLS:
            self[cell] = value
        return value

    def knows(self, cell: Cell) -> bool:
        """Whether a cell has a meaning as a whole."""
        return self[cell] != _INVALID

    def stands_for(self, cell: Cell) -> int | None:
        """Returns NEGATIVE or UNKNOWN for a cell of a column of names that a flag gives this meaning, or None."""
        return self[cell] if self[cell] in (NEGATIVE, UNKNOWN) and canonical(cell) in self._given else None


def listed(cell: Cell) -> tuple[Cell, ...] | None:
    """Returns the items of a cell that is a list as Python, JSON, numpy or Parquet write it; None if it is none.

    `{"choices": ["a", "b"]}` and `{"class": "a"}`, as annotation tools write them, are the names in them, and `{}`
    has none; `{"a": true, "b": false}` is the names that are true; `[{"x": 1, "labels": ["a"]}]` is those of regions.
    Items are texts, and None is no item.
    """
    if isinstance(cell, tuple):
        return cell
    text = cell.strip()
    if text[-1:] == ")" and len(text) <= _LONGEST_LIST and (call := _CALL.fullmatch(text)):
        text = call[1] or "[]"
    if not text or text[0] not in "[({" or text[-1] not in "])}" or len(text) > _LONGEST_LIST:
        return None
    # Numpy writes no commas: [0 1 0], [0. 1. 0.]
    if re.fullmatch(r"\[[\d.\s]*\]", text):
        return tuple(text[1:-1].split())
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(_with_commas(text))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    found = _of_regions(found) if isinstance(found, list) else _inside(found)
    if not isinstance(found, list | tuple | set):
        return None
    items = [item for item in found if item is not None]
    if not all(isinstance(item, str | int | float) for item in items):
        return None
    return tuple(str(int(item)) if isinstance(item, bool) else str(item) for item in items)


def _with_commas(text: str) -> str:
    """Returns a list of texts with commas between them where numpy writes none, ['a' 'b']: Python would join them."""
    outside = _QUOTED.sub("''", text)
    if re.fullmatch(r"\[\s*''(\s+'')+\s*\]", outside):
        return f"[{','.join(_QUOTED.findall(text))}]"
    return "" if re.search(r"''\s*''", outside) else text


def _of_regions(found: list[object]) -> list[object]:
    """Returns the names of regions in an image, of which each is a dictionary with one list of texts, or one text."""
    if found and all(isinstance(region, dict) and len(region) == 1 for region in found):
        found = [_inside(region) for region in found]
        return [item for items in found for item in (items if isinstance(items, list) else [items])]
    lists = [
        (key, value)
        for region in found
        if isinstance(region, dict)
        for key, value in region.items()
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    ]
    if len(lists) != len(found) or len({key for key, _ in lists}) != 1:
        return found
    return [name for _, names in lists for name in names]


def _inside(found: object) -> object:
    """Returns the names in a dictionary of one key, or those with True; anything else as it is."""
    if not isinstance(found, dict):
        return found
    if all(isinstance(value, bool) or (len(found) > 1 and value in (0, 1)) for value in found.values()):
        return [name for name, value in found.items() if value]
    if len(found) > 1:
        return found
    (value,) = found.values()
    return [value] if isinstance(value, str) else _inside(value)


def names_in(cell: Cell, delimiter: str) -> set[str]:
    """Returns the names of classes in a cell, in composed characters and without quotes around them."""
    items = listed(cell)
    if items is None:
        text = _unquoted(str(cell))
        items = tuple(map(_unquoted, text.split(delimiter))) if delimiter else (text,)
    return {name for item in items if (name := nfc(str(item).strip()))}


def _unquoted(name: str) -> str:
    name = name.strip()
    return name[1:-1] if len(name) > 2 and name[0] in "'\"" and name.find(name[0], 1) == len(name) - 1 else name


def encoder(
    options: ConvertOptions, columns: Sequence[LabelColumn], classes: Sequence[str], value: int | None = None
) -> Callable[[Sequence[Cell]], bytes]:
    """Returns the function from the cells of a row to its label vector: a byte for each class, 0, 1 or UNKNOWN.

    The function raises RowRejectedError for a cell without a meaning.

    Args:
        options: of the conversion, with the cells that mean positive, negative and unknown.
        columns: with the labels; if all are BINARY, in the order of the classes.
        classes: in the order of the label vector.
        value: index of the column that says whether the image has the named classes: all of them, or none.
    """
    meanings = Meanings(options)
    if all(column.kind == Kind.BINARY for column in columns):
        return _binary(meanings, columns)
    positions = {name: i for i, name in enumerate(classes)}
    parts = [_part(meanings, column, classes, positions) for column in columns]

    def labels_of(cells: Sequence[Cell]) -> bytes:
        labels = bytearray(len(positions))
        for column, part in zip(columns, parts, strict=True):
            part(cells[column.place], labels)
        if value is None or meanings[cells[value]] == POSITIVE:
            return bytes(labels)
        if meanings[cells[value]] == _INVALID:
            raise _bad_label(options.value_column, cells[value])
        return bytes(meanings[cells[value]] if label else NEGATIVE for label in labels)

    return labels_of


def _binary(meanings: Meanings, columns: Sequence[LabelColumn]) -> Callable[[Sequence[Cell]], bytes]:
    indices = [column.place for column in columns]

    def labels_of(cells: Sequence[Cell]) -> bytes:
        labels = bytes([meanings[cells[i]] for i in indices])
        if _INVALID in labels:
            column = columns[labels.index(_INVALID)]
            raise _bad_label(column.name, cells[column.place])
        return labels

    return labels_of


def _bad_label(column: str, cell: Cell) -> RowRejectedError:
    return RowRejectedError(Reason.BAD_LABEL, f"column {column!r}: must be 0 or 1. Received: {cell!r}")


_Part = Callable[[Cell, bytearray], None]


def _part(meanings: Meanings, column: LabelColumn, classes: Sequence[str], positions: Mapping[str, int]) -> _Part:
    """Returns the function that puts the labels of one cell into a vector."""
    if column.kind == Kind.BINARY:
        position = positions[column.name]

        def put_binary(cell: Cell, labels: bytearray) -> None:
            value = meanings[cell]
            if value == _INVALID:
                raise _bad_label(column.name, cell)
            # With --merge_columns, a column of names may have this class too: the order of columns decides nothing.
            labels[position] = value if value == POSITIVE else labels[position] or value

        return put_binary
    mine = [i for name, i in positions.items() if name.startswith(column.prefix)]
    find = _of_names if column.kind == Kind.NAMES else _of_vector
    found: dict[Cell, Sequence[int] | None] = {}

    def put(cell: Cell, labels: bytearray) -> None:
        if cell in found:
            indices = found[cell]
        else:
            indices = None if meanings.stands_for(cell) == UNKNOWN else find(meanings, column, cell, classes, positions)
            if len(found) < _CACHED_CELLS:
                found[cell] = indices
        if indices is None:
            # Another column may have the class too: it is unknown only where no column names it.
            for i in mine:
                labels[i] = labels[i] or UNKNOWN
        else:
            for i in indices:
                labels[i] = POSITIVE

    return put


def _of_names(
    meanings: Meanings, column: LabelColumn, cell: Cell, classes: Sequence[str], positions: Mapping[str, int]
) -> Sequence[int]:
    names = sorted(names_in(cell, column.delimiter))
    unknown = [name for name in names if column.prefix + name not in positions]
    # A name that means "none of the classes" may stand alone or beside others.
    unknown = [name for name in unknown if meanings.stands_for(name) != NEGATIVE]
    if not unknown:
        return [positions[column.prefix + name] for name in names if column.prefix + name in positions]
    if meanings.stands_for(cell) == NEGATIVE:
        return ()
    raise RowRejectedError(
        Reason.UNKNOWN_CLASS,
        f"column {column.name!r}: must name classes of {some(classes)}. Received: {some(unknown)}",
    )


def _of_vector(
    meanings: Meanings, column: LabelColumn, cell: Cell, classes: Sequence[str], positions: Mapping[str, int]
) -> Sequence[int]:
    items = listed(cell) or ()
    values = [meanings[item] for item in items]
    if len(items) != len(positions) or not set(values) <= {NEGATIVE, POSITIVE}:
        raise RowRejectedError(
            Reason.BAD_LABEL,
            f"column {column.name!r}: must be a list of {len(positions)} numbers, 0 or 1. Received: {cell!r}",
        )
    return [i for i, value in enumerate(values) if value == POSITIVE]
