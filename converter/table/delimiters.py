"""Finds the delimiter between the names of classes in a cell, or says in one sentence why it is not certain."""

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from converter.table.labels import names_in
from converter.table.vocabulary import shown
from multihot.errors import UserError

# Delimiters between names. Names of classes hardly ever contain the first ones, often the second, and are made of
# words with the others.
CERTAIN = "|;\t\n；｜、，"
_POSSIBLE = "/+&~^*"
_RARE = "-_:.@#<>=!%$\\"
_WORDS_BETWEEN = re.compile(r"\s+(and|or|und|oder|et|ou|y|e)\s+")


def find(where: str, cells: Sequence[str], asked: Sequence[str]) -> str:
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
        for candidate in ("", ",", *CERTAIN, *_POSSIBLE, " "):
            if all(names_in(cell, candidate) <= known for cell in cells):
                return candidate
        return ","
    for candidate in CERTAIN:
        joined = [cell for cell in cells if candidate in cell]
        if joined:
            raise UserError(ambiguous(where, joined, candidate))
    with_commas = [cell for cell in cells if "," in cell]
    if with_commas and (alone := _without_company(cells, ",")):
        raise UserError(ambiguous(where, alone, ","))
    parts = {part.strip() for cell in cells for part in (cell.split(",") if with_commas else (cell,))}
    joined = sorted(part for part in parts if part not in (words := _words(part)) and words <= parts)
    if joined:
        raise UserError(ambiguous(where, joined, " "))
    # Blanks come last, since they stand around other delimiters, too.
    for candidate in _POSSIBLE + _RARE + " ":
        counts = _num_cells(parts, candidate)
        joined = sorted(part for part in parts if _seems_joined(part, parts, candidate, counts))
        if joined:
            raise UserError(ambiguous(where, joined, candidate))
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
    if delimiter in _RARE:
        return len(parts) > 1 and all(part in cells for part in parts)
    return len(parts) > 1 and all(num_cells[part] > 1 for part in parts)


def _num_cells(cells: Iterable[str], delimiter: str) -> Counter[str]:
    """Returns for each part of a cell in how many cells it occurs."""
    return Counter(itertools.chain.from_iterable(names_in(cell, delimiter) for cell in cells))


def ambiguous(where: str, cells: Sequence[str], delimiter: str) -> str:
    """Returns the sentence about cells that may be one name or several, with the flag that says which."""
    between = _WORDS_BETWEEN.search(cells[0])
    if delimiter == " " and between:
        return (
            f"{where} holds {shown(cells)}. If {between[1]!r} separates names, write | in its place and give "
            "--label_delimiter='|'; if each is one name, give a delimiter that no name has, such as --label_delimiter=,"
        )
    named = {"\t": "a tab", "\n": "a line break", " ": "a blank"}.get(delimiter, repr(delimiter))
    quoted = {"\t": "$'\\t'", "\n": "$'\\n'"}.get(delimiter, shlex.quote(delimiter))
    other = shlex.quote(";" if delimiter == "," else ",")
    return (
        f"{where} holds {shown(cells)}. If {named} separates names of classes, give --label_delimiter={quoted}; if "
        f"each is one name, give a delimiter that no name has, such as --label_delimiter={other}"
    )
