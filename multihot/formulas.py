"""Keeps spreadsheets from running a cell of a CSV as a formula.

A cell that starts with one of = + - @ is a formula, and may start programs. Some spreadsheets also accept full-width
forms of these signs, or ignore blanks before them (https://owasp.org/www-community/attacks/CSV_Injection). A cell of a
spreadsheet can also start in the middle of a cell of the CSV: in countries whose list separator is the semicolon, Excel
cuts a CSV at semicolons, even inside double quotes, unless such a part starts with them.

A single quote before the sign makes the cell text. If there are quotes already, one more is added, so that `unescaped`
returns exactly the original text.
"""

import re

# Blanks, quotes and characters without width before the sign, and the signs with their full-width and small forms.
_BLANKS = "[\\s\"'\u00ad\u200b-\u200f\u2060-\u2064\ufeff]*"
_SIGNS = "[=+\\-@\uff1d\uff0b\uff0d\uff20\u2212\ufe62\ufe63\ufe66\ufe6b]"
_BEFORE_SIGN = f"(?={_BLANKS}{_SIGNS})"
_START = "(^|[;\t\r\n])"
_FORMULA = re.compile(_START + _BEFORE_SIGN)
_ESCAPED = re.compile(f"{_START}'{_BEFORE_SIGN}")


def escaped(text: str) -> str:
    """Returns the text with a single quote wherever a spreadsheet would find a formula."""
    return _FORMULA.sub(r"\1'", text)


def unescaped(text: str) -> str:
    """Returns the original of a text from `escaped`."""
    return _ESCAPED.sub(r"\1", text)


def without(text: str) -> str:
    """Returns the text with an underscore in place of the quote, for names of files, which are not unescaped."""
    return _FORMULA.sub(r"\1_", text)
