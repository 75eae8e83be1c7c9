"""Writes text and tables in Markdown, so that names from the input stay text."""

import re
from collections.abc import Iterable, Sequence

from multihot.printable import printable

# Characters that are markup in Markdown, or end a cell of a table. An underscore within a word is none.
_MARKUP = re.compile(r"[\\`*\[\]<>|&~$#!]|(?<![^\W_])_+|_+(?![^\W_])|^[-+=]|^\d+(?=[.)](?:\s|$))")


def escape(text: str) -> str:
    """Returns a text as one line that Markdown shows as it is: markup becomes entities of HTML."""
    return _MARKUP.sub(lambda found: "".join(f"&#{ord(character)};" for character in found[0]), printable(text))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "right") -> str:
    """Returns a table.

    Args:
        header: Markdown of the first line.
        rows: Markdown of the cells of each further line.
        align: side of all columns but the first, which is left: `left` or `right`.
    """
    marks = ["---", *["---:" if align == "right" else "---"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, marks, *rows))
