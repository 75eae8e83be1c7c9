"""Decides of which kind a label column is, from the different cells in it; how often a cell occurs does not matter.

Cells that are certain are read: 0 and 1, names without a delimiter, lists as Python or JSON write them. For all others
there is one sentence with the cells that were seen and the flag that says what they mean.
"""

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from converter.options import ConvertOptions
from converter.table.labels import Kind, LabelColumn, Meanings, canonical, is_number, listed, names_in
from converter.table.parquet import Cell
from converter.table.records import is_blank
from converter.text import flag, some
from multihot.errors import UserError

# Cells that stand for a missing value, or for "none of the classes", and that no class should be called by accident.
PLACEHOLDERS = {"-", "--", "?", "nan", "none", "null", "nil", "n/a", "na", "#n/a", "<na>", "unknown", "missing"}
PLACEHOLDERS |= {"uncertain", "unsure", "unclear", "#ref!", "#value!", "#div/0!", "#name?", "#null!"}
# Cells that say yes or no in other words than the defaults.
YES = {
    "x",
    "yes",
    "y",
    "t",
    "positive",
    "pos",
    "present",
    "on",
    "+",
    "ja",
    "si",
    "sí",
    "sim",
    "oui",
    "да",
    "是",
    "✓",
    "✔",
}
YES |= {"*", "•", "●", "√", "☑", "☒", "wahr", "vrai", "vero", "verdadero", "verdadeiro"}
NO = {"no", "n", "f", "negative", "neg", "absent", "off", "nein", "non", "não", "нет", "否"}
NO |= {"✗", "✘", "☐", "falsch", "faux", "falso"}
# Delimiters between names. Names of classes hardly ever contain the first ones, often the second, and are made of
# words with the others.
_CERTAIN_DELIMITERS = "|;\t\n；｜、，"
_POSSIBLE_DELIMITERS = "/+&~^*"
_RARE_DELIMITERS = "-_:.@#<>=!%$\\"
_WORDS_BETWEEN = re.compile(r"\s+(and|or|und|oder|et|ou|y|e)\s+")
_DATE = re.compile(
    r"\d{4}([-/.])\d\d?\1\d\d?([ T].*)?|\d\d?([-/.])\d\d?\3\d{2,4}( .*)?|\d\d?:\d\d(:\d\d)?( ?[ap]m)?", re.IGNORECASE
)
# Names of files, and addresses, which are no names of classes.
_FILE = re.compile(r".+\.(jpe?g|png|gif|bmp|tiff?|webp|dcm)|\w+://.*", re.IGNORECASE)
# A percentage, or a number behind a name.
_SHARE = re.compile(r".*[:=(] *(\d*[.,])?\d+ ?%?\)?|\d+([.,]\d+)? ?%", re.DOTALL)
_OR_CLASSES = "If it is a class, name all classes: --classes"
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
    for delimiter in "," + _CERTAIN_DELIMITERS + " ":
        joined = [str(cell) for cell in others if delimiter in cell and not is_number(cell)]
        if joined and all(re.fullmatch(r"\d+", name) for cell in joined for name in names_in(cell, delimiter)):
            raise UserError(_ambiguous(where, joined, delimiter))
    numbers = [cell for cell in others if is_number(cell)]
    classes = [cell for cell in numbers if re.fullmatch(r"\d+", str(cell).strip())]
    if classes:
        raise UserError(_numbers_as_classes(where, filled))
    special = [cell for cell in others if is_number(cell) or _is_placeholder(cell)]
    if any(is_number(cell) and not re.fullmatch(r"-\d+(\.0*)?", str(cell).strip()) for cell in special):
        raise UserError(_probabilities(where, special))
    if special:
        known = some(sorted({str(cell).strip() for cell in filled if cell not in others}))
        raise UserError(f"{where} holds {_shown(special)} beside {known}. {meaning(options, special[0])}")


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
        delimiter = _delimiter(where, [str(cell) for cell in plain], asked)
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
            f"{where} holds lists of numbers, such as {_shown(lists)}. If there is a number for each class, name the "
            f"classes in the order of the list: --classes=name1,...,name{lengths[-1]}"
        )
    if lengths != [len(asked)]:
        raise UserError(
            f"{where} holds lists of {' and '.join(map(str, lengths[:5]))} numbers, such as {_shown(lists)}, and there "
            f"are {len(asked)} classes: {some(asked)}."
        )
    return column._replace(kind=Kind.VECTOR), tuple(asked)


def _check_plain(options: ConvertOptions, where: str, cells: Sequence[Cell]) -> None:
    """Checks that cells are names: no numbers, no placeholders, no structures that cannot be read."""
    texts = [str(cell).strip() for cell in cells]
    if texts and all(re.fullmatch(r"[0-9]+", text) for text in texts):
        raise UserError(_numbers_as_classes(where, texts))
    if texts and any(all(map(pattern.fullmatch, texts)) for pattern in (_DATE, _FILE)):
        raise UserError(
            f"{where} holds {_shown(texts)}: is it a column of classes? --label_columns names those, and "
            "--ignore_columns leaves others out."
        )
    if texts and all(map(is_share, texts)):
        raise UserError(_probabilities(where, texts))
    several = [re.split(r"[\s,;|]+", text) for text in texts]
    if texts and all(all(map(is_number, each)) for each in several) and not all(map(_are_whole, several)):
        raise UserError(_probabilities(where, texts))
    if texts and says_yes_or_no(texts):
        classes = flag("classes", texts)
        raise UserError(f"{where} holds {_shown(texts)}. {meanings_of(options, texts)}, or name the classes: {classes}")
    missing = [text for text in texts if _is_placeholder(text) or text == "-1"]
    if missing:
        raise UserError(f"{where} holds {_shown(missing)} beside names. {meaning(options, missing[0])} {_OR_CLASSES}")
    broken = [text for text in texts if re.match(r"[\[{(].*[\]})]$|<\w+>.*</\w+>$", text, re.DOTALL) or _is_cut(text)]
    if broken:
        raise UserError(_no_list(where, broken))


def _no_list(where: str, cells: Iterable[Cell]) -> str:
    return (
        f"{where} holds {_shown(cells)}, which is no list of names as Python or JSON writes it: ['cat', 'dog']. "
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
    missing = [name for name in ordered if _is_placeholder(name)]
    if missing:
        negative = flag("negative_labels", (*options.negative_labels, missing[0]))
        raise UserError(
            f"{where} holds {missing[0]!r} among the names of {_shown(cells)}. If it means no class: {negative}. "
            f"{_OR_CLASSES}"
        )


def _delimiter(where: str, cells: Sequence[str], asked: Sequence[str]) -> str:
    """Returns the delimiter between names: a comma, or none where no cell has one.

    Args:
        where: place for messages.
        cells: the different cells that are not blank.
        asked: the classes, where they are given: then the delimiter is the one by which all cells consist of them.

    Raises:
        UserError: whether a cell holds several names is not certain.
    """
    if asked:
        known = frozenset(asked)
        for candidate in ("", ",", *_CERTAIN_DELIMITERS, *_POSSIBLE_DELIMITERS, " "):
            if all(names_in(cell, candidate) <= known for cell in cells):
                return candidate
        return ","
    for candidate in _CERTAIN_DELIMITERS:
        joined = [cell for cell in cells if candidate in cell]
        if joined:
            raise UserError(_ambiguous(where, joined, candidate))
    with_commas = [cell for cell in cells if "," in cell]
    if with_commas and (alone := _without_company(cells, ",")):
        raise UserError(_ambiguous(where, alone, ","))
    parts = {part.strip() for cell in cells for part in (cell.split(",") if with_commas else (cell,))}
    joined = sorted(part for part in parts if part not in (words := _words(part)) and words <= parts)
    if joined:
        raise UserError(_ambiguous(where, joined, " "))
    # Blanks come last, since they stand around other delimiters, too.
    for candidate in _POSSIBLE_DELIMITERS + _RARE_DELIMITERS + " ":
        counts = _num_cells(parts, candidate)
        joined = sorted(part for part in parts if _seems_joined(part, parts, candidate, counts))
        if joined:
            raise UserError(_ambiguous(where, joined, candidate))
    return "," if with_commas else ""


def _words(part: str) -> set[str]:
    """Returns the names in a text, if words such as "and" stand between names."""
    return {*_WORDS_BETWEEN.sub("\n", part).split("\n")}


def _without_company(cells: Sequence[str], delimiter: str) -> list[str]:
    """Returns the cells with a delimiter of which no part occurs in any other cell: each may be a single name."""
    counts = _num_cells(cells, delimiter)
    return [
        cell for cell in cells if delimiter in cell and all(counts[part] == 1 for part in names_in(cell, delimiter))
    ]


def _seems_joined(cell: str, cells: Collection[str], delimiter: str, num_cells: Mapping[str, int]) -> bool:
    """Whether a cell seems to hold several names, since all its parts are in other cells, too."""
    if delimiter not in cell:
        return False
    parts = names_in(cell, delimiter)
    if delimiter in _RARE_DELIMITERS:
        return len(parts) > 1 and all(part in cells for part in parts)
    return len(parts) > 1 and all(num_cells[part] > 1 for part in parts)


def _num_cells(cells: Iterable[str], delimiter: str) -> Counter[str]:
    """Returns for each part of a cell in how many cells it occurs."""
    return Counter(itertools.chain.from_iterable(names_in(cell, delimiter) for cell in cells))


def _ambiguous(where: str, cells: Sequence[str], delimiter: str) -> str:
    between = _WORDS_BETWEEN.search(cells[0])
    if delimiter == " " and between:
        return (
            f"{where} holds {_shown(cells)}. If {between[1]!r} separates names, write | in its place and give "
            "--label_delimiter='|'; if each is one name, give a delimiter that no name has, such as --label_delimiter=,"
        )
    shown = {"\t": "a tab", "\n": "a line break", " ": "a blank"}.get(delimiter, repr(delimiter))
    quoted = {"\t": "$'\\t'", "\n": "$'\\n'"}.get(delimiter, shlex.quote(delimiter))
    other = shlex.quote(";" if delimiter == "," else ",")
    return (
        f"{where} holds {_shown(cells)}. If {shown} separates names of classes, give --label_delimiter={quoted}; if "
        f"each is one name, give a delimiter that no name has, such as --label_delimiter={other}"
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
        f"{where} holds {_shown(cells)}. If each digit is a class, write lists, [0,1,0], and give --classes, or a "
        "column for each class."
    )


def _probabilities(where: str, cells: Iterable[Cell]) -> str:
    return (
        f"{where} holds numbers such as {_shown(cells)}, and a label is 0 or 1. Write 1 where a number reaches the "
        "threshold of your choice and 0 elsewhere, or leave the column out: --ignore_columns"
    )


def meaning(options: ConvertOptions, cell: Cell) -> str:
    """Returns the sentence about the flags that give a cell a meaning."""
    text = str(cell).strip()
    negative = flag("negative_labels", (*options.negative_labels, text))
    unknown = flag("unknown_labels", (*options.unknown_labels, text))
    return f"Say what {text!r} means: {negative} (the image does not have the label) or {unknown} (nobody knows)."


def says_yes_or_no(cells: Collection[Cell]) -> bool:
    """Whether all cells say yes, no or nothing in other words than 0 and 1."""
    words = {canonical(cell) for cell in cells}
    return bool(words & (YES | NO)) and words <= YES | NO | PLACEHOLDERS


def is_share(cell: Cell) -> bool:
    """Whether a cell holds a number, a percentage, or a name with a decimal number behind it."""
    return is_number(cell) or (isinstance(cell, str) and _SHARE.fullmatch(cell.strip()) is not None)


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
    positive = [cell for cell in cells if canonical(cell) in YES]
    negative = [cell for cell in cells if canonical(cell) in NO]
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


def _is_placeholder(cell: Cell) -> bool:
    return isinstance(cell, str) and cell.strip().lower() in PLACEHOLDERS


def _shown(cells: Iterable[Cell]) -> str:
    """Returns the first cells for a message."""
    different = list(dict.fromkeys(cells))
    shown = [repr(cell.strip()[:60]) if isinstance(cell, str) else str(list(cell)) for cell in different[:4]]
    return ", ".join(shown) + (" and others" if len(different) > 4 else "")
