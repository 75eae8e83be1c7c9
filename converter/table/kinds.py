"""Decides of which kind a label column is, from the different cells in it; how often a cell occurs does not matter.

Cells that are certain are read: 0 and 1, names without a delimiter, lists as Python or JSON write them. For all others
there is one sentence with the cells that were seen and the flag that says what they mean.
"""

import re
from collections.abc import Collection, Iterable, Sequence

from converter.options import ConvertOptions
from converter.table import delimiters, vocabulary
from converter.table.labels import Kind, LabelColumn, Meanings, canonical, is_number, listed, names_in
from converter.table.parquet import Cell
from converter.table.records import is_blank
from converter.table.vocabulary import is_placeholder, is_share, says_yes_or_no, shown
from converter.text import flag, some
from multihot.errors import UserError

_OR_CLASSES = "If it is a class, name all classes: --classes"
_OR_ALL_CLASSES = "If one of them is a class, name all classes: --classes"
# More different names in a column are a description or a key.
MOST_CLASSES = 100_000


def single(
    options: ConvertOptions, where: str, column: LabelColumn, cells: Collection[Cell], asked: Sequence[str]
) -> tuple[LabelColumn, tuple[str, ...]]:
    """Returns the only label column with its kind, and the classes that follow from its cells.

    Args:
        options: of the conversion.
        where: place for messages, with the name of the column.
        column: with its index and name.
        cells: the different cells of the column.
        asked: classes of --classes or --schema; none without them.

    Raises:
        UserError: the cells may mean several things; the message names the flag that says which.
    """
    meanings = Meanings(options)
    filled = sorted((cell for cell in cells if not is_blank(cell)), key=str)
    others = [cell for cell in filled if not meanings.knows(cell)]
    # If --classes names other classes than the column, or cells have the delimiter, the column holds names.
    delimiter = options.label_delimiter
    holds_classes = bool(asked) and not set(asked) <= {column.name}
    holds_classes |= any(delimiter in cell for cell in others if isinstance(cell, str)) if delimiter else False
    if not holds_classes and filled and is_binary(meanings, filled):
        _check_binary(where, options, filled, others)
        return column, (column.name,)
    return names(options, where, column, filled, asked)


def is_binary(meanings: Meanings, filled: Sequence[Cell]) -> bool:
    """Whether a column holds 0 and 1, judged by its different cells that are not blank.

    Cells that flags make negative or unknown tell nothing where there are others: columns of names have them, too.
    """
    meant = [cell for cell in filled if meanings.knows(cell)]
    return len(meant) == len(filled) or any(meanings.stands_for(cell) is None for cell in meant)


def _check_binary(where: str, options: ConvertOptions, filled: Sequence[Cell], others: Sequence[Cell]) -> None:
    """Checks that cells beside 0 and 1 are no classes, and no values with a meaning of their own."""
    for delimiter in "," + delimiters.CERTAIN + " ":
        joined = [str(cell) for cell in others if delimiter in cell and not is_number(cell)]
        if joined and all(re.fullmatch(r"\d+", name) for cell in joined for name in names_in(cell, delimiter)):
            raise UserError(delimiters.ambiguous(where, joined, delimiter))
    numbers = [cell for cell in others if is_number(cell)]
    classes = [cell for cell in numbers if re.fullmatch(r"\d+", str(cell).strip())]
    if classes:
        raise UserError(_numbers_as_classes(where, filled))
    special = [cell for cell in others if is_number(cell) or is_placeholder(cell)]
    if any(is_number(cell) and not re.fullmatch(r"-\d+(\.0*)?", str(cell).strip()) for cell in special):
        raise UserError(_probabilities(where, special))
    if special:
        known = some(sorted({str(cell).strip() for cell in filled if cell not in others}))
        raise UserError(f"{where} holds {shown(special)} beside {known}. {meaning(options, special[0])}")


def names(
    options: ConvertOptions, where: str, column: LabelColumn, filled: Sequence[Cell], asked: Sequence[str]
) -> tuple[LabelColumn, tuple[str, ...]]:
    """Returns a column that holds names of classes with its kind and delimiter, and the names without its prefix.

    Args:
        options: of the conversion.
        where: place for messages, with the name of the column.
        column: with its index and name.
        filled: the different cells that are not blank, sorted.
        asked: classes of --classes or --schema, without the prefix; none without them.

    Raises:
        UserError: the cells may mean several things; the message names the flag that says which.
    """
    meanings, known = Meanings(options), frozenset[Cell](asked)
    cells = [cell for cell in filled if cell in known or meanings.stands_for(cell) is None]
    lists = {cell: items for cell in cells if (items := listed(cell)) is not None}
    inside = [str(item) for each in lists.values() for item in each]
    if inside and all(map(is_number, inside)) and not known.issuperset(inside):
        return _vector(where, column, lists, asked)
    plain = [cell for cell in cells if cell not in lists]
    if not asked:
        _check_plain(options, where, plain)
    delimiter = options.label_delimiter
    # Beside lists, any other cell is one name: tools write a list where there are several.
    if not delimiter and not lists:
        delimiter = delimiters.find(where, [str(cell) for cell in plain], asked)
    column = column._replace(kind=Kind.NAMES, delimiter=delimiter)
    found: set[str] = set().union(*(names_in(cell, delimiter) for cell in cells))
    if not asked:
        found = {name for name in found if meanings.stands_for(name) is None}
        _check_names(options, where, found, cells)
    if len(found) > MOST_CLASSES:
        raise UserError(
            f"{where} holds more than {MOST_CLASSES} different names, such as {some(sorted(found)[:3])}: is it a "
            "column of classes? --label_columns names those, and --ignore_columns leaves others out."
        )
    return column, tuple(sorted(found))


def _vector(
    where: str, column: LabelColumn, lists: dict[Cell, tuple[Cell, ...]], asked: Sequence[str]
) -> tuple[LabelColumn, tuple[str, ...]]:
    lengths = sorted({len(items) for items in lists.values()})
    inside = {canonical(item) for items in lists.values() for item in items}
    if not asked and (len(lengths) > 1 or not inside <= {"0", "1"}) and all(map(str.isdecimal, inside)):
        raise UserError(_numbers_as_classes(where, sorted(inside)))
    if not asked:
        raise UserError(
            f"{where} holds lists of numbers, such as {shown(lists)}. If there is a number for each class, name the "
            f"classes in the order of the list: --classes=name1,...,name{lengths[-1]}"
        )
    if lengths != [len(asked)]:
        raise UserError(
            f"{where} holds lists of {' and '.join(map(str, lengths[:5]))} numbers, such as {shown(lists)}, and there "
            f"are {len(asked)} classes: {some(asked)}."
        )
    return column._replace(kind=Kind.VECTOR), tuple(asked)


def _check_plain(options: ConvertOptions, where: str, cells: Sequence[Cell]) -> None:
    """Checks that cells are names: no numbers, no placeholders, no structures that cannot be read."""
    texts = [str(cell).strip() for cell in cells]
    if texts and all(re.fullmatch(r"[0-9]+", text) for text in texts):
        raise UserError(_numbers_as_classes(where, texts))
    if texts and any(all(map(pattern.fullmatch, texts)) for pattern in (vocabulary.DATE, vocabulary.FILE)):
        raise UserError(
            f"{where} holds {shown(texts)}: is it a column of classes? --label_columns names those, and "
            "--ignore_columns leaves others out."
        )
    if texts and all(map(is_share, texts)):
        raise UserError(_probabilities(where, texts))
    several = [re.split(r"[\s,;|]+", text) for text in texts]
    if texts and all(all(map(is_number, each)) for each in several) and not all(map(_are_whole, several)):
        raise UserError(_probabilities(where, texts))
    if texts and says_yes_or_no(texts):
        classes = flag("classes", texts)
        raise UserError(f"{where} holds {shown(texts)}. {meanings_of(options, texts)}, or name the classes: {classes}")
    missing = [text for text in texts if is_placeholder(text) or text == "-1"]
    if missing:
        raise UserError(f"{where} holds {shown(missing)} beside names. {meaning(options, missing[0])} {_OR_CLASSES}")
    broken = [text for text in texts if re.match(r"[\[{(].*[\]})]$|<\w+>.*</\w+>$", text, re.DOTALL) or _is_cut(text)]
    if broken:
        raise UserError(_no_list(where, broken))


def _no_list(where: str, cells: Iterable[Cell]) -> str:
    return (
        f"{where} holds {shown(cells)}, which is no list of names as Python or JSON writes it: ['cat', 'dog']. "
        "Write names with a delimiter between them, and name it: --label_delimiter"
    )


def _are_whole(numbers: Iterable[str]) -> bool:
    return all(map(str.isdecimal, numbers))


def _is_cut(text: str) -> bool:
    """Whether a text is a part of a list: it has brackets that are not closed."""
    return text.isprintable() and any(text.count(start) != text.count(end) for start, end in ("[]", "{}", "()"))


def _check_names(options: ConvertOptions, where: str, found: Collection[str], cells: Collection[Cell]) -> None:
    """Checks that the names in cells are none that only seem to be names, once lists are read and cells are split."""
    meanings = Meanings(options)
    ordered = sorted(found)
    if len(found) > 1 and all(map(meanings.knows, found)):
        raise UserError(_digits(where, cells))
    if found and all(map(is_share, found)) and not all(re.fullmatch(r"\d+", name) for name in found):
        raise UserError(_probabilities(where, cells))
    cut = [name for name in ordered if _is_cut(name)]
    if cut:
        raise UserError(_no_list(where, cut))
    missing = [name for name in ordered if is_placeholder(name)]
    if missing:
        negative = flag("negative_labels", (*options.negative_labels, *missing))
        means, classes = ("it means", _OR_CLASSES) if len(missing) == 1 else ("they mean", _OR_ALL_CLASSES)
        raise UserError(
            f"{where} holds {some(list(map(repr, missing)))} among the names of {shown(cells)}. If {means} no class: "
            f"{negative}. {classes}"
        )


def _numbers_as_classes(where: str, cells: Sequence[Cell]) -> str:
    texts = [str(cell).strip() for cell in cells]
    if len({len(text) for text in texts}) == 1 and len(texts[0]) > 1 and all(set(text) <= {"0", "1"} for text in texts):
        return _digits(where, texts)
    ordered = sorted(dict.fromkeys(texts), key=lambda text: (len(text), text))
    classes = flag("classes", ordered) if len(ordered) <= 30 else "--classes"
    return f"{where} holds the numbers {some(ordered)}. If they are classes, name all of them: {classes}"


def _digits(where: str, cells: Iterable[Cell]) -> str:
    return (
        f"{where} holds {shown(cells)}. If each digit is a class, write lists, [0,1,0], and give --classes, or a "
        "column for each class."
    )


def _probabilities(where: str, cells: Iterable[Cell]) -> str:
    return (
        f"{where} holds numbers such as {shown(cells)}, and a label is 0 or 1. Write 1 where a number reaches the "
        "threshold of your choice and 0 elsewhere, or leave the column out: --ignore_columns"
    )


def meaning(options: ConvertOptions, cell: Cell) -> str:
    """Returns the sentence about the flags that give a cell a meaning."""
    text = str(cell).strip()
    negative = flag("negative_labels", (*options.negative_labels, text))
    unknown = flag("unknown_labels", (*options.unknown_labels, text))
    return f"Say what {text!r} means: {negative} (the image does not have the label) or {unknown} (nobody knows)."


def meanings_of(options: ConvertOptions, cells: Sequence[str]) -> str:
    """Returns the sentence with the flags that would give cells a meaning."""
    positive, negative = _yes_and_no(cells)
    flags = flags_of(options, cells)
    sentences = [f"Say what they mean: {flags}"] if flags else []
    unclear = [cell for cell in cells if cell not in positive and cell not in negative]
    return " ".join([*sentences, *(meaning(options, cell) for cell in unclear)])


def flags_of(options: ConvertOptions, cells: Sequence[str]) -> str:
    """Returns the flags that would give a meaning to the cells that say yes or no."""
    positive, negative = _yes_and_no(cells)
    flags = [flag("positive_labels", (*options.positive_labels, *positive))] if positive else []
    return " ".join(flags + ([flag("negative_labels", (*options.negative_labels, *negative))] if negative else []))


def _yes_and_no(cells: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the cells that say yes, and those that say no: blank ones, where no other cell does."""
    positive = [cell for cell in cells if canonical(cell) in vocabulary.YES]
    negative = [cell for cell in cells if canonical(cell) in vocabulary.NO]
    return positive, negative or [cell for cell in cells if positive and not cell]


def meanings_of_codes(options: ConvertOptions, codes: Sequence[str]) -> str:
    """Returns the sentence with the flags that would give other cells than 0 and 1 a meaning."""
    positive = flag("positive_labels", (*options.positive_labels, *codes))
    negative = flag("negative_labels", (*options.negative_labels, *codes))
    unknown = flag("unknown_labels", (*options.unknown_labels, *codes))
    return (
        f"Say what each of {some(codes)} means: {positive} (the image has the label), {negative} (it does not), or "
        f"{unknown} (nobody knows)."
    )
