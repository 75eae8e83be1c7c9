"""Makes text from the input, and from libraries, fit to be printed in a line."""

import re

# Control characters, line separators, changes of the direction of writing, and lone surrogates.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# A code of a terminal for the colour and the weight of letters.
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def printable(text: str) -> str:
    """Returns a text as one line, with control characters escaped."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(said: object, most: int = 300) -> str:
    """Returns what a library says, in one line.

    Args:
        said: the text, or an exception with it. Codes of colours, which Keras writes for terminals, are left out.
        most: characters of it.
    """
    return " ".join(_COLOUR.sub("", str(said)).split())[:most]
