"""Names from the input stay text in Markdown, also in the cells of a table."""

import html
import re

import markdown as renderer
import pytest

from multihot import markdown


@pytest.mark.parametrize(
    "text",
    [
        "sea",
        "traffic_light",
        "_sea_ and __trees__",
        "a|b",
        "*a* **b** `c` ~~d~~",
        "<b>bold</b> &amp; <script>",
        "[a](http://example.org) ![b](c)",
        "# not a title",
        "- no list",
        "1. no list",
        "1984",
        "a\\|b",
        "$x_1$",
        "日本",
    ],
)
def test_a_name_is_shown_as_it_is(text: str) -> None:
    assert html.unescape(renderer.markdown(markdown.escape(text))) == f"<p>{text}</p>"
    rendered = renderer.markdown(markdown.table(["name", "n"], [[markdown.escape(text), "1"]]), extensions=["tables"])
    cells = [html.unescape(cell) for cell in re.findall("<td.*?>(.*?)</td>", rendered)]
    assert cells == [text, "1"]


def test_a_line_break_in_a_name_is_escaped() -> None:
    assert html.unescape(markdown.escape("a\nb")) == "a\\nb"


def test_the_rows_of_a_table_are_lines() -> None:
    assert markdown.table(["class", "images", "share"], [["sea", "1", "50%"], ["trees", "2", "100%"]]).split("\n") == [
        "| class | images | share |",
        "| --- | ---: | ---: |",
        "| sea | 1 | 50% |",
        "| trees | 2 | 100% |",
    ]
