"""Defines words and patterns that tell what a cell of a label column is, where it is neither 0 and 1 nor a name."""

import re
from collections.abc import Collection, Iterable

from converter.table.labels import canonical, is_number
from converter.table.parquet import Cell

# Cells that stand for a missing value, or for "none of the classes", and that no class should be called by accident.
PLACEHOLDERS = {"-", "--", "?", "nan", "none", "null", "nil", "n/a", "na", "#n/a", "<na>", "unknown", "missing"}
PLACEHOLDERS |= {"uncertain", "unsure", "unclear", "#ref!", "#value!", "#div/0!", "#name?", "#null!"}
# Cells that say yes or no in other words than the defaults.
YES = {"x", "yes", "y", "t", "positive", "pos", "present", "on", "+", "*", "•", "●", "√", "✓", "✔", "☑", "☒"}
YES |= {"ja", "si", "sí", "sim", "oui", "да", "是", "wahr", "vrai", "vero", "verdadero", "verdadeiro"}
NO = {"no", "n", "f", "negative", "neg", "absent", "off", "nein", "non", "não", "нет", "否"}
NO |= {"✗", "✘", "☐", "falsch", "faux", "falso"}
# Dates and times.
DATE = re.compile(
    r"\d{4}([-/.])\d\d?\1\d\d?([ T].*)?|\d\d?([-/.])\d\d?\3\d{2,4}( .*)?|\d\d?:\d\d(:\d\d)?( ?[ap]m)?", re.IGNORECASE
)
# Names of files, and addresses, which are no names of classes.
FILE = re.compile(r".+\.(jpe?g|png|gif|bmp|tiff?|webp|dcm)|\w+://.*", re.IGNORECASE)
# A percentage, or a number behind a name.
_SHARE = re.compile(r".*[:=(] *(\d*[.,])?\d+ ?%?\)?|\d+([.,]\d+)? ?%", re.DOTALL)


def says_yes_or_no(cells: Collection[Cell]) -> bool:
    """Whether all cells say yes, no or nothing in other words than 0 and 1."""
    words = {canonical(cell) for cell in cells}
    return bool(words & (YES | NO)) and words <= YES | NO | PLACEHOLDERS


def is_share(cell: Cell) -> bool:
    """Whether a cell holds a number, a percentage, or a name with a decimal number behind it."""
    return is_number(cell) or (isinstance(cell, str) and _SHARE.fullmatch(cell.strip()) is not None)


def is_placeholder(cell: Cell) -> bool:
    """Whether a cell stands for a missing value, or for none of the classes."""
    return isinstance(cell, str) and cell.strip().lower() in PLACEHOLDERS


def shown(cells: Iterable[Cell]) -> str:
    """Returns the first cells for a message."""
    different = list(dict.fromkeys(cells))
    texts = [repr(cell.strip()[:60]) if isinstance(cell, str) else str(list(cell)) for cell in different[:4]]
    return ", ".join(texts) + (" and others" if len(different) > 4 else "")
