"""Writes the tables of flags in the docs from the settings of a dataclass."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from multihot.settings import default_text, settings, shown_name


def table(config: type, like: type | None = None) -> str:
    """Returns the flags and positional arguments of a dataclass as a table in Markdown.

    Args:
        config: the dataclass.
        like: another dataclass; settings that are the same in both are left out.
    """
    rows = ["| flag | default | |", "|---|---|---|"]
    others = list(settings(like).values()) if like else []
    for field, setting in settings(config).items():
        if setting in others:
            continue
        words = setting.help
        if setting.choices:
            words += f" Choices: {', '.join(f'`{choice}`' for choice in setting.choices)}."
        rows.append(f"| `{shown_name(field)}` | {_default(field)} | {words.replace('|', '&#124;')} |")
    return "\n".join(rows)


def _default(field: dataclasses.Field[Any]) -> str:
    default = default_text(field)
    return default if default in ("", "required", "on", "off") else f"`{default}`"


def renew(page: str, tables: Mapping[str, str]) -> str:
    """Returns a page of the docs with the tables between its marks replaced.

    Args:
        page: text with a pair of marks for each table.
        tables: by the name in the mark.

    Raises:
        ValueError: the page has no pair of marks of this name.
    """
    for name, rows in tables.items():
        begin, end = f"<!-- flags of {name}: scripts/flag_tables.py writes this table -->\n", "<!-- end of flags -->"
        before, begun, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not begun or not ended:
            raise ValueError(f"The page has no line {begin!r} with a line {end!r} below it.")
        page = f"{before}{begin}{rows}\n{end}{after}"
    return page
