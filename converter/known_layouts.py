"""Finds the flags for tables of known layouts: --layout=NAME stands for the lines of layouts/NAME.flags."""

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from multihot import flags
from multihot.errors import UserError
from multihot.settings import setting
from multihot.usage import Usage

_FOLDER = Path(__file__).parent / "layouts"


def names() -> list[str]:
    """Returns the names of all layouts, sorted."""
    return sorted(file.stem for file in _FOLDER.glob("*.flags"))


def path(name: str) -> str:
    """Returns the path of the file with the flags of a layout.

    Raises:
        UserError: there is no such layout; the message names the closest ones.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(names())}"
        raise UserError(f"--layout: there is no layout {name!r}. {hint}")
    return str(_FOLDER / f"{name}.flags")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayoutOptions:
    """The setting that stands for others: programs that take those of a conversion have it beside them."""

    layout: str = field(
        default="",
        metadata=setting(
            "Flags for a known layout of tables; others that are given win. docs/layouts.md describes them: "
            f"{', '.join(names())}.",
            value="NAME",
            text="",
            parse=lambda name: path(name) if name else "",
        ),
    )


def read(usage: Usage, argv: Sequence[str], others: list[str] | None = None) -> dict[str, Any]:
    """Returns what `flags.read` returns, with the flags of the layout before those that were given."""
    given = flags.read(usage, argv, others)
    if not given["layout"]:
        return given
    if others is not None:
        others.clear()
    return flags.read(usage, [argv[0], f"--flagfile={given['layout']}", *argv[1:]], others)
