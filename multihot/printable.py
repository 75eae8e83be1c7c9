"""Escapes control characters in text from the input, before it is printed."""

import re

# Control characters, line separators, changes of the direction of writing, and lone surrogates.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Returns a text as one line, with control characters escaped."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)
