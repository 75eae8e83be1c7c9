"""Finds the encodings in which lines that cannot be decoded read as words, to name them in a message.

An encoding is never used without being asked for: bytes do not tell for certain, so that a message shows how they read.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

# Most encodings that a message names.
_MOST = 2
# Lines that are looked at, behind the first that cannot be decoded, and the longest part of one.
_MOST_LINES = 100_000
_MOST_BYTES = 1 << 20
_MOST_OFFENDING = 1000
# Share of the characters that must be plausible: a line may have a symbol, or a rare character.
_ENOUGH = 0.9

_WORD = re.compile(r"[^\W\d_]+")
# Punctuation of texts that is not ASCII.
_PUNCTUATION = "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\xa0\xb0\u20ac"
_WESTERN = "àáâäãåæçèéêëìíîïñòóôöõøœùúûüÿß"
_CENTRAL = "ąćčďęěĺľłńňőřŕśšťůűźžżșțăâîđáéíóúýôäöüë"
_CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
_GREEK = "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ"
# Share of a word in capitals: the bytes of small letters are capitals in another encoding.
_IN_CAPITALS = 0.95


def _letters(small: str, most_foreign: float) -> Callable[[str], float]:
    """Returns the function from a text to the plausible share of its words that are not ASCII.

    Args:
        small: the letters of the language beside those of ASCII.
        most_foreign: greatest share of them in such words: most letters of a Latin script are ASCII.
    """
    known = {*small, *("abcdefghijklmnopqrstuvwxyz" if most_foreign < 1 else "")}

    def share(text: str) -> float:
        words = [word for word in _WORD.findall(text) if not word.isascii()]
        num_letters = sum(map(len, words))
        longer = "".join(word for word in words if len(word) > 1)
        if sum(char > "\x7f" for char in longer) > most_foreign * len(longer):
            return 0.0
        symbols = sum(char > "\x7f" and not char.isalpha() and char not in _PUNCTUATION for char in text)
        return sum(_shape(word) for word in words if known.issuperset(word.lower())) / max(1, num_letters + symbols)

    return share


def _shape(word: str) -> float:
    """Returns the number of letters of a word that has at most a capital at its start, or is all in capitals."""
    if word.isupper() and len(word) > 1:
        return len(word) * _IN_CAPITALS
    return len(word) if len(word) == 1 or word[1:].islower() else 0


def _signs(charset: str, first: int, last: int, own: str, needed: str = "") -> Callable[[str], float]:
    """Returns the function from a text to the share of its characters, ASCII aside, that are common in a language.

    Args:
        charset: encoding that has the common characters, in two bytes each.
        first: least first byte of the common characters.
        last: greatest first byte of them.
        own: pattern of the characters of the language.
        needed: pattern of characters of which a text has some.
    """
    # Decoded by a wrong encoding, the second byte of a character may be the first letter of a word.
    pattern = re.compile(f"{own}(?![a-z])")

    def share(text: str) -> float:
        num_chars = sum(char > "\x7f" for char in text)
        if needed and not re.search(needed, text):
            return 0.0
        encoded = (char.encode(charset, "ignore") for char in pattern.findall(text))
        return sum(len(two) == 2 and first <= two[0] <= last for two in encoded) / max(1, num_chars)

    return share


_HAN = "[\u3000-\u303f\u4e00-\u9fff\uff01-\uff5e]"
_KANA = "[\u3041-\u30ff]"
_CANDIDATES: tuple[tuple[str, Callable[[str], float]], ...] = (
    ("cp1252", _letters(_WESTERN, most_foreign=0.7)),
    ("mac_roman", _letters(_WESTERN, most_foreign=0.7)),
    ("cp850", _letters(_WESTERN, most_foreign=0.7)),
    ("cp1250", _letters(_CENTRAL, most_foreign=0.7)),
    ("cp1254", _letters(_WESTERN + "ğışi̇", most_foreign=0.7)),
    ("cp1251", _letters(_CYRILLIC + "іїєґў", most_foreign=1)),
    ("koi8_r", _letters(_CYRILLIC, most_foreign=1)),
    ("cp1253", _letters(_GREEK, most_foreign=1)),
    ("cp949", _signs("euc_kr", 0xB0, 0xC8, "[\uac00-\ud7a3]")),
    ("shift_jis", _signs("shift_jis", 0x81, 0x97, f"(?:{_KANA}|{_HAN})")),
    ("euc_jp", _signs("shift_jis", 0x81, 0x97, f"(?:{_KANA}|{_HAN})", needed=_KANA)),
    ("gb18030", _signs("gb2312", 0xA1, 0xD7, _HAN)),
    ("big5", _signs("big5", 0xA1, 0xC6, _HAN)),
)


class Reading(NamedTuple):
    """An encoding, and how the first word reads in it."""

    encoding: str
    word: str


def readings(lines: Sequence[bytes]) -> list[Reading]:
    """Returns the encodings in which lines read as words, the likeliest first; one of several that read alike."""
    content = b"".join(lines)
    with contextlib.suppress(UnicodeError):
        return [Reading("utf-8", _word(content.decode()))]
    found: dict[str, tuple[float, Reading]] = {}
    for encoding, share in _CANDIDATES:
        with contextlib.suppress(UnicodeError):
            text = content.decode(encoding)
            if (plausible := share(text)) >= _ENOUGH:
                found.setdefault(text, (plausible, Reading(encoding, _word(text))))
    likely = sorted(found.values(), key=lambda one: -one[0])
    return [reading for _, reading in likely[:_MOST]]


def _word(text: str) -> str:
    """Returns the first word that is not ASCII."""
    return next((word[:30] for word in re.findall(r"\w+", text) if not word.isascii()), text.strip()[:30])


def offending(file: BinaryIO, encoding: str) -> tuple[list[bytes], bool]:
    """Returns the first lines of a file that cannot be decoded, and whether more of the lines that are not ASCII can.

    Args:
        file: opened, at its beginning.
        encoding: by which lines cannot be decoded.
    """
    # In encodings such as UTF-16, a line does not end with one byte, and cannot be decoded alone.
    by_lines = " ".encode(encoding) == b" "
    bad: list[bytes] = []
    num_good = num_after = 0
    for line in _lines(file):
        if not line.isascii():
            if by_lines and _is_decodable(line, encoding):
                num_good += 1
            else:
                bad.append(line)
        num_after += bool(bad)
        if len(bad) >= _MOST_OFFENDING or num_after >= _MOST_LINES:
            break
    return bad, num_good > len(bad)


def _is_decodable(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeError:
        return False
    return True


def _lines(file: BinaryIO) -> Iterator[bytes]:
    return itertools.takewhile(bool, iter(lambda: file.readline(_MOST_BYTES), None))
