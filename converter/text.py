"""Compares and shows names: composed characters, control characters, lists of names in messages."""

import re
import unicodedata
from collections.abc import Sequence

# Control characters, line separators and lone surrogates; not what else is invisible: a name may well have a no-break
# space (macOS screenshots) or a joiner (Persian, emoji).
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def composed(text: str) -> str:
    """Returns a text as it is compared: in composed characters, since file systems and editors differ in that."""
    return unicodedata.normalize("NFC", text)


def some(names: Sequence[str]) -> str:
    """Returns names for a message: not a million of them, and all on one line."""
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
