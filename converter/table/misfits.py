"""Finds whole columns that do not fit, before any image is read, and says in one sentence what to do about them.

Single cells that do not fit are no matter of this module: their rows are rejected, and listed in rejects.csv.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from converter.options import ConvertOptions
from converter.table import kinds, vocabulary
from converter.table.labels import NEGATIVE, POSITIVE, Meanings, canonical, is_number, listed
from converter.table.parquet import Cell
from converter.table.records import is_blank
from converter.text import flag, some
from multihot.errors import UserError

# Endings of image names.
IMAGE_NAME = re.compile(
    r"\.(jpe?g|jpe|jfif|jp2|png|gif|bmp|dib|webp|tiff?|heic|heif|avif|ppm|pgm|dcm|svg)$", re.IGNORECASE
)

# In so few rows a column is not judged: they are listed in rejects.csv.
_FEW_ROWS = 4
# So few columns of 0 and 1 may be helpers beside a column with the names of classes.
_FEW_COLUMNS = 3
# So many different numbers may be codes of which each has a meaning.
_FEW_NUMBERS = 9
# So many columns are looked at for names of files: each is some requests to a store.
_MOST_KEYS = 10

# Words in names of columns that hold names of classes, and names of columns with 0 and 1 that are hardly ever labels.
_OF_CLASSES = re.compile(
    "label|class|tag|categor|^type|finding|species|genre|choice|target|attribute|breed|diagnos|^dx$", re.IGNORECASE
)
_HELPERS = re.compile(
    r"is_?(valid|train|test|crowd)|is[A-Z]\w+|[xy]_?(min|max|[12])|confidence|score|prob\w*|annotat\w*|(\w+_)?(id|count)|"
    r"width|height|area|difficult|truncated|occluded|valid|fold|split|unnamed.*",
    re.IGNORECASE,
)
# Names of columns of file names.
_OF_FILES = re.compile(r"(image|img|file|photo|picture)s?[ _-]?(id|name|path|file)?s?", re.IGNORECASE)
# Names of columns that say whether an image has the class that the row names.
_OF_VALUES = re.compile(
    r"confidence|probability|prob|value|labels?_?value|(is_?)?(present|presence|positive|true|correct|verified)|truth|score|answer",
    re.IGNORECASE,
)
# Cells that name splits.
_SPLITS = {"train", "training", "val", "valid", "validate", "validation", "dev", "test", "testing", "eval", "trainval"}


class ColumnSample(NamedTuple):
    """The first cells of a column.

    Attributes:
        name: of the column.
        cells: how often each cell occurs in them.
    """

    name: str
    cells: Counter[Cell]

    @property
    def filled(self) -> list[Cell]:
        """The different cells that are not blank, in the order of the rows."""
        return [cell for cell in self.cells if not is_blank(cell)]


def check_filenames(
    where: str,
    filename: ColumnSample,
    others: Sequence[ColumnSample],
    ending_of: Callable[[ColumnSample], str | None],
    *,
    as_written: bool,
) -> None:
    """Checks that no other column looks like the one with the file names.

    Args:
        where: place for messages.
        filename: the column that is taken for the file names, since it is the first.
        others: all other columns.
        ending_of: returns the ending with which the cells of a column name files in the folder of images: "" if they
            do as they are, None if they name no file.
        as_written: whether cells name files as they are written. Otherwise flags make other names of them, so that no
            column can be told by `ending_of` alone.

    Raises:
        UserError: another one has names of images or of files, or is called so, and this one has none.
    """
    if any(map(is_image_name, filename.filled)) or (ending := ending_of(filename)) == "":
        return
    found = [other for other in others if other.filled and all(map(is_image_name, other.filled))]
    # Numbers of rows with an ending may be names of files too, but not of those that belong to the rows.
    if ending is not None and not any(ending_of(other) == "" for other in found):
        return
    endings: dict[str, str] = {}
    if not found and as_written:
        # Columns of labels and of notes that repeat themselves are no names of files; those of keys may be.
        keys = sorted((other for other in others if len(other.filled) > 2), key=lambda other: -len(other.filled))
        endings = {key.name: one for key in keys[:_MOST_KEYS] if (one := ending_of(key)) is not None}
        found = [key for key in keys if key.name in endings]
    if not found and not _OF_FILES.fullmatch(filename.name):
        found = [other for other in others if _OF_FILES.fullmatch(other.name) and len(_texts(other)) > 1]
    if found:
        best = max(found, key=lambda other: len(other.filled))
        more = [repr(other.name) for other in found if other is not best]
        suffix = endings.get(best.name)
        flags = flag("filename_column", [best.name]) + (f" {flag('filename_suffix', [suffix])}" if suffix else "")
        raise UserError(
            f"{where}: the first column, {filename.name!r}, holds {_shown(filename)}, and {best.name!r} holds "
            f"{_shown(best)}"
            + (f", which with {suffix!r} behind them are names of files" if suffix else "")
            + f". Name the column with the file names: {flags}"
            + (f" (or {some(more)})" if more else "")
        )


def check_labels(
    options: ConvertOptions, where: str, columns: Sequence[ColumnSample], num_rows: int, ignored: Sequence[str] = ()
) -> None:
    """Checks that columns which are to hold 0 and 1 do so.

    Args:
        options: of the conversion.
        where: place for messages.
        columns: that are to hold 0 and 1.
        num_rows: number of rows that the samples are from.
        ignored: columns that --ignore_columns names already.

    Raises:
        UserError: whole columns do not; the message names them, their cells, and the flags that help.
    """
    meanings = Meanings(options)
    allowed = options.rejects_allowed(num_rows)
    few = max(allowed, num_rows // 10, _FEW_ROWS)
    numbers = [(column, _num_unknown(meanings, column)) for column in columns]
    misfits = [column for column, number in numbers if number > few or number == num_rows > allowed]
    strange = [column for column in misfits if column.filled and not _is_like_labels(meanings, column)]
    if strange:
        raise UserError(_without_labels(options, where, columns, strange, ignored))
    if misfits:
        raise UserError(_unclear(options, where, meanings, misfits))


def check_values(options: ConvertOptions, where: str, others: Iterable[ColumnSample]) -> None:
    """Checks that no other column seems to say whether the names in the label columns hold.

    Args:
        options: of the conversion.
        where: place for messages.
        others: columns that are not used, beside columns of names.

    Raises:
        UserError: one has such a name, and holds 0 and 1.
    """
    meanings = Meanings(options)
    for column in others:
        if not _OF_VALUES.fullmatch(column.name):
            continue
        ignore = flag("ignore_columns", [*options.ignore_columns, column.name])
        if {meanings[cell] for cell in column.filled} == {NEGATIVE, POSITIVE}:
            raise UserError(
                f"{where}: {column.name!r} holds {_shown(column)}. If it says whether the class in a row holds: "
                f"{flag('value_column', [column.name])}. If not: {ignore}"
            )
        texts = [str(cell).strip() for cell in column.filled]
        if vocabulary.says_yes_or_no(texts):
            raise UserError(
                f"{where}: {column.name!r} holds {_shown(column)}. If it says whether the class in a row holds: "
                f"{flag('value_column', [column.name])} {kinds.flags_of(options, texts)}. If not: {ignore}"
            )
        numbers = [float(canonical(cell)) for cell in column.filled if is_number(cell)]
        if 0 < len(numbers) == len(column.filled) and min(numbers) >= 0 and max(numbers) <= 1 and len({*numbers}) > 1:
            raise UserError(
                f"{where}: {column.name!r} holds {_shown(column)}. If it says how likely the class in a row is, leave "
                f"out the rows that are too unlikely for you. If all are to count: {ignore}"
            )


def is_image_name(cell: Cell) -> bool:
    """Whether a cell ends as names of images do; an address may have a query behind the name."""
    return isinstance(cell, str) and IMAGE_NAME.search(cell.strip().partition("?")[0]) is not None


def _num_unknown(meanings: Meanings, column: ColumnSample) -> int:
    """Returns the number of rows whose cell has no meaning."""
    return sum(count for cell, count in column.cells.items() if not meanings.knows(cell))


def _is_like_labels(meanings: Meanings, column: ColumnSample) -> bool:
    """Whether each cell of a column says yes, no or unknown, in the words of a flag or in others."""
    known = vocabulary.YES | vocabulary.NO | vocabulary.PLACEHOLDERS | {"-1"}
    return all(meanings.knows(cell) or canonical(cell) in known for cell in column.filled)


def _without_labels(
    options: ConvertOptions,
    where: str,
    columns: Sequence[ColumnSample],
    strange: Sequence[ColumnSample],
    ignored: Sequence[str],
) -> str:
    shown = "; ".join(f"{column.name!r} holds {_shown(column)}" for column in strange[:3])
    more = f"; and {len(strange) - 3} more" if len(strange) > 3 else ""
    start = f"{where}: {shown}{more}, and labels are 0 and 1."
    splits = [column.name for column in strange if _names_splits(column)]
    if splits:
        start += f" If {splits[0]!r} says which split a row belongs to: {flag('split_column', splits[:1])}"
        strange = [column for column in strange if column.name != splits[0]]
        if not strange:
            return start
        start += "."
    left = [column for column in columns if column not in strange and column.name not in splits]
    candidate = _likeliest(strange)
    has_names = _seems_of_classes(candidate)
    # Columns such as `confidence` and `xmin` may happen to hold nothing but 0 and 1.
    if all(_HELPERS.fullmatch(column.name) or not column.filled for column in left) and (has_names or not left):
        left = []
    if left:
        names = flag("ignore_columns", [*ignored, *(column.name for column in strange)])
        chosen = flag("label_columns", [column.name for column in left]) if len(left) <= 20 else "--label_columns"
        other = (
            f" (and columns of names of classes, such as {candidate.name!r})" if _may_be_of_classes(candidate) else ""
        )
        if has_names and len(left) < _FEW_COLUMNS:
            start += f" If {candidate.name!r} holds names of classes: {flag('label_columns', [candidate.name])}."
            other = ""
        return f"{start} Leave out what is no label: {names}, or name the label columns: {chosen}{other}"
    filled = [str(cell).strip() for column in strange for cell in column.filled]
    is_known = Meanings(options).knows
    is_named = _OF_CLASSES.search(candidate.name) and not all(_OF_CLASSES.search(column.name) for column in strange)
    if all(map(vocabulary.is_share, filled)) and not is_named:
        whole = sorted({cell for cell in map(canonical, filled) if cell not in ("0", "1")}, key=lambda c: (len(c), c))
        if len(whole) <= _FEW_NUMBERS and all(re.fullmatch(r"-?\d+", cell) for cell in whole):
            return f"{start} {kinds.meanings_of_codes(options, whole)}"
        return f"{start} Write 1 where a number reaches the threshold of your choice and 0 elsewhere."
    if len(strange) > 1 and all(_seems_of_classes(column) for column in strange):
        every = flag("label_columns", [column.name for column in strange])
        return f"{start} If they hold names of classes: {every}, with --merge_columns if all hold the same classes"
    alphabet = sorted({str(cell).strip() for cell in strange[0].cells if not is_known(cell)})
    if (
        len(strange) > 1
        and len(alphabet) <= _FEW_NUMBERS
        and all(
            {str(cell).strip() for cell in column.cells if not is_known(cell)} == {*alphabet} for column in strange[1:]
        )
    ):
        every = flag("label_columns", [column.name for column in strange])
        return (
            f"{start} If they hold names of classes: {every} --merge_columns. Or, if they say yes or no, "
            "give each cell a meaning: --positive_labels, --negative_labels, --unknown_labels"
        )
    return f"{start} If one of the columns holds names of classes: {flag('label_columns', [candidate.name])}"


def _may_be_of_classes(column: ColumnSample) -> bool:
    """Whether a column may hold names of classes: texts of which most occur again."""
    return 2 <= len(_texts(column)) < column.cells.total() / 2


def _seems_of_classes(column: ColumnSample) -> bool:
    """Whether the name and the cells of a column are those of one that holds names of classes."""
    return _OF_CLASSES.search(column.name) is not None and len(_texts(column)) > 1


def _texts(column: ColumnSample) -> list[Cell]:
    """Returns the different cells that may be names: no numbers, no dates, no structures without names."""
    return [
        cell for cell in column.filled if not re.match(r"[+-]?\d+([.,:/%-]|$)", str(cell).strip()) and _is_flat(cell)
    ]


def _is_flat(cell: Cell) -> bool:
    """Whether a cell is no structure, or one that is read as a list of names."""
    items = listed(cell)
    if items is None:
        return re.match(r"[\[{(]", str(cell).strip()) is None
    return not all(map(is_number, items)) or not items


def _likeliest(columns: Sequence[ColumnSample]) -> ColumnSample:
    """Returns the column that looks most like one with names of classes: few different texts, no numbers or dates."""

    def unlikely(column: ColumnSample) -> tuple[bool, bool, bool, bool, int]:
        texts, is_named_otherwise = _texts(column), _OF_CLASSES.search(column.name) is None
        # Numbers are likely under such a name alone.
        few = len(texts) < 2
        return len(column.filled) < 2, few and is_named_otherwise, is_named_otherwise, few, len(texts)

    return min(columns, key=unlikely)


def _unclear(options: ConvertOptions, where: str, meanings: Meanings, columns: Sequence[ColumnSample]) -> str:
    cells: Counter[str] = Counter()
    known: set[str] = set()
    for column in columns:
        for cell, count in column.cells.items():
            if meanings.knows(cell):
                known.add(str(cell).strip())
            else:
                cells[str(cell).strip()] += count
    found = [cell for cell, _ in cells.most_common(6)]
    shown = ", ".join(map(repr, found)) + (" and others" if len(cells) > len(found) else "")
    beside = f" beside {some(sorted(known))}" if known else ""
    names = some([repr(column.name) for column in columns[:3]]) + (
        f" and {len(columns) - 3} more" if len(columns) > 3 else ""
    )
    holds = "column {} holds" if len(columns) == 1 else "columns {} hold"
    return f"{where}: {holds.format(names)} {shown}{beside}. {kinds.meanings_of(options, found)}"


def _names_splits(column: ColumnSample) -> bool:
    """Whether a column seems to hold the names or the numbers of splits."""
    cells = {canonical(cell) for cell in column.filled}
    is_named_so = re.search("split|partition|subset|fold|usage|set$", column.name, re.IGNORECASE) is not None
    return cells <= _SPLITS or (is_named_so and (cells <= set("0123456789") or not cells.isdisjoint(_SPLITS)))


def _shown(column: ColumnSample) -> str:
    cells = [str(cell).strip() for cell in column.filled]
    return ", ".join(repr(cell[:40]) for cell in cells[:3]) + (", ..." if len(cells) > 3 else "")
