"""Compares and shows names: composed characters, control characters, lists of names in messages."""

import csv
import io
import re
import shlex
import unicodedata
from collections.abc import Sequence

# Control characters, line separators and lone surrogates. Other invisible characters are allowed: names have no-break
# spaces (macOS screenshots) and joiners (Persian, emoji).
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def nfc(text: str) -> str:
    """Returns a text in composed characters (NFC), to compare it: file systems and editors write it differently."""
    return unicodedata.normalize("NFC", text)


def flag(name: str, values: Sequence[str]) -> str:
    """Returns a flag with a list of values, as a shell takes it; a blank value is written as ''."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([value or "''" for value in values])
    return argument(f"--{name}={text.getvalue()}")


def argument(text: str) -> str:
    """Returns an argument of a command as a shell takes it, with as few quotes as possible: --name='a b'."""
    if re.fullmatch(r"[\w@%+=:,./-]+", text):
        return text
    found = re.match(r"--?\w+=", text)
    start = found[0] if found else ""
    value = text.removeprefix(start)
    if "'" in value and not re.search(r'["$`!\\]', value):
        return f'{start}"{value}"'
    return start + shlex.quote(value)


def some(names: Sequence[str], separator: str = ", ") -> str:
    """Returns the first names as one line for a message, with the number of further ones."""
    shown = separator.join(name if name.isprintable() else repr(name) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
