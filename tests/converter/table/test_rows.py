"""Every line of the CSV becomes a row or a reject, with the line number that an editor shows."""

import csv
import io
import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.parsing import DEFAULT_SPLITS, parse_splits
from converter.rejects import Reason
from converter.splits import assignment
from converter.table.filenames import _PLAIN_NAME, checked, normalized
from converter.table.row import Row

ReadCsv = Callable[..., Any]

_HARD = (
    "\ufefffile,sea,desert\r\n"
    " 1.jpg ,1,0\r\n"
    "\r\n"
    '"with, comma.jpg",0,1\r\n'
    '"2.jpg","1","\r\n1"\r\n'
    "   ,,\r\n"
    "3.jpg,1\r\n"
    "4.jpg,1,0,9\r\n"
    '"two\nlines.jpg",1,1\r\n'
    "5.jpg,1,0,,\r\n"
    "6.jpg,yes,0\r\n"
    ",1,1\r\n"
    "7.jpg,0,0"
)
_HARD_ROWS = [
    (2, "1.jpg", b"\1\0", "all", "1.jpg"),
    (4, "with, comma.jpg", b"\0\1", "all", "with, comma.jpg"),
    (5, "2.jpg", b"\1\1", "all", "2.jpg"),
    (8, "3.jpg", Reason.BAD_ROW, "must have 3 cells. Received: 2"),
    (9, "4.jpg", Reason.BAD_ROW, "must have 3 cells. Received: 4"),
    (10, "two\nlines.jpg", Reason.UNSAFE_PATH, "the file name has control characters: 'two\\nlines.jpg'"),
    (12, "5.jpg", b"\1\0", "all", "5.jpg"),
    (13, "6.jpg", Reason.BAD_LABEL, "column 'sea': must be 0 or 1. Received: 'yes'"),
    (14, "", Reason.MISSING_NAME, "the file name is blank"),
    (15, "7.jpg", b"\0\0", "all", "7.jpg"),
]
_ALL = {"splits": (("all", 1),)}


def test_a_hard_csv_line_by_line(read: ReadCsv) -> None:
    assert [row[1:] for row in read(_HARD, **_ALL).rows] == _HARD_ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("last", [True, False], ids=["at the end too", "not at the end"])
def test_line_ends(read: ReadCsv, end: str, last: bool) -> None:
    text = end.join(["file,sea,desert", "1.jpg,1,0", "2.jpg,0,x"]) + end * last
    first, second = read(text).rows
    assert (first.line, first.filename, first.labels) == (2, "1.jpg", b"\1\0")
    assert (second.line, second.filename, second.detail) == (
        3,
        "2.jpg",
        "column 'desert': must be 0 or 1. Received: 'x'",
    )


# A cell of any text.
_CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    names=st.lists(_CELL, min_size=1, max_size=12),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@settings(max_examples=200)
def test_reads_back_what_csv_writes(read: ReadCsv, names: list[str], delimiter: str, end: str, quoting: Any) -> None:
    # The names stand in a column of their own, where nothing is made of them; a reject repeats a cell as it is.
    if quoting == csv.QUOTE_MINIMAL:
        names = [name.replace("\r", "") for name in names]  # csv does not quote it then, and it ends a line.
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([("file", "sea", "cell"), *((f"{i}.jpg", "1", f"[{name}]") for i, name in enumerate(names))])
    found = read(file.getvalue(), max_rejects=Fraction(1))
    line, lines = 2, []
    for name in names:
        lines.append(line)
        line += 1 + len(re.findall("\r\n|\r|\n", name))
    assert [row.line for row in found.rows] == lines
    assert [row.filename for row in found.rows] == [f"{i}.jpg" for i in range(len(names))]
    assert [row.detail for row in found.rows] == [
        f"column 'cell': must be 0 or 1. Received: {f'[{name}]'!r}" for name in names
    ]


@given(st.lists(st.lists(st.sampled_from("01"), min_size=3, max_size=3), min_size=1, max_size=30))
def test_both_kinds_of_table_give_the_same_rows(read: ReadCsv, labels: list[list[str]]) -> None:
    classes = ("sea", "a desert", "바다")
    names = [",".join(c for c, label in zip(classes, row, strict=True) if label == "1") for row in labels]
    multi_hot = f"file,{','.join(classes)}\n" + "".join(f"{i}.jpg,{','.join(row)}\n" for i, row in enumerate(labels))
    delimited = "file,labels\n" + "".join(f'{i}.jpg,"{name}"\n' for i, name in enumerate(names))
    expected = [bytes(map(int, row)) for row in labels]
    first = read(multi_hot)
    assert [row.labels for row in first.rows] == expected
    assert read(delimited, classes=classes).rows == first.rows


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("0", 0),
        ("1", 1),
        ("0.0", 0),
        ("1.0", 1),
        ("true", 1),
        ("TRUE", 1),
        ("False", 0),
        (" 1 ", 1),
        ('" 0"', 0),
        ("1.00", 1),
        ("0.0000", 0),
        ("1e0", 1),
        ("0.000e+00", 0),
        ("+1", 1),
        ("-0", 0),
        (".0", 0),
        ('"1,0"', 1),
    ],
)
def test_good_labels(read: ReadCsv, cell: str, label: int) -> None:
    assert read(f"file,sea,desert\n1.jpg,{cell},1\n").rows[0].labels == bytes([label, 1])


@pytest.mark.parametrize("cell", ["", " ", "2", "-1", "0.5", "yes", "nan", "NULL", "01", "１", "on", "t", "1 0"])
def test_bad_labels(read: ReadCsv, cell: str) -> None:
    detail = f"column 'desert': must be 0 or 1. Received: {cell.strip(' ')!r}"
    found = read(f"file,sea,desert\n1.jpg,1,{cell}\n2.jpg,1,0\n").rows
    assert found[0][1:] == (2, "1.jpg", Reason.BAD_LABEL, detail)
    assert found[1].labels == b"\1\0"


def test_unknown_classes_are_named(read: ReadCsv) -> None:
    (row,) = read('file,labels\n1.jpg,"sea,see, lake"\n', classes=("desert", "sea")).rows
    detail = "column 'labels': must name classes of desert, sea. Received: lake, see"
    assert row[1:] == (2, "1.jpg", Reason.UNKNOWN_CLASS, detail)


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("sea", b"\0\1"),
        ('"sea,desert"', b"\1\1"),
        ('" desert ,, sea,"', b"\1\1"),
        ('"sea,sea"', b"\0\1"),
        ("", b"\0\0"),
        (" ", b"\0\0"),
    ],
)
def test_delimited_labels(read: ReadCsv, cell: str, labels: bytes) -> None:
    assert read(f"file,labels\n1.jpg,{cell}\n", classes=("desert", "sea")).rows[0].labels == labels


@pytest.mark.parametrize(
    ("cell", "filename"),
    [
        pytest.param(" 1.jpg ", "1.jpg", id="spaces around"),
        pytest.param("a b.jpg", "a b.jpg", id="a space inside"),
        pytest.param("deep\\down\\1.JPG", "deep/down/1.JPG", id="backslashes"),
        pytest.param("./deep//down/1.jpg", "deep/down/1.jpg", id="needless parts"),
        pytest.param(unicodedata.normalize("NFD", "été 바다.jpg"), "été 바다.jpg", id="decomposed characters"),
        pytest.param("..jpg", "..jpg", id="dots that lead nowhere"),
        pytest.param("a..b/...jpg", "a..b/...jpg", id="dots in names"),
        pytest.param("Foto 12.30\u202fPM.png", "Foto 12.30\u202fPM.png", id="a narrow no-break space"),
        pytest.param("می\u200cخواهم.jpg", "می\u200cخواهم.jpg", id="a zero-width non-joiner"),
        pytest.param("👩\u200d🌾.jpg", "👩\u200d🌾.jpg", id="an emoji of several characters"),
        pytest.param("<b>&.jpg", "<b>&.jpg", id="markup"),
        pytest.param("=1+1.jpg", "=1+1.jpg", id="a formula"),
        pytest.param("\u202egpj.exe", "\u202egpj.exe", id="writing turned round"),
        pytest.param("%00%2e%2e.jpg", "%00%2e%2e.jpg", id="what a browser would decode"),
        pytest.param("~/x.jpg", "~/x.jpg", id="what a shell would expand"),
        pytest.param("x" * 5_000, "x" * 5_000, id="5000 characters"),
        pytest.param("a.JPG", "a.JPG", id="capitals"),
    ],
)
def test_file_names(read: ReadCsv, cell: str, filename: str) -> None:
    assert read(f"file,sea,desert\n{cell},1,0\n").names == [filename]


_LEADS_OUT = "the file name must be relative to the folder of images: no '..', no drive, no address"


@pytest.mark.parametrize(
    ("cell", "reason", "detail"),
    [
        pytest.param("../1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="parent"),
        pytest.param("a/../../1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="parent of a parent"),
        pytest.param("a/../1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="parent that stays inside"),
        pytest.param("..\\1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="parent by a backslash"),
        pytest.param("..", Reason.UNSAFE_PATH, _LEADS_OUT, id="parent alone"),
        pytest.param("/etc/passwd", Reason.UNSAFE_PATH, _LEADS_OUT, id="absolute"),
        pytest.param("\\\\host\\share\\1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="network share"),
        pytest.param("C:\\1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="drive"),
        pytest.param("c:1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="drive without a folder"),
        pytest.param("gs://bucket/1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="bucket"),
        pytest.param("..\\..\\1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="parents by backslashes"),
        pytest.param("file:///1.jpg", Reason.UNSAFE_PATH, _LEADS_OUT, id="address"),
        pytest.param("a\x1b[2J", Reason.UNSAFE_PATH, "the file name has control characters: 'a\\x1b[2J'", id="escape"),
        pytest.param("a\x01b", Reason.UNSAFE_PATH, "the file name has control characters: 'a\\x01b'", id="control"),
        pytest.param("", Reason.MISSING_NAME, "the file name is blank", id="blank"),
        pytest.param(" \u3000", Reason.MISSING_NAME, "the file name is blank", id="spaces of two kinds"),
    ],
)
def test_bad_file_names(read: ReadCsv, cell: str, reason: Reason, detail: str) -> None:
    assert read(f"file,sea,desert\n{cell},1,0\n").rows[0][1:] == (2, cell.strip().replace("\\", "/"), reason, detail)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text("./\\ :a", max_size=8))
@settings(max_examples=300)
def test_a_row_never_leads_out_of_the_folder(read: ReadCsv, name: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([("file", "sea", "desert"), (name, "1", "0")])
    for row in read(file.getvalue()).rows:
        if isinstance(row, Row):
            assert row.filename
            assert not row.filename.startswith("/")
            assert ".." not in row.filename.split("/")
            assert "\\" not in row.filename
            assert row.filename == unicodedata.normalize("NFC", row.filename)


def test_splits_come_from_the_name_alone(read: ReadCsv) -> None:
    found = read("file,sea,desert\n1.jpg,1,0\n2.jpg,0,1\n1000.jpg,0,0\n").rows
    assert [row.split for row in found] == ["validation", "train", "validation"]


def test_splits_come_from_a_column(read: ReadCsv) -> None:
    text = "file,sea,part\n1.jpg,1,train\n2.jpg,0, dev \n3.jpg,0,\n4.jpg,0,my-split\n5.jpg,1,index\n"
    found = read(text, split_column="part").rows
    assert [row.split for row in found[:2]] == ["train", "dev"]
    must = (
        "column 'part': must be a letter, then letters, digits and underscores, and not 'index' or 'made_from'. "
        "Received: "
    )
    assert [row[1:] for row in found[2:]] == [
        (4, "3.jpg", Reason.BAD_SPLIT, must + "''"),
        (5, "4.jpg", Reason.BAD_SPLIT, must + "'my-split'"),
        (6, "5.jpg", Reason.BAD_SPLIT, must + "'index'"),
    ]


@pytest.mark.parametrize("row", ["1.jpg,1,0,9", "1.jpg,1,0,9,9,9", '1.jpg,1,0,"9\n9"'], ids=["one", "three", "lines"])
def test_a_row_that_is_too_long_is_rejected(read: ReadCsv, row: str) -> None:
    first, second = read(f"file,sea,desert\n{row}\n2.jpg,1,0\n").rows
    assert (first.line, first.filename, first.reason) == (2, "1.jpg", Reason.BAD_ROW)
    assert second.labels == b"\1\0"


@pytest.mark.parametrize("row", ["1.jpg", "1.jpg,", "1.jpg,1", "1.j"])
def test_a_row_that_is_too_short_is_rejected(read: ReadCsv, row: str) -> None:
    first, second = read(f"file,sea,desert\n{row}\n2.jpg,1,0\n").rows
    assert (first.line, first.reason) == (2, Reason.BAD_ROW)
    assert second.labels == b"\1\0"


def test_a_row_without_its_cell_of_names_is_no_image_without_labels(read: ReadCsv) -> None:
    first, second = read("file,labels\n1.jpg,\n2.jp", classes=("sea",)).rows
    assert first.labels == b"\0"
    assert second[1:] == (3, "2.jp", Reason.BAD_ROW, "must have 2 cells. Received: 1")


@pytest.mark.parametrize("blank", ["", "  ", ",,", " , ,", '"",'], ids=repr)
def test_blank_lines_are_no_rows(read: ReadCsv, blank: str) -> None:
    found = read(f"file,sea,desert\n{blank}\n1.jpg,1,0\n{blank}\n{blank}\n2.jpg,0,0\n{blank}\n").rows
    assert [(row.line, row.filename) for row in found] == [(3, "1.jpg"), (6, "2.jpg")]


@pytest.mark.parametrize("text", ["NA", "null", "None", "nan", "-", "1.50", "007", "1e5", "#x", "'x"])
def test_names_that_look_like_something_else(read: ReadCsv, text: str) -> None:
    assert read(f"file,sea,desert\n{text},1,0\n").names == [text]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_line_break_in_a_cell_counts_as_a_line(read: ReadCsv, end: str) -> None:
    found = read(end.join(["file,sea,desert", '"a', 'b.jpg",1,0', 'c.jpg,1,"1', '"', "d.jpg,0,0"]))
    assert [(row.line, row.filename) for row in found.rows] == [(2, f"a{end}b.jpg"), (4, "c.jpg"), (6, "d.jpg")]


def test_quotes_inside_of_a_cell(read: ReadCsv) -> None:
    assert read('file,sea,sky\na "q".jpg,1,0\n"b""q"".jpg",1,0\n').names == ['a "q".jpg', 'b"q".jpg']


def test_a_reject_of_more_cells_than_columns_looks_at_all_of_them(read: ReadCsv) -> None:
    (blank, filled) = read("file,sea,sky\n1.jpg,1,0,, \n2.jpg,1,0,,9\n").rows
    assert blank.labels == b"\1\0"
    assert filled[1:] == (3, "2.jpg", Reason.BAD_ROW, "must have 3 cells. Received: 5")


def test_a_nul_does_not_cut_a_file_name(read: ReadCsv) -> None:
    (reject,) = read("file,sea,desert\na\x00b,1,0\n").rows
    assert reject[1:] == (2, "a\0b", Reason.UNSAFE_PATH, "the file name has control characters: 'a\\x00b'")


def test_a_group_decides_the_split_of_all_its_rows(read: ReadCsv) -> None:
    found = read(
        "file,place,sea,sky\n1.jpg, 바다 ,1,0\n2.jpg,"
        + unicodedata.normalize("NFD", "바다")
        + ",0,1\n3.jpg,,1,1\n4.jpg,3.jpg,1,1\n",
        group_column="place",
    )
    assert found.table.classes == ("sea", "sky")
    assert [row.group for row in found.rows] == ["바다", "바다", "3.jpg", "3.jpg"]
    assert [row.split for row in found.rows] == [
        assignment.split(row.group, parse_splits(DEFAULT_SPLITS)) for row in found.rows
    ]


def test_without_a_group_column_the_group_is_the_name(read: ReadCsv) -> None:
    assert [row.group for row in read("file,sea,sky\n ./1.jpg,1,0\n").rows] == ["1.jpg"]


@given(st.from_regex(_PLAIN_NAME, fullmatch=True))
def test_a_plain_name_is_what_comes_of_it(name: str) -> None:
    assert checked(name) == normalized(name) == name


@pytest.mark.parametrize(
    "name",
    ["a/./b.jpg", "a//b.jpg", "./a.jpg", "a/../b.jpg", "a..jpg", ".a.jpg", "a.jpg ", "c:/a.jpg", "\u00e9.jpg", "a\n"],
)
def test_other_names_are_looked_at(name: str) -> None:
    assert not _PLAIN_NAME.fullmatch(name)
