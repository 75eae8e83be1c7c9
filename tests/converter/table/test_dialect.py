"""Delimiters, lines above the header, and headers that lack the name of the first column."""

import contextlib
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from converter.parsing import parse_delimiter
from converter.table.dialect import FormError
from multihot.errors import UserError

ReadCsv = Callable[..., Any]

# The shape of CelebA's list_attr_celeba.txt: a number of rows, a header without a name for the files, padded cells.
_CELEBA = "3\nBald Male Young \n000001.jpg  0  1  0\n000002.jpg  1  0  1\n000003.jpg  0  0  0\n"


def _message(read: ReadCsv, content: str, **given: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(content, **given)
    return re.sub(r"^.*labels\.csv ", "", str(caught.value))


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        pytest.param("file sea desert\n1.jpg 1 0\n2.jpg 0 1\n", [2, 3], id="single blanks"),
        pytest.param("file   sea desert\n 1.jpg    1  0 \n\n2.jpg \t0\t1\n", [2, 4], id="runs of blanks and tabs"),
        pytest.param('"file" "sea" "desert"\n"1.jpg" 1 0\n"2.jpg" 0 1\n', [2, 3], id="quotes"),
        pytest.param("file sea desert\r\n1.jpg 1 0\r\n2.jpg 0 1\r\n", [2, 3], id="lines of Windows"),
    ],
)
def test_blanks_separate_cells_where_the_header_has_no_other_delimiter(
    read: ReadCsv, content: str, lines: list[int]
) -> None:
    for options in ({}, {"delimiter": " "}):
        found = read(content, **options)
        assert found.table.columns == ("file", "sea", "desert")
        assert [(row.line, row.filename, row.labels) for row in found.rows] == [
            (lines[0], "1.jpg", b"\1\0"),
            (lines[1], "2.jpg", b"\0\1"),
        ]


def test_a_name_in_quotes_may_have_blanks(read: ReadCsv) -> None:
    assert read('file "red car" dog\n"a  b.jpg" 1 0\n').table.classes == ("red car", "dog")
    assert read('file "red car" dog\n"a  b.jpg" 1 0\n').names == ["a  b.jpg"]


def test_blanks_in_names_are_no_delimiter_beside_another_one(read: ReadCsv) -> None:
    assert read("file name,red car\n1.jpg,1\n").table.columns == ("file name", "red car")


@pytest.mark.parametrize(
    ("text", "character"), [("tab", "\t"), ("blanks", " "), ("blank", " "), (";", ";"), ("", ""), (r"\t", "\t")]
)
def test_a_delimiter_has_a_name_where_it_cannot_be_typed(text: str, character: str) -> None:
    assert parse_delimiter(text) == character


def test_the_flag_overrides_what_the_header_seems_to_have(read: ReadCsv) -> None:
    assert read("file:a,b:c,d\n1.jpg:1:0\n", delimiter=":").table.classes == ("a,b", "c,d")


@pytest.mark.parametrize("delimiter", ["||", "\n", '"', "semicolon"])
def test_a_delimiter_is_one_character(read: ReadCsv, delimiter: str) -> None:
    with pytest.raises(UserError, match=r"--delimiter must be one character, tab or blanks\. Received: "):
        read("file,sea\n", delimiter=delimiter)


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "sep=;;;"])
def test_the_first_line_of_excel_names_the_delimiter(read: ReadCsv, line: str) -> None:
    found = read(f"{line}\r\nfile;a,b,c;d\r\n1.jpg;1;0\r\n")
    assert found.table.columns == ("file", "a,b,c", "d")
    assert [row.line for row in found.rows] == [3]


def test_the_table_of_celeba(read: ReadCsv) -> None:
    found = read(_CELEBA, skip_lines=1)
    assert found.table.columns == ("filename", "Bald", "Male", "Young")
    assert [(row.line, row.filename, row.labels) for row in found.rows] == [
        (3, "000001.jpg", b"\0\1\0"),
        (4, "000002.jpg", b"\1\0\1"),
        (5, "000003.jpg", b"\0\0\0"),
    ]


def test_lines_of_rejects_are_those_of_an_editor(read: ReadCsv) -> None:
    found = read('made\nby "hand\nfile,sea,sky\n1.jpg,1,0\n\n2.jpg,1\n', skip_lines=2)
    assert [(type(row).__name__, row.line) for row in found.rows] == [("Row", 4), ("Reject", 6)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            _CELEBA, "line 1 has 1 cell, and line 2 has 3. If the header is line 2, give --skip_lines=1", id="3"
        ),
        pytest.param(
            "Labels of 2024\n\nfile,sea\n1.jpg,1\n",
            "line 1 has 1 cell, and line 3 has 2. If the header is line 3, give --skip_lines=2",
            id="a title",
        ),
        pytest.param(
            "Labels\nfile;sea\n1.jpg;1\n",
            "line 1 has 1 cell, and line 2 has 2. If the header is line 2, give --skip_lines=1",
            id="a title above semicolons",
        ),
        pytest.param(
            "Labels, 2024\nfile,sea,sky,desert\n1.jpg,1,0,0\n",
            "line 1 has 2 cells, and the next ones have 4. If it is the header, name all columns in it, and quote "
            "cells that have the delimiter in them. If the header is line 2, give --skip_lines=1",
            id="a title with a comma",
        ),
        pytest.param(
            "Labels, 2024\nfile,sea,sky\n1.jpg,1,0\n",
            "line 1 has 2 cells, and the next ones have 3. If it is the header, name all columns in it, and quote "
            "cells that have the delimiter in them. If the header is line 2, give --skip_lines=1",
            id="a title with one cell less",
        ),
        pytest.param(
            "# exported 2024\n# by tool\nfile,sea\n1.jpg,1\n",
            "line 1 is a comment. If the header is line 3, give --skip_lines=2",
            id="comments",
        ),
        pytest.param(
            "# exported 2024, by tool\nfile,sea\n1.jpg,1\n",
            "line 1 is a comment. If the header is line 2, give --skip_lines=1",
            id="a comment with as many cells",
        ),
        pytest.param(
            "\n\n# comment\nfile,sea\n1.jpg,1\n",
            "line 1: no header. Expected a line such as: filename,desert,sea. If the header is line 4, give "
            "--skip_lines=3",
            id="blank lines and a comment",
        ),
    ],
)
def test_what_stands_above_the_header_is_never_the_header(read: ReadCsv, content: str, message: str) -> None:
    assert _message(read, content) == message
    skipped = int(message.rpartition("=")[2])
    assert [row.line for row in read(content, skip_lines=skipped).rows if row.filename] == [
        *range(skipped + 2, len(content.splitlines()) + 1)
    ]


def test_a_table_of_comments_has_no_header(read: ReadCsv) -> None:
    assert _message(read, "# a,b\n# c,d\n") == "line 1 is a comment"


@example(["labels", '"a', 'b"'])
@given(
    st.lists(st.sampled_from(["# c", "30", "a b", "a,b", '"a', 'b"', "1.jpg 1", "1.jpg,1", "", "x\r", "sep=;", "a;b"]))
)
def test_any_lines_are_rows_or_one_sentence(read: ReadCsv, lines: list[str]) -> None:
    with contextlib.suppress(UserError):
        read("\n".join(lines))


@pytest.mark.parametrize("first", ["#filename", "# filename", "#", "#,id"])
def test_a_header_may_start_with_the_sign_of_comments(read: ReadCsv, first: str) -> None:
    columns = tuple(f"{first},sea".split(","))
    assert read(f"{first},sea\n1.jpg{',1' * (len(columns) - 1)}\n").table.columns == columns


def test_rows_numbered_by_r_have_an_index_without_a_name(read: ReadCsv) -> None:
    content = '"image" "cat" "dog"\n"1" "0.jpg" 1 0\n"2" "1.jpg" 0 1\n'
    found = read(content, filename_column="image", label_columns=("cat", "dog"))
    assert found.table.columns == ("", "image", "cat", "dog")
    assert found.names == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize("header", ["Filenames,labels", "bild,labels"])
def test_names_of_classes_without_quotes_are_no_columns(read: ReadCsv, header: str) -> None:
    try:
        found = read(f"{header}\n1.jpg,sea,sky\n2.jpg,sand,sky\n", classes=("sea", "sky", "sand"))
    except UserError as error:
        assert "quote cells that have the delimiter in them" in str(error)
    else:
        assert [one.reason.value for one in found.rejects] == ["bad_row", "bad_row"]


def test_messages_about_columns_name_the_line_of_the_header(read: ReadCsv) -> None:
    for skip_lines, start in (0, "sep=;\n"), (1, "a title\n"), (1, "a title\nsep=;\n"):
        rows = "".join(f"{i}.jpg;a;1\n" for i in range(9))
        with pytest.raises(UserError, match=rf"labels\.csv line {1 + start.count(chr(10))}: 'sea' holds 'a'"):
            read(f"{start}file;sea;sky\n{rows}", skip_lines=skip_lines)


def test_an_error_about_the_form_passes_from_one_process_to_another() -> None:
    found = pickle.loads(pickle.dumps(FormError("labels.csv line 1 is a comment", "Give --skip_lines=1")))
    assert str(found) == "labels.csv line 1 is a comment. Give --skip_lines=1"
    assert found.fact == "labels.csv line 1 is a comment"
