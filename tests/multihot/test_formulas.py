"""No cell that a dataset's files have is run by a spreadsheet, and names come back from them as they were."""

import csv
import io
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.dataset import lists
from converter.dataset.examples import Located, read_split
from converter.inspect import gallery
from converter.job import pipeline
from converter.options import ConvertOptions
from multihot import formulas
from schemas import example

SIGNS = "=+-@＝＋－＠"

# Text in which formulas, quotes, separators and blanks are frequent.
_CELLS = st.text(st.sampled_from([*SIGNS, *"'\";,\t\r\n |ab1\u00a0\u200b"]) | st.characters(exclude_categories=["Cs"]))


def _cells(text: str, delimiter: str) -> list[str]:
    """Returns the cells that a spreadsheet sees: in quotes where those start a cell, and else as they stand."""
    return [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in row]


def _is_formula(cell: str) -> bool:
    return cell.strip().lstrip("\u200b").startswith(tuple(SIGNS))


@given(_CELLS)
def test_what_was_escaped_is_unescaped(text: str) -> None:
    assert formulas.unescaped(formulas.escaped(text)) == text


@given(_CELLS)
def test_other_text_stays_as_it_is(text: str) -> None:
    if not re.search(f"(^|[;\t\r\n])[^{SIGNS}a-z]*[{SIGNS}]", text):
        assert formulas.escaped(text) == formulas.unescaped(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        *((f"{sign}1", f"'{sign}1") for sign in SIGNS),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("  =1", "'  =1"),
        ("\ufeff=1", "'\ufeff=1"),
        ('"=1', "'\"=1"),
        ("'=1", "''=1"),
        ("a;=1;b", "a;'=1;b"),
        ("a\n=1", "a\n'=1"),
        ("a=1", "a=1"),
        ("a;b", "a;b"),
        ("'tis", "'tis"),
        ("", ""),
    ],
)
def test_what_starts_a_formula_has_a_quote_before_it(text: str, escaped: str) -> None:
    assert formulas.escaped(text) == escaped


@given(st.lists(st.lists(_CELLS, min_size=3, max_size=3), max_size=4))
def test_no_list_of_a_dataset_has_a_formula_however_it_is_cut_into_cells(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lists.write(f"{folder}/list.csv", lists.Table(("a", "b", "c"), rows))
        text = Path(folder, "list.csv").read_bytes().decode()
    for delimiter in ",;":
        assert [cell for cell in _cells(text, delimiter) if _is_formula(cell)] == []


def test_long_texts_are_not_kept() -> None:
    for i in range(300):
        lists.escaped_cell(f"{i}" * 5000)
    info = lists._escaped_short.cache_info()
    assert info.maxsize is not None
    assert info.maxsize * 100 * 4 < 1_000_000
    lists._escaped_short.cache_clear()
    lists.escaped_cell("a" * 101)
    assert lists._escaped_short.cache_info().currsize == 0


NAMES = [
    "=cmd|' !A1.jpg",
    "+1.jpg",
    "-1.jpg",
    "@a.jpg",
    "＝1.jpg",
    "a;=1.jpg",
    ";=1.jpg",
    "'=1.jpg",
    '"=1.jpg',
    "b.jpg",
]
CLASSES = ("=1+1", "+a", "-sea", "@SUM(A1)", "＝1", "'=1", "a;=HYPERLINK(1);b", '"=1"', "sea")


def test_an_exported_dataset_starts_no_formula_and_converts_to_the_same(
    tmp_path: Path, draw: Callable[..., bytes]
) -> None:
    found = [
        Located("train", "", 0, example.Example(draw(i), 32, 48, tuple(i >> bit & 1 for bit in range(9)), name))
        for i, name in enumerate(NAMES)
    ]
    assert gallery.export(found, CLASSES, f"{tmp_path}/files") == len(NAMES)
    text = (tmp_path / "files/labels.csv").read_text(encoding="utf-8")
    for delimiter in ",;":
        assert [cell for cell in _cells(text, delimiter) if _is_formula(cell)] == []
    options = ConvertOptions(
        csv=f"{tmp_path}/files/labels.csv", images=f"{tmp_path}/files/images", output=f"{tmp_path}/out", max_rejects=0
    )
    info = pipeline.convert(options)
    assert info
    assert info.classes == CLASSES
    again = [one.example for split in info.splits for one in read_split(options.dataset, info, split.name)]
    by_image = {one.image: one for one in again}
    assert {located.example.image: located.example.labels for located in found} == {
        image: one.labels for image, one in by_image.items()
    }
    assert by_image[found[-1].example.image].filename == "b.jpg"
    # And once more: now nothing is changed.
    assert gallery.export([_at(one) for one in again], CLASSES, f"{tmp_path}/again") == len(NAMES)
    written = {path.name for path in (tmp_path / "again/images").iterdir()}
    assert written == {one.filename for one in again}


def _at(one: example.Example) -> Located:
    return Located("train", "", 0, one)
