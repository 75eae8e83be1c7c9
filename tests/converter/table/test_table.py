"""The kind of a CSV follows from its header and cells; a file of another kind is named in the error."""

import contextlib
import encodings.aliases
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from converter.options import ConvertOptions
from converter.table import header, records, rows, tables
from converter.table.row import Row
from multihot.errors import UserError

ReadCsv = Callable[..., Any]


def _workbook() -> bytes:
    """Returns the beginnings of a workbook of Excel: a ZIP archive with a certain file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return content.getvalue()


def test_multi_hot_has_a_column_for_each_class(read: ReadCsv) -> None:
    found = read("file,sea,desert\n1.jpg,1,0\n").table
    assert found.multi_hot
    assert (found.classes, found.filename, _places(found), found.split) == (("sea", "desert"), 0, (1, 2), None)


def test_delimited_has_the_names_of_classes_in_one_column(read: ReadCsv) -> None:
    found = read('file,labels\n1.jpg,"sea, desert"\n2.jpg,"sea,trees"\n3.jpg,\n').table
    assert not found.multi_hot
    assert (found.classes, _places(found)) == (("desert", "sea", "trees"), (1,))


@pytest.mark.parametrize(
    ("cells", "multi_hot", "classes"),
    [
        pytest.param("1,0,1", True, ("sea",), id="0 and 1"),
        pytest.param("TRUE,false,True", True, ("sea",), id="true and false"),
        pytest.param("1,,0", True, ("sea",), id="with a blank"),
        pytest.param("1,0,sand", True, ("sea",), id="one wrong label makes no classes of the others"),
        pytest.param("sand,rock,sand", False, ("rock", "sand"), id="names"),
        pytest.param(",sand,", False, ("sand",), id="one name"),
    ],
)
def test_a_single_label_column_is_told_apart_by_its_cells(
    read: ReadCsv, cells: str, multi_hot: bool, classes: tuple[str, ...]
) -> None:
    found = read("file,sea\n" + "".join(f"{i}.jpg,{cell}\n" for i, cell in enumerate(cells.split(",")))).table
    assert (found.multi_hot, found.classes) == (multi_hot, classes)


def _places(table: header.Table) -> tuple[int, ...]:
    return tuple(column.place for column in table.labels)


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
@pytest.mark.parametrize("given", [{}, {"filename_column": "file"}])
def test_an_index_of_pandas_is_no_column_of_labels(read: ReadCsv, name: str, given: dict[str, Any]) -> None:
    found = read(f"{name},file,sea,sky\n0,1.jpg,1,0\n1,2.jpg,0,1\n", **given)
    assert (found.table.filename, found.table.classes, found.names) == (1, ("sea", "sky"), ["1.jpg", "2.jpg"])


def test_classes_that_are_numbers_can_be_named(read: ReadCsv) -> None:
    found = read("file,kind\n1.jpg,0\n2.jpg,1\n3.jpg,2\n4.jpg,1\n", classes=("0", "1", "2"))
    assert (found.table.multi_hot, found.table.classes) == (False, ("0", "1", "2"))
    assert [row.labels for row in found.rows] == [b"\1\0\0", b"\0\1\0", b"\0\0\1", b"\0\1\0"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"], ids=["comma", "semicolon", "tab", "bar"])
def test_delimiter_is_recognised_by_the_header(read: ReadCsv, delimiter: str) -> None:
    found = read("file,sea,desert\n1.jpg,1,0\n".replace(",", delimiter))
    assert found.table.columns == ("file", "sea", "desert")
    assert found.names == ["1.jpg"]


def test_a_delimiter_inside_quotes_is_no_delimiter(read: ReadCsv) -> None:
    assert read('file;"a,b,c";"d,e"\n1;1;0\n').table.columns == ("file", "a,b,c", "d,e")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_quoted_cell_may_stand_behind_blanks(read: ReadCsv, delimiter: str) -> None:
    found = read('"file"; "sea"; "a;b"\n "1.jpg"; "1";  "0" \n'.replace(";", delimiter))
    assert found.table.columns == ("file", "sea", f"a{delimiter}b")
    assert (found.names, found.rows[0].labels) == (["1.jpg"], b"\1\0")


def test_names_in_quotes_behind_blanks_are_those_of_one_cell(read: ReadCsv) -> None:
    found = read('file, labels\n1.jpg, "sea,sun"\n2.jpg, sun\n')
    assert found.table.classes == ("sea", "sun")
    assert [row.labels for row in found.rows] == [b"\1\1", b"\0\1"]


def test_columns_can_be_chosen_in_any_order(read: ReadCsv) -> None:
    text = "id,sea,path,desert,part\n7,1,a.jpg,0,train\n"
    found = read(text, filename_column="path", label_columns=("desert", "sea"), split_column="part")
    assert (found.table.filename, _places(found.table), found.table.split) == (2, (3, 1), 4)
    assert found.table.classes == ("desert", "sea")
    assert [tuple(row) for row in found.rows] == [(found.table.path, 2, "a.jpg", b"\0\1", "train", "a.jpg")]


def test_all_other_columns_are_labels(read: ReadCsv) -> None:
    found = read("sea,part,file,desert\n1,train,a.jpg,0\n", filename_column="file", split_column="part")
    assert found.table.classes == ("sea", "desert")


def test_classes_give_the_order_of_a_multi_hot_table(read: ReadCsv) -> None:
    found = read("file,sea,desert\n1.jpg,1,0\n", classes=("desert", "sea"))
    assert (found.table.classes, _places(found.table)) == (("desert", "sea"), (2, 1))
    assert found.rows[0].labels == b"\0\1"


def test_classes_give_the_order_of_a_delimited_table(read: ReadCsv) -> None:
    found = read("file,labels\n1.jpg,sea\n", classes=("trees", "sea", "desert"))
    assert found.table.classes == ("trees", "sea", "desert")
    assert found.rows[0].labels == b"\0\1\0"


def test_label_delimiter_can_be_chosen(read: ReadCsv) -> None:
    found = read("file,labels\n1.jpg,sea|the desert\n", label_delimiter="|")
    assert found.table.classes == ("sea", "the desert")
    assert found.rows[0].labels == b"\1\1"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["without", "with"])
@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf_8"])
def test_byte_order_mark_is_skipped(read: ReadCsv, mark: bytes, encoding: str) -> None:
    assert read(mark + b"file,sea,desert\n1.jpg,1,0\n", encoding=encoding).table.columns == ("file", "sea", "desert")


def test_spaces_around_the_names_of_columns_do_not_count(read: ReadCsv) -> None:
    assert read(" file , sea,desert \n1.jpg,1,0\n").table.columns == ("file", "sea", "desert")


def test_a_header_can_span_lines(read: ReadCsv) -> None:
    found = read('file,"sea\nand lake",desert\n1.jpg,1,0\n')
    assert found.table.columns == ("file", "sea\nand lake", "desert")
    assert [row.line for row in found.rows] == [3]


def test_thousands_of_columns(read: ReadCsv) -> None:
    names = [f"c{i}" for i in range(4_000)]
    found = read(f"file,{','.join(names)}\n1.jpg{',1' * 4_000}\n")
    assert found.table.classes == tuple(names)
    assert found.rows[0].labels == b"\1" * 4_000


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        pytest.param("", {}, " line 1: no header. Expected a line such as: filename,desert,sea", id="an empty file"),
        pytest.param("\n1.jpg,1,0\n", {}, " line 1: no header. Expected a line such", id="a blank first line"),
        pytest.param("file,sea,desert", {}, " has a header and no rows.", id="only a header"),
        pytest.param(
            "1.jpg,1,0\n2.jpg,0,1\n",
            {},
            " line 1: expected column names, not a row. Received: 1.jpg, 1, 0",
            id="no header, but a row",
        ),
        pytest.param(
            "1.JPG,desert\n2.JPG,sea\n",
            {},
            " line 1: expected column names, not a row. Received: 1.JPG, desert",
            id="no header, but a row with names of classes",
        ),
        pytest.param(
            "file\n1.jpg\n",
            {},
            " line 1: no label column beside 'file'. Are the cells separated by commas?",
            id="names only",
        ),
        pytest.param(
            "file:sea:desert\n1.jpg:1:0\n",
            {},
            " line 1: no label column beside 'file:sea:desert'. Are the cells separated by commas?",
            id="an unknown delimiter",
        ),
        pytest.param(
            "file,,desert\n1.jpg,1,0\n",
            {},
            " line 1: column 2 has no name. Name it, choose others "
            "by --label_columns, or skip a line above the header by --skip_lines.",
            id="a column without a name",
        ),
        pytest.param(",,\n1.jpg,1,0\n", {}, " line 1: no header. Expected a line such", id="a header of commas"),
        pytest.param("\n \n\n", {}, " line 1: no header. Expected a line such", id="blank lines"),
        pytest.param("\ufeff", {}, " line 1: no header. Expected a line such", id="a byte order mark alone"),
        pytest.param(
            "file,s\0a,desert\n1.jpg,1,0\n",
            {},
            " line 1 has NUL characters. If it is UTF-16, give --encoding=utf-16-le or utf-16-be",
            id="a NUL in the header",
        ),
        pytest.param(
            "file,sea,desert\n1.jpg,1,0\n".encode("utf-16-be"),
            {},
            " line 1 has NUL characters. If it is UTF-16, give --encoding=utf-16-le or utf-16-be",
            id="UTF-16 without a byte order mark",
        ),
        pytest.param(
            "file,\x1b[2J,desert\n1.jpg,1,0\n",
            {},
            " line 1: the name of a class has control characters: '\\x1b[2J'",
            id="a column that clears the terminal",
        ),
        pytest.param(
            "file,labels\n1.jpg,\x1b[2J\n",
            {},
            ": column 'labels': the name of a class has control characters: '\\x1b[2J'",
            id="a class that clears the terminal",
        ),
        pytest.param(
            "file,sea,desert\n1.jpg,1,0\n",
            {"label_columns": ("sea", "file")},
            " line 1: column 'file' cannot hold two of file names, labels, values and splits.",
            id="a column for two things",
        ),
        pytest.param(
            "file,sea,desert\n1.jpg,1,0\n",
            {"group_column": "place"},
            " line 1: --group_column names a column 'place', but the columns are: file, sea, desert",
            id="no such column of groups",
        ),
        pytest.param(
            "file," + ",".join(f"c{i}" for i in range(50)) + "\n",
            {"filename_column": "x"},
            " line 1: --filename_column names a column 'x', but the columns are: file, "
            + ", ".join(f"c{i}" for i in range(19))
            + " and 31 more",
            id="not all of many columns are listed",
        ),
        pytest.param(
            "file,été,e\u0301te\u0301\n1.jpg,1,0\n",
            {},
            " line 1: several columns have the name 'été'. Give each a name of its own; or, if "
            "the header is the next line: --skip_lines=1",
            id="two columns whose names look the same",
        ),
        pytest.param(
            'file,sea,desert\n"1.jpg,1,0\n' + "2.jpg,1,0\n" * 20_000,
            {},
            " line 2: a cell that starts here cannot be read (field larger than field limit (131072)). Is a quote "
            "never closed?",
            id="a quote that is never closed in a long file",
        ),
        pytest.param(
            "file,sea,desert\n1.jpg,1,0\n" + "x" * 10_000_000 + ",1,0\n",
            {},
            " line 3: a cell that starts here cannot be read (field larger than field limit (131072)). Is a quote "
            "never closed?",
            id="a cell of 10 MB",
        ),
        pytest.param(
            "file,sea\n1.jpg,1\n".encode("utf-16-le"),
            {"encoding": "utf-16"},
            " line 1 is not utf-16: it has no byte order mark. Name its encoding, e.g. --encoding=utf-16-le, "
            "--encoding=utf-16-be or --encoding=utf-8",
            id="UTF-16 of unknown order",
        ),
        pytest.param(
            "file,sea\n1.jpg,1\n".encode("utf-32-be"),
            {"encoding": "U32"},
            " line 1 is not utf-32: it has no byte order mark. Name its encoding, e.g. --encoding=utf-32-le,",
            id="UTF-32 of unknown order",
        ),
        pytest.param(
            "file,sea\n1.jpg,1\n",
            {"encoding": "utf_16"},
            " line 1 is not utf-16: it has no byte order mark.",
            id="UTF-8 that is called UTF-16",
        ),
        pytest.param(
            "file,sea\né.jpg,1\n".encode("latin-1"),
            {"encoding": "cp949"},
            " line 2 is not cp949: byte 0xe9 (illegal multibyte sequence). Name its encoding: "
            "--encoding=cp1252 reads 'é'",
            id="the wrong encoding named",
        ),
        pytest.param(
            "file,sea,desert,sea\n1.jpg,1,0,1\n",
            {},
            " line 1: several columns have the name 'sea'. Give each a name of its own; or, if "
            "the header is the next line: --skip_lines=1",
            id="two columns of one name",
        ),
        pytest.param(
            "file,sea\n1.jpg,1\n",
            {"filename_column": "path"},
            " line 1: --filename_column names a column 'path', but the columns are: file, sea",
            id="no such column of file names",
        ),
        pytest.param(
            "file,sea\n1.jpg,1\n",
            {"label_columns": ("sea", "lake")},
            " line 1: --label_columns names a column 'lake', but the columns are: file, sea",
            id="no such label column",
        ),
        pytest.param(
            "file,sea\n1.jpg,1\n",
            {"split_column": "part"},
            " line 1: --split_column names a column 'part', but the columns are: file, sea",
            id="no such split column",
        ),
        pytest.param(
            "file,sea,desert\n1.jpg,1,0\n",
            {"classes": ("sea", "trees")},
            " line 1: --classes must name the label columns, in any order. Received: sea, trees; "
            "label columns: sea, desert",
            id="other classes than columns",
        ),
        pytest.param(
            "file,labels\n1.jpg,\n2.jpg, \n", {}, ": column 'labels' names no class in any row.", id="no class at all"
        ),
        pytest.param(
            'file,sea,"desert\n1.jpg,1,0\n2.jpg,1,0\n',
            {},
            " line 1: a quoted cell that starts here is never closed.",
            id="a quote in the header that is never closed",
        ),
        pytest.param(
            'file,sea,desert\n"1\n.jpg",1,0\n\n"2.jpg,1,0\n3.jpg,1,0\n',
            {},
            " line 5: a quoted cell that starts here is never closed.",
            id="a quote in a row that is never closed",
        ),
        pytest.param(
            "file,바다,desert\n1.jpg,1,0\n".encode("cp949"),
            {},
            " line 1 is not utf-8: byte 0xb9 (invalid start byte). Name its encoding: --encoding=cp949 reads '바다'",
            id="another encoding in the header",
        ),
        pytest.param(
            ("file,sea,desert\n1.jpg,1,0\n" * 5 + "바다.jpg,1,0\n").encode("cp949"),
            {},
            " line 11 is not utf-8: byte 0xb9 (invalid start byte). Name its encoding:",
            id="another encoding in a row",
        ),
    ],
)
def test_what_is_wrong_is_said(read: ReadCsv, content: str | bytes, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(content, **given)
    assert re.sub(r"^.*labels\.csv", "", str(caught.value)).startswith(message)


def test_an_unclosed_quote_far_down_names_its_line(read: ReadCsv) -> None:
    many = "".join(f'"{i}\n",1,0\n' for i in range(1000))
    with pytest.raises(UserError, match=r"labels\.csv line 2002: a quoted cell that starts here is never closed"):
        read(f'file,sea,desert\n{many}"x,1,0\n{many.replace(chr(34), "")}')


@pytest.mark.parametrize(
    "content", ["file,sea,sky,\n1.jpg,1,0,\n", "file,sea,sky\n1.jpg,1,0,\n", "file,sea,sky,\n1.jpg,1,0\n"]
)
def test_a_delimiter_at_the_end_of_lines_makes_no_column(read: ReadCsv, content: str) -> None:
    found = read(content)
    assert found.table.classes == ("sea", "sky")
    assert [row.labels for row in found.rows] == [b"\1\0"]


def test_names_of_classes_are_composed(read: ReadCsv) -> None:
    found = read("file,labels\n1.jpg,été\n2.jpg,e\u0301te\u0301\n")
    assert (found.table.classes, [row.labels for row in found.rows]) == (("été",), [b"\1", b"\1"])
    again = read("file,e\u0301te\u0301,sea\n1.jpg,1,0\n", classes=("sea", "e\u0301te\u0301"))
    assert again.table.classes == ("sea", "été")


def test_whether_names_or_labels_stand_in_a_column_does_not_hang_on_the_order_of_rows(read: ReadCsv) -> None:
    rows = [f"{i}.jpg,{i % 2 if i < 2_000 else 'sand'}\n" for i in range(5_000)]
    for order in (rows, rows[::-1]):
        with pytest.raises(UserError, match=r"line 1: 'kind' holds '(0|sand)', .*, and labels are 0 and 1"):
            read("file,kind\n" + "".join(order))


@pytest.mark.parametrize("mark", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("asked", ["utf-8", "cp949"])
def test_a_byte_order_mark_says_more_than_the_flag(read: ReadCsv, mark: str, asked: str) -> None:
    found = read("file,바다,사막\n해변.jpg,1,0\n".encode(mark), encoding=asked)
    assert (found.table.classes, found.names) == (("바다", "사막"), ["해변.jpg"])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        pytest.param(_workbook(), "a ZIP archive or a workbook of Excel. Save its sheet as CSV.", id="xlsx"),
        pytest.param(b"\xd0\xcf\x11\xe0\xa1\xb1", "a workbook of an old Excel. Save its sheet as CSV.", id="xls"),
        pytest.param(b"%PDF-1.7\n", "a PDF. Save the table as CSV.", id="PDF"),
        pytest.param(b"<!DOCTYPE html>\n", "a page of HTML or XML. Download the file itself.", id="HTML"),
        pytest.param(b"\xef\xbb\xbf\n<HTML lang", "a page of HTML or XML. Download the file itself.", id="HTML, BOM"),
        pytest.param(b'[\n {"file": "1.jpg"}]', "JSON. Save it as CSV.", id="JSON"),
        pytest.param(b'{"file": "1.jpg"}\n', "JSON. Save it as CSV.", id="JSON lines"),
        pytest.param(b"SQLite format 3\0", "a database of SQLite. Export its table as CSV.", id="SQLite"),
        pytest.param(b"ARROW1\0\0", "an Arrow file (Feather). Save it as Parquet or CSV.", id="Feather"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_what_is_no_csv_is_called_by_its_name(read: ReadCsv, content: bytes, what: str, encoding: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"labels.csv is no CSV but {what}")):
        read(content, encoding=encoding)


@given(st.binary(max_size=400), st.sampled_from(["utf-8", "cp949", "utf-16", "latin-1", "utf-7"]))
def test_any_bytes_are_rows_or_one_sentence(read: ReadCsv, content: bytes, encoding: str) -> None:
    for start in (b"", b"file,sea,desert\n"):
        try:
            read(start + content, encoding=encoding)
        except UserError as error:
            assert len(str(error)) < 5_000


def _parts(folder: Path, *contents: str) -> ConvertOptions:
    for i, content in enumerate(contents):
        (folder / f"{i}.csv").write_text(content, encoding="utf-8")
    return ConvertOptions(csv=f"{folder}/*.csv", images="images", output="data")


def test_several_files_are_one_table(tmp_path: Path) -> None:
    options = _parts(tmp_path, "file,sea,sky\n1.jpg,1,0\n", "sky;file;sea\n0;2.jpg;1\n", "file,sea,sky\n")
    found = tables.read_tables(options)
    assert [one.path for one in found] == [f"{tmp_path}/{i}.csv" for i in range(3)]
    assert {one.classes for one in found} == {("sea", "sky")}
    each = [row for one in found for row in rows.read_rows(options, one)]
    assert [(row.csv, row.line, row.filename, row.labels) for row in each if isinstance(row, Row)] == [
        (f"{tmp_path}/0.csv", 2, "1.jpg", b"\1\0"),
        (f"{tmp_path}/1.csv", 2, "2.jpg", b"\1\0"),
    ]


def test_the_classes_of_several_files_are_those_of_all(tmp_path: Path) -> None:
    found = tables.read_tables(_parts(tmp_path, "file,labels\n1.jpg,sea\n", "labels,file\nsky,2.jpg\n,3.jpg\n"))
    assert [(one.multi_hot, _places(one), one.classes) for one in found] == [
        (False, (1,), ("sea", "sky")),
        (False, (0,), ("sea", "sky")),
    ]


def test_files_with_other_columns_are_both_named(tmp_path: Path) -> None:
    options = _parts(tmp_path, "file,sea\n1.jpg,1\n", "file,sea\n2.jpg,1\n", "file,sky\n3.jpg,1\n")
    with pytest.raises(UserError) as caught:
        tables.read_tables(options)
    assert str(caught.value) == (
        f"{tmp_path}/0.csv and {tmp_path}/2.csv must have the same columns. Only one of them has: sea, sky"
    )


def test_what_is_wrong_in_one_of_several_files_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1\.csv line 1: several columns have the name 'a'"):
        tables.read_tables(_parts(tmp_path, "file,a\n1.jpg,1\n", "file,a,a\n1.jpg,1,1\n"))
    with pytest.raises(UserError, match=r"\*\.csv has a header and no rows\."):
        tables.read_tables(_parts(tmp_path, "file,a\n", "file,a\n"))


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        tables.read_tables(_parts(tmp_path))
    assert str(caught.value) == f"--csv: no file matches {tmp_path}/*.csv"


@pytest.mark.parametrize("encoding", ["cp949", "euc-kr", "utf-16", "utf-16-le", "utf-8-sig"])
def test_reads_the_encoding_that_is_named(read: ReadCsv, encoding: str) -> None:
    found = read("file,바다,사막\n해변.jpg,1,0\n".encode(encoding), encoding=encoding)
    assert (found.table.classes, found.names) == (("바다", "사막"), ["해변.jpg"])


@pytest.mark.parametrize("encoding", ["utf-9", "base64", "", "undefined"])
def test_an_encoding_that_python_does_not_know(read: ReadCsv, encoding: str) -> None:
    with pytest.raises(UserError) as caught:
        read("file,sea\n1.jpg,1\n", encoding=encoding)
    assert str(caught.value) == (
        "--encoding must be the name of an encoding that Python knows, e.g. utf-8, cp949 or latin-1. "
        f"Received: {encoding!r}"
    )


def _decoders() -> list[str]:
    """Returns the names of all encodings of this Python that are of texts."""
    names = []
    for name in sorted({*encodings.aliases.aliases.values(), "idna", "punycode", "utf_8_sig"}):
        with contextlib.suppress(LookupError):
            "".encode(name)
            names.append(name)
    return names


@given(st.sampled_from(_decoders()), st.binary(min_size=1, max_size=40))
@example("punycode", b"w")  # Its decoder names a byte past the end, from Python 3.13 on.
def test_bytes_of_another_encoding_are_no_traceback(encoding: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.csv"
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            options = ConvertOptions(csv=str(path), images="images", output="data", encoding=encoding)
            records.read_header(str(path), options)
            list(records.read_records(str(path), options, columns=[0]))


def test_reads_shift_jis_and_latin_1(read: ReadCsv) -> None:
    assert read("file,sea\n海.jpg,1\n".encode("shift-jis"), encoding="shift-jis").names == ["海.jpg"]
    assert read("file,sea\né.jpg,1\n".encode("latin-1"), encoding="latin-1").names == ["é.jpg"]


@pytest.mark.parametrize("name", ["missing.csv", ".", "pipe"], ids=["no such file", "a folder", "a pipe"])
def test_a_csv_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")  # Opening one waits until someone writes to it.
    options = ConvertOptions(csv=str(tmp_path / name), images="images", output="data")
    with pytest.raises(UserError, match=rf"^Cannot read {tmp_path}"):
        tables.read_tables(options)


def test_names_in_a_message_stay_on_its_line(read: ReadCsv) -> None:
    with pytest.raises(UserError) as caught:
        read('file,"two\nlines",\x1b[2J\n1.jpg,1,0\n', filename_column="name")
    assert str(caught.value).endswith("but the columns are: file, 'two\\nlines', '\\x1b[2J'")


def test_columns_are_where_the_file_has_them_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    options = ConvertOptions(csv=str(path), images="images", output="data", group_column="place")
    path.write_text("file,sea,desert,place\n1.jpg,1,0,here\n")
    (table,) = tables.read_tables(options)
    (before,) = rows.read_rows(options, table)
    path.write_text("desert,place,file,sea\n0,here,1.jpg,1\n")
    (after,) = rows.read_rows(options, table)
    assert after == before


@pytest.mark.parametrize("now", ["file,sea", "file,sea,forest", "file,sea,desert,forest"])
def test_other_columns_when_the_file_is_read_are_one_sentence(tmp_path: Path, now: str) -> None:
    path = tmp_path / "labels.csv"
    options = ConvertOptions(csv=str(path), images="images", output="data")
    path.write_text("file,sea,desert\n1.jpg,1,0\n")
    (table,) = tables.read_tables(options)
    path.write_text(f"{now}\n1.jpg,1,0\n")
    with pytest.raises(UserError) as caught:
        list(rows.read_rows(options, table))
    assert str(caught.value) == (
        f"{path} line 1: the header has changed since the conversion was started. It was file, sea, desert, and is "
        f"{now.replace(',', ', ')}. Start the conversion again."
    )
