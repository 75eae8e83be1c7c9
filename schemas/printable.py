"""Keeps names and cells that came from the input from speaking to the terminal."""

import re

# What a terminal obeys, ends a line, turns the direction of writing round, or is no character.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Returns a text as one line in which all of these are escaped."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)
