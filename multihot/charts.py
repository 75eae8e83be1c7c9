"""Draws charts as SVG that takes the colours and fonts of the page around it.

Names of classes are text in the SVG, in any script, and never markup. The page has the styles of templates/page.css.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multihot.printable import printable

# Placeholders for the colours of the page, which depend on its light or dark scheme. matplotlib writes them into the
# SVG, where `_inline` replaces them by variables of CSS.
INK, LINE, ACCENT = "#000001", "#000002", "#000003"
NUM_COLOURS = 6
COLOURS = [f"#00001{i}" for i in range(NUM_COLOURS)]
_ON_PAGE = {INK: "var(--ink)", LINE: "var(--line)", ACCENT: "var(--accent)"}
_ON_PAGE |= {colour: f"var(--split{i})" for i, colour in enumerate(COLOURS)}

_STYLE = {
    "text.parse_math": False,  # A dollar sign in the name of a class does not start a formula.
    "svg.fonttype": "none",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "xtick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.color": LINE,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": LINE,
    "axes.axisbelow": True,
    "path.simplify": False,
}
# Width in inches of 72 pixels: about that of the page on a phone, where letters then have the size of font.size.
_WIDTH = 4.4


def chart(name: str, draw: Callable[[Axes], None], height: float = 2.6, width: float = _WIDTH) -> str:
    """Returns an SVG element of this height and width in inches: the same bytes for the same drawing."""
    svg = io.StringIO()
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # matplotlib warns of letters that its fonts lack (the page's have them), and of names too wide for the layout.
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(svg, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = svg.getvalue()
    return re.sub("<[^>]+>", _inline, text[text.index("<svg") :])


def _inline(tag: re.Match[str]) -> str:
    """Returns a tag for use inside a page: without ids and the attributes of a file, and with the page's colours."""
    text = re.sub(r' xmlns(:xlink)?="[^"]*"| version="[^"]*"', "", tag[0])
    text = re.sub(r'^<g id="[^"]*"', "<g", text)
    return re.sub("#0000[01][0-9]", lambda colour: _ON_PAGE.get(colour[0], colour[0]), text)


def short(name: str, width: int) -> str:
    """Returns a name cut to a width in letters, where the letters of some scripts count twice."""
    name, used = printable(name), 0
    for i, letter in enumerate(name):
        used += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if used > width:
            return f"{name[: max(0, i - 1)]}…"
    return name
