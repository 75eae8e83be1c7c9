"""Finds the flags for tables of known layouts: --layout=NAME stands for the lines of layouts/NAME.flags."""

import difflib
from pathlib import Path

from multihot.errors import UserError

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
