"""Keeps spreadsheets from running a cell of a CSV as a formula.

A cell that starts with one of = + - @ is a formula, and may start programs. Some spreadsheets take their full-width
forms for the same, or look behind blanks (https://owasp.org/www-community/attacks/CSV_Injection). A cell can also start
in the middle of ours: where the list separator of a country is the semicolon, Excel cuts a CSV at semicolons, and
double quotes protect nothing unless such a cell starts with them.

A single quote at these places makes the cell text. All that already has quotes there gets one more, so that `unescaped`
gives back exactly what `escaped` was given.
"""

import re

# Blanks, quotes and characters without width may stand before the sign, which may be a full-width or a small one.
_BLANKS = "[\\s\"'\u00ad\u200b-\u200f\u2060-\u2064\ufeff]*"
_SIGNS = "[=+\\-@\uff1d\uff0b\uff0d\uff20\u2212\ufe62\ufe63\ufe66\ufe6b]"
_BEFORE_SIGN = f"(?={_BLANKS}{_SIGNS})"
_START = "(^|[;\t\r\n])"
_FORMULA = re.compile(_START + _BEFORE_SIGN)
_ESCAPED = re.compile(f"{_START}'{_BEFORE_SIGN}")


def escaped(text: str) -> str:
    """Returns the text of a cell that no spreadsheet takes for a formula."""
    return _FORMULA.sub(r"\1'", text)


def unescaped(text: str) -> str:
    """Returns the text that `escaped` was given."""
    return _ESCAPED.sub(r"\1", text)


def without(text: str) -> str:
    """Returns a text that is no formula, for a name that cannot be escaped: that of a file."""
    return _FORMULA.sub(r"\1_", text)
