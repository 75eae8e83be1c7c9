"""Reads the values of flags that have a syntax of their own: splits, numbers of shards, limits, cells."""

import re
from collections.abc import Mapping
from fractions import Fraction

from multihot.errors import UserError
from schemas import layout

DEFAULT_SPLITS = "train=0.8,validation=0.2"


def _fraction(text: str) -> Fraction:
    """Returns a number that is written as 0.8, 4/5 or 8e-1.

    Raises:
        ValueError: it is none, or is one of which Python would compute millions of digits.
        ZeroDivisionError: it is divided by zero.
    """
    if len(text) > 1000 or re.search(r"e[+-]?\d{3}", text, re.IGNORECASE):
        raise ValueError(text)
    return Fraction(text)


def parse_splits(text: str) -> tuple[tuple[str, Fraction], ...]:
    """Returns the splits of `train=0.8,validation=0.2`: any names, and fractions that sum to exactly 1.

    Raises:
        UserError: something else was received.
    """
    splits: dict[str, Fraction] = {}
    for item in text.split(","):
        name, _, value = (part.strip() for part in item.partition("="))
        if not layout.is_split(name) or name in splits:
            raise UserError(
                f"--splits: a name must be a letter, then letters, digits and underscores, stand once, and not be "
                f"'index' or 'made_from'. Received: {name!r} in {text!r}"
            )
        try:
            splits[name] = _fraction(value)
        except (ValueError, ZeroDivisionError):
            raise UserError(f"--splits must be like {DEFAULT_SPLITS}. Received: {text!r}") from None
        if splits[name] <= 0:
            raise UserError(f"--splits: a fraction must be positive. Received: {item.strip()!r}")
    if sum(splits.values()) != 1:
        raise UserError(f"--splits must sum to 1. Received: {text!r}, which sums to {float(sum(splits.values())):g}")
    return tuple(splits.items())


def parse_num_shards(text: str) -> dict[str, int]:
    """Returns the number of shards of `8` (for every split) or of `train=8,validation=2`.

    Raises:
        UserError: something else was received.
    """
    num_shards: dict[str, int] = {}
    for item in text.split(",") if text else ():
        name, _, value = item.rpartition("=")
        if not value.strip().isdecimal() or len(value) > 100 or int(value) < 1:
            raise UserError(f"--num_shards must be like 8 or train=8,validation=2. Received: {text[:200]!r}")
        if name.strip() in num_shards:
            raise UserError(f"--num_shards has two numbers for one split. Received: {text!r}")
        num_shards[name.strip()] = int(value)
    return num_shards


def parse_max_rejects(text: str) -> int | Fraction:
    """Returns a count for `20`, and a fraction for `0.01` or `1%`.

    Raises:
        UserError: something else was received.
    """
    try:
        if text.endswith("%"):
            limit: int | Fraction = _fraction(text[:-1]) / 100
        else:
            limit = _fraction(text) if "." in text else int(text)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"--max_rejects must be a count or a fraction: 20, 0.01 or 1%. Received: {text!r}") from None
    if limit < 0 or (isinstance(limit, Fraction) and limit > 1):
        raise UserError(f"--max_rejects must be a count, or a fraction from 0 to 1. Received: {text!r}")
    return limit


def parse_csv(text: str) -> tuple[tuple[str, str], ...]:
    """Returns the files of `labels.csv` as (("", "labels.csv"),), and of `train=a.csv,test=b.csv` with their splits.

    Raises:
        UserError: a split has an impossible name, or stands twice.
    """
    items = [item.strip().partition("=") for item in text.split(",")]
    # A path may have commas and '=' in it: only names of splits before each '=' make it a list.
    if not all(separator and re.fullmatch(r"\w+", name) for name, separator, _ in items):
        return (("", text),)
    names = [name for name, _, _ in items]
    for name, _, path in items:
        if not layout.is_split(name) or names.count(name) > 1 or not path:
            raise UserError(f"--csv must be like labels.csv or train=train.csv,test=test.csv. Received: {text!r}")
    return tuple((name, path) for name, _, path in items)


def parse_delimiter(text: str) -> str:
    """Returns the character that separates cells or names: that of `tab` or `blanks`, or the text itself.

    A blank stands for a run of blanks. It has a name, since lines of a --flagfile cannot end with a blank.
    """
    return {"tab": "\t", "\\t": "\t", "blank": " ", "blanks": " "}.get(text, text)


def check_pattern(flag: str, pattern: str) -> None:
    """Checks that a regular expression has a group, of which the flag takes the text; "" is none.

    Raises:
        UserError: it is no regular expression, or has no group.
    """
    try:
        groups = re.compile(pattern).groups if pattern else 1
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{flag} must be a regular expression. Received: {pattern!r}: {error}") from error
    if not groups:
        raise UserError(
            f"{flag} must have a group in parentheses, whose text is taken, as in '(.*)'. Received: {pattern!r}"
        )


def parse_cells(text: str) -> tuple[str, ...]:
    """Returns the cells of `0,false,''`; the item '', or one without characters, is a blank cell."""
    return tuple(map(_cell, text.split(",")))


def _cell(text: str) -> str:
    """Returns the cell that a text in a flag means: '' is a blank one."""
    return "" if text.strip() in ("''", '""') else text.strip()


def parse_names(text: str) -> Mapping[str, str]:
    """Returns the dictionary of `0=train,1=validation,''=test`; the cell '' is a blank one.

    Raises:
        UserError: an item has no '=', a cell stands twice, or the name of a split is impossible.
    """
    names: dict[str, str] = {}
    for item in text.split(",") if text else ():
        cell, separator, name = (_cell(part) for part in item.rpartition("="))
        if not separator or cell in names or not layout.is_split(name):
            raise UserError(f"--split_names must be like 0=train,1=validation. Received: {text!r}")
        names[cell] = name
    return names
