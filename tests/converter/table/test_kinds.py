"""The kind of a label column follows from its different cells, whatever their number; or one sentence says why not."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.table.labels import Kind, canonical, is_number, listed
from converter.table.tables import read_tables
from multihot.errors import UserError

ReadCsv = Callable[..., Any]


def _table(cells: list[str]) -> str:
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    return "file,labels\n" + "".join(f"{i}.jpg,{cell}\n" for i, cell in enumerate(quoted))


@pytest.mark.parametrize(
    ("cells", "classes", "labels"),
    [
        pytest.param(["['cat', 'dog']", "['red car']", "[]"], ("cat", "dog", "red car"), "110 001 000", id="Python"),
        pytest.param(['["cat", "dog, brown"]', '["cat"]'], ("cat", "dog, brown"), "11 10", id="lists of JSON"),
        pytest.param(['{"class": "cat"}', "{}", '{"class":"dog"}'], ("cat", "dog"), "10 00 01", id="attributes"),
        pytest.param(
            ['{"choices": ["cat", "dog"]}', "cat", "a, b"], ("a, b", "cat", "dog"), "011 010 100", id="choices"
        ),
        pytest.param(["{'cat', 'dog'}", "('cat',)"], ("cat", "dog"), "11 10", id="sets and tuples"),
        pytest.param(["cat,dog", "dog", "cat"], ("cat", "dog"), "11 01 10", id="commas"),
        pytest.param(
            ["['cat' 'red car']", "['cat'\n 'dog']", "['dog']"], ("cat", "dog", "red car"), "101 110 010", id="numpy"
        ),
        pytest.param(
            ['{"cat": true, "dog": false}', "{'cat': 1, 'dog': 1}"], ("cat", "dog"), "10 11", id="true and false"
        ),
        pytest.param(
            ['{"kind": {"cat": true, "dog": true}}', "{}"], ("cat", "dog"), "11 00", id="boxes that are ticked"
        ),
        pytest.param(["[None]", "['cat', None]", '[null, "dog"]'], ("cat", "dog"), "00 10 01", id="None in lists"),
        pytest.param(
            ['[{"x": 1.5, "labels": ["cat"]}, {"x": 2, "labels": ["dog"]}]', '[{"x": 3, "labels": ["cat"]}]'],
            ("cat", "dog"),
            "11 10",
            id="regions",
        ),
        pytest.param(["frozenset({'cat', 'dog'})", "set()"], ("cat", "dog"), "11 00", id="sets by their names"),
        pytest.param(["array(['cat', 'dog'], dtype=object)", "array(['cat'])"], ("cat", "dog"), "11 10", id="arrays"),
        pytest.param(
            ['[{"name": "cat"}, {"name": "dog"}]', '[{"name": "cat"}]'], ("cat", "dog"), "11 10", id="objects"
        ),
        pytest.param(
            ['"cat,dog"', '"dog"', "cat (big)"], ("cat", "cat (big)", "dog"), "101 001 010", id="quotes twice"
        ),
        pytest.param(["'cat', 'dog'", "'cat'", '"red car"'], ("cat", "dog", "red car"), "110 100 001", id="quotes"),
        pytest.param(["sand", "red car", "t-shirt", ""], ("red car", "sand", "t-shirt"), "010 100 001 000", id="names"),
    ],
)
def test_cells_that_are_certain_are_read(
    read: ReadCsv, cells: list[str], classes: tuple[str, ...], labels: str
) -> None:
    found = read(_table(cells))
    assert found.table.classes == classes
    assert ["".join(map(str, row.labels)) for row in found.rows] == labels.split()


@pytest.mark.parametrize(
    ("cells", "flag"),
    [
        pytest.param(["haze road", "road", "haze", "clear"], "--label_delimiter=' '", id="blanks"),
        pytest.param(["cat|dog", "bird"], "--label_delimiter='|'", id="bars"),
        pytest.param(["cat; dog", "bird"], "--label_delimiter=';'", id="semicolons"),
        pytest.param(["cat\ndog", "bird"], "--label_delimiter=$'\\n'", id="line breaks"),
        pytest.param(["cat/dog", "cat", "dog"], "--label_delimiter=/", id="slashes"),
        pytest.param(["red, car", "cat", "dog"], "--label_delimiter=';'", id="a comma inside a name"),
        pytest.param(["0", "1", "2"], "--classes=0,1,2", id="numbers of classes"),
        pytest.param(["7", "12"], "--classes=7,12", id="numbers without 0 and 1"),
        pytest.param(["1", "-1"], "--negative_labels=0,false,-1", id="1 and -1"),
        pytest.param(["1", "0", "-1"], "--unknown_labels=-1", id="0, 1 and -1"),
        pytest.param(["0.9", "0.25"], "threshold", id="probabilities"),
        pytest.param(["1", "0", "0.25"], "threshold", id="probabilities and labels"),
        pytest.param(["010", "110"], "each digit is a class", id="vectors without commas"),
        pytest.param(["[0, 1]", "[1, 1]"], "--classes=name1,...,name2", id="vectors"),
        pytest.param(["[0 1]", "[1. 1.]"], "--classes=name1,...,name2", id="vectors of numpy"),
        pytest.param(["[cat, dog]", "cat"], "no list of names as Python or JSON writes it", id="a list without quotes"),
        pytest.param(["cat", "nan"], "--unknown_labels=nan", id="nan"),
        pytest.param(["cat", "-"], "--unknown_labels=-", id="a dash"),
        pytest.param(["cat", "None"], "--negative_labels=0,false,None", id="None"),
        pytest.param(["cat", "N/A"], "--unknown_labels=N/A", id="N/A"),
        pytest.param(["cat", "-1"], "--unknown_labels=-1", id="-1 among names"),
        pytest.param(["['cat', 'nan']", "['dog']"], "--negative_labels=0,false,nan", id="nan in lists"),
        pytest.param(["cat,None", "cat,dog", "dog"], "--negative_labels=0,false,None", id="None behind a comma"),
        pytest.param(["cat@dog", "cat", "dog"], "--label_delimiter=@", id="another character"),
        pytest.param(["猫、狗", "鸟"], "--label_delimiter='、'", id="an ideographic comma"),
        pytest.param(["cat + dog", "cat", "dog"], "--label_delimiter=+", id="a plus between blanks"),
        pytest.param(["cat - dog", "cat", "dog"], "--label_delimiter=-", id="a dash between blanks"),
        pytest.param(["cat and dog", "cat", "dog"], "write | in its place", id="a word between names"),
        pytest.param(["0 16", "1", "0"], "--label_delimiter=' '", id="numbers of classes and blanks"),
        pytest.param(["0|16", "1", "2"], "--label_delimiter='|'", id="numbers of classes and bars"),
        pytest.param(["[0, 3]", "[2]"], "--classes=0,2,3", id="lists of numbers of classes"),
        pytest.param(["0,1,1", "1,0,0"], "each digit is a class", id="vectors without brackets"),
        pytest.param(["cat:0.5", "dog:0.75"], "threshold", id="names with probabilities"),
        pytest.param(["cat (2), dog (1)", "cat (1)"], "threshold", id="names with numbers"),
        pytest.param(["1.5 -2.5", "0.5 3.5"], "threshold", id="points"),
        pytest.param(["tensor([0, 1])", "tensor([1, 1])"], "--classes=name1,...,name2", id="vectors of PyTorch"),
        pytest.param(["a_1.jpg", "a_2.png"], "is it a column of classes?", id="names of files"),
        pytest.param(["https://x.org/1", "s3://x/2"], "is it a column of classes?", id="addresses"),
        pytest.param(["12:07", "9:30"], "is it a column of classes?", id="times"),
        pytest.param(["<tag>cat</tag>", "<tag>dog</tag>"], "no list of names", id="tags of XML"),
        pytest.param(["50%", "100%"], "threshold", id="percentages"),
        pytest.param(["2021-01-31", "2021-02-01"], "is it a column of classes?", id="dates"),
        pytest.param(["yes", "no"], "--positive_labels=1,true,yes --negative_labels=0,false,no", id="yes and no"),
        pytest.param(["x", ""], "--positive_labels=1,true,x", id="x and blank"),
        pytest.param(["positive", "negative"], "name the classes: --classes=negative,positive", id="results of a test"),
        pytest.param(
            ["['cat' 'dog', 'bird']"], "no list of names as Python or JSON writes it", id="a comma is missing"
        ),
    ],
)
@pytest.mark.parametrize("order", [1, -1], ids=["forward", "backward"])
@pytest.mark.parametrize("rare", [False, True], ids=["often", "rarely"])
def test_all_else_is_one_sentence_with_the_flag(
    read: ReadCsv, cells: list[str], flag: str, order: int, rare: bool
) -> None:
    rows = [*([cells[0]] * 300), *cells[1:]] if rare else cells * 20
    with pytest.raises(UserError) as caught:
        read(_table(rows[::order]))
    message = str(caught.value)
    assert flag in message
    assert "labels.csv: column 'labels' holds " in message
    assert "\n" not in message


@given(st.lists(st.sampled_from(["cat", "dog", "0", "1", "2", "-1", "nan", "", "a b", "[]", "0.5"]), min_size=1))
def test_how_often_a_cell_occurs_does_not_matter(read: ReadCsv, cells: list[str]) -> None:
    def answer(rows: list[str]) -> Any:
        try:
            table = read(_table(rows), max_rejects=len(rows)).table
        except UserError as error:
            return str(error)
        return table.classes, [column.kind for column in table.labels]

    once = sorted({*cells})
    assert answer(once) == answer([*cells, *once[:1] * 50])


@pytest.mark.parametrize(
    ("given", "cells", "labels"),
    [
        pytest.param({"negative_labels": ("-1",)}, "1,-1", "1 0", id="CelebA"),
        pytest.param({"negative_labels": ("0", ""), "unknown_labels": ("-1",)}, "1,,-1.0,0.0", "1 0 2 0", id="X-ray"),
        pytest.param({"positive_labels": ("x",), "negative_labels": ("",)}, "x,,X", "1 0 1", id="Excel"),
        pytest.param({"positive_labels": ("yes",), "negative_labels": ("no",)}, "YES,no, No ", "1 0 0", id="words"),
        pytest.param({"negative_labels": ("-1",), "unknown_labels": ("0",)}, "1,-1,0", "1 0 2", id="VOC"),
    ],
)
def test_flags_say_what_cells_mean(read: ReadCsv, given: dict[str, Any], cells: str, labels: str) -> None:
    rows = "".join(f"{i}.jpg,{cell},{cell}\n" for i, cell in enumerate(cells.split(",")))
    one_column = "".join(row.rpartition(",")[0] + "\n" for row in rows.splitlines())
    for text in ("file,sea,sky\n" + rows, "file,sea\n" + one_column):
        found = read(text, **given)
        assert [set(row.labels) for row in found.rows] == [{int(label)} for label in labels.split()]


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"negative_labels": ("0", ""), "unknown_labels": ("-1", " ")}, "--negative_labels and --unknown_labels"),
        ({"positive_labels": ("YES",), "unknown_labels": ("yes",)}, "--positive_labels and --unknown_labels"),
        ({"positive_labels": ("1.0",), "negative_labels": ("0", "1")}, "--negative_labels and --positive_labels"),
    ],
)
def test_two_flags_that_give_a_cell_two_meanings_are_refused(read: ReadCsv, given: dict[str, Any], flags: str) -> None:
    with pytest.raises(UserError, match=f"{flags} both have '.*': give each cell one meaning"):
        read("file,sea,sky\n1.jpg,1,0\n", **given)


def test_a_flag_may_give_a_cell_of_a_default_another_meaning(read: ReadCsv) -> None:
    assert read("file,sea,sky\n1.jpg,1,0\n", unknown_labels=("0",)).rows[0].labels == b"\1\2"


def test_cells_of_names_that_mean_none_or_unknown(read: ReadCsv) -> None:
    found = read(_table(["cat", "none", "nan", "cat,dog"]), negative_labels=("none",), unknown_labels=("nan",))
    assert found.table.classes == ("cat", "dog")
    assert [row.labels for row in found.rows] == [b"\1\0", b"\0\0", b"\2\2", b"\1\1"]


def test_a_name_that_means_none_may_stand_beside_others(read: ReadCsv) -> None:
    found = read(_table(["['cat', 'nan']", "['nan']", "['dog']"]), negative_labels=("nan",))
    assert found.table.classes == ("cat", "dog")
    assert [row.labels for row in found.rows] == [b"\1\0", b"\0\0", b"\0\1"]


@pytest.mark.parametrize("given", [{"label_delimiter": " "}, {"classes": ("0", "1", "16"), "label_delimiter": " "}])
def test_numbers_of_classes_with_a_delimiter(read: ReadCsv, given: dict[str, Any]) -> None:
    found = read(_table(["0 16", "1", "0"]), **given)
    assert found.table.classes == ("0", "1", "16")
    assert [row.labels for row in found.rows] == [b"\1\0\1", b"\0\1\0", b"\1\0\0"]


def test_a_delimiter_does_not_turn_digits_into_classes(read: ReadCsv) -> None:
    with pytest.raises(UserError, match="each digit is a class"):
        read(_table(["0 1 1", "1 0 0"]), label_delimiter=" ")


def test_columns_of_yes_and_no_beside_columns_of_names(read: ReadCsv) -> None:
    text = "file,caste,pollen\n1.jpg,worker,y\n2.jpg,drone,n\n"
    with pytest.raises(UserError, match="--positive_labels=1,true,y --negative_labels=0,false,n"):
        read(text, label_columns=("caste", "pollen"))
    found = read(text, label_columns=("caste", "pollen"), positive_labels=("y",), negative_labels=("n",))
    assert found.table.classes == ("caste=drone", "caste=worker", "pollen")


def test_vectors_are_read_with_the_names_of_classes(read: ReadCsv) -> None:
    found = read(_table(["[0, 1, 0]", "[1,1,0]", "[0. 0. 1.]", "[0, 2, 0]"]), classes=("a", "b", "c"), max_rejects=1)
    assert [row.labels for row in found.rows if not isinstance(row, Reject)] == [b"\0\1\0", b"\1\1\0", b"\0\0\1"]
    assert found.rejects[0].reason == Reason.BAD_LABEL


@pytest.mark.parametrize("merge", [False, True])
def test_several_columns_of_names(read: ReadCsv, merge: bool) -> None:
    text = "file,first,second,note\n1.jpg,fire,water,x\n2.jpg,water,,y\n3.jpg,fire,fire,z\n"
    found = read(text, label_columns=("first", "second"), merge_columns=merge)
    if merge:
        assert found.table.classes == ("fire", "water")
        assert [row.labels for row in found.rows] == [b"\1\1", b"\0\1", b"\1\0"]
    else:
        assert found.table.classes == ("first=fire", "first=water", "second=fire", "second=water")
        assert [row.labels for row in found.rows] == [b"\1\0\0\1", b"\0\1\0\0", b"\1\0\1\0"]


@pytest.mark.parametrize("columns", [("sea", "tags"), ("tags", "sea")])
def test_the_order_of_merged_columns_decides_no_label(read: ReadCsv, columns: tuple[str, ...]) -> None:
    text = "file,sea,tags\n1.jpg,0,sea\n2.jpg,1,\n3.jpg,0,?\n4.jpg,?,sun\n5.jpg,0,sun\n"
    found = read(text, label_columns=columns, merge_columns=True, unknown_labels=("?",), classes=("sea", "sun"))
    assert [row.labels for row in found.rows] == [b"\1\0", b"\1\0", b"\2\2", b"\2\1", b"\0\1"]


def test_ten_thousand_given_classes_take_no_longer_than_found_ones(read: ReadCsv) -> None:
    names = tuple(f"class {i}" for i in range(10_000))
    cells = [*names, *(f"{names[i]},{names[(7 * i + 1) % 10_000]}" for i in range(10_000))]
    seconds = []
    for classes in ((), names):
        begin = time.process_time()
        found = read(_table(cells), classes=classes)
        seconds.append(time.process_time() - begin)
        assert sum(found.rows[10_003].labels) == 2
    # It took ten times as long, when each cell was compared with a list of all classes.
    assert seconds[1] < 4 * seconds[0]


def test_columns_of_names_beside_columns_of_0_and_1(read: ReadCsv) -> None:
    text = "file,sea,weather,id\n1.jpg,1,rain,7\n2.jpg,0,sun,8\n"
    found = read(text, label_columns=("sea", "weather"))
    assert [column.kind for column in found.table.labels] == [Kind.BINARY, Kind.NAMES]
    assert found.table.classes == ("sea", "weather=rain", "weather=sun")
    assert [row.labels for row in found.rows] == [b"\1\1\0", b"\0\0\1"]
    again = read(text, label_columns=("sea", "weather"), classes=("weather=sun", "sea", "weather=rain"))
    assert [row.labels for row in again.rows] == [b"\0\1\1", b"\1\0\0"]


def test_a_value_column_says_whether_a_name_holds(read: ReadCsv) -> None:
    text = "id,source,label,confidence\na.jpg,x,cat,1\na.jpg,x,dog,0\nb.jpg,x,dog,1\nb.jpg,x,cat,2\n"
    found = read(text, label_columns=("label",), value_column="confidence", max_rejects=1)
    assert [row.labels for row in found.rows if not isinstance(row, Reject)] == [b"\1\0", b"\0\0", b"\0\1"]
    assert found.rejects[0].detail == "column 'confidence': must be 0 or 1. Received: '2'"


def test_a_column_that_may_say_whether_a_name_holds_is_named(read: ReadCsv) -> None:
    text = "id,label,Confidence,IsOccluded\na.jpg,cat,1,0\na.jpg,dog,0,1\nb.jpg,dog,1,0\n"
    given: dict[str, Any] = {"label_columns": ("label",), "merge_rows": True}
    with pytest.raises(UserError, match=r"--value_column=Confidence\. If not: --ignore_columns=Confidence"):
        read(text, **given)
    assert read(text, **given, value_column="Confidence").rows
    assert read(text, **given, ignore_columns=("Confidence",)).rows


def test_a_column_of_yes_and_no_may_say_whether_a_name_holds(read: ReadCsv) -> None:
    text = "id,attribute,answer\na.jpg,cat,yes\na.jpg,dog,no\n"
    flags = "--value_column=answer --positive_labels=1,true,yes --negative_labels=0,false,no. If not"
    with pytest.raises(UserError, match=flags):
        read(text, label_columns=("attribute",), merge_rows=True)


def test_of_two_headers_the_first_may_be_skipped(read: ReadCsv) -> None:
    text = ",weather,weather\nfile,rain,sun\n1.jpg,0,1\n"
    with pytest.raises(UserError, match="if the header is the next line: --skip_lines=1"):
        read(text)
    assert read(text, skip_lines=1).table.classes == ("rain", "sun")


def test_a_column_of_probabilities_beside_names_is_named(read: ReadCsv) -> None:
    text = "id,label,confidence\na.jpg,cat,0.9\nb.jpg,dog,0.25\n"
    with pytest.raises(UserError, match=r"how likely the class in a row is.*--ignore_columns=confidence"):
        read(text, label_columns=("label",))
    assert read(text, label_columns=("label",), ignore_columns=("confidence",)).rows


@pytest.mark.parametrize(
    ("header", "row", "column"),
    [
        ("id,left,file,sea", "{n},a.jpg,{n}.jpg,1", "file (or 'left')"),
        ("lesion_id,image_id,dx", "H_{n},I_{n},nv", "image_id"),
        ("date,image,sea", "2021-01-01,I_{n},0", "image"),
    ],
)
def test_the_column_of_file_names_is_named(read: ReadCsv, header: str, row: str, column: str) -> None:
    text = "".join(f"{line}\n" for line in (header, *(row.format(n=n) for n in range(20))))
    with pytest.raises(UserError) as caught:
        read(text)
    assert f"--filename_column={column}" in str(caught.value)


def test_a_first_column_that_names_files_is_that_of_the_file_names(tmp_path: Path) -> None:
    (tmp_path / "7.jpg").touch()
    (tmp_path / "cat").mkdir()
    table = tmp_path / "labels.csv"
    options = ConvertOptions(csv=str(table), images=str(tmp_path), output="data", label_columns=("genre",))
    table.write_text("id,poster,genre\n7,x_1.jpg,a\n8,x_2.jpg,b\n")
    assert read_tables(options)[0].filename == 0
    table.write_text("kind,file,genre\ncat,x_1.jpg,a\ncat,x_2.jpg,b\n")
    with pytest.raises(UserError, match="--filename_column=file"):
        read_tables(options)


def test_numbers_of_rows_are_no_names_of_files_beside_names_of_files(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.jpg").touch()
    table = tmp_path / "labels.csv"
    # The label of 2.jpg must not become that of 1.jpg by way of --ignore_columns=file --filename_suffix=.jpg.
    table.write_text("id,file,sea,sun\n1,2.jpg,1,0\n2,1.jpg,0,1\n")
    with pytest.raises(UserError, match=r"first column, 'id', holds .*: --filename_column=file$"):
        read_tables(ConvertOptions(csv=str(table), images=str(tmp_path), output="data"))


@pytest.mark.parametrize("ending", ["", ".jpg", ".png", ".jpeg"])
def test_a_column_of_keys_that_name_files_is_named(tmp_path: Path, ending: str) -> None:
    keys = [f"1F60{number}" for number in range(4)]
    for key in keys[1:]:  # The first image is missing.
        (tmp_path / f"{key}{ending}").touch()
    table = tmp_path / "labels.csv"
    table.write_text("emoji,note,hexcode,group\n" + "".join(f"{key[-1]}!,n{key},{key},face\n" for key in keys))
    with pytest.raises(UserError) as caught:
        read_tables(ConvertOptions(csv=str(table), images=str(tmp_path), output="data", label_columns=("group",)))
    flags = "--filename_column=hexcode" + (f" --filename_suffix={ending}" if ending else "")
    assert str(caught.value).endswith(f". Name the column with the file names: {flags}")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("link/{}/large", {"filename_pattern": r"link/(\d+)", "filename_suffix": ".jpg"}),
        ("a/b/{}", {"filename_match": ("basename", "stem")}),
        ("x{}", {"filename_suffix": ".jpg", "relative_to_csv": True}),
    ],
)
def test_keys_are_no_names_of_files_where_flags_make_names_of_the_first_column(
    tmp_path: Path, name: str, given: dict[str, Any]
) -> None:
    (tmp_path / "1.jpg").touch()
    table = tmp_path / "labels.csv"
    table.write_text("link,key,sea\n" + "".join(f"{name.format(key)},{key},0\n" for key in range(1, 5)))
    options = ConvertOptions(csv=str(table), images=str(tmp_path), output="data", label_columns=("sea",), **given)
    assert read_tables(options)[0].filename == 0


def test_all_cells_that_may_be_no_names_are_named_at_once(read: ReadCsv) -> None:
    text = "file,tags\n1.jpg,'cat,-'\n2.jpg,'dog,?'\n3.jpg,cat\n".replace("'", '"')
    with pytest.raises(UserError, match=r"holds '-', '\?' among the names .* --negative_labels='0,false,-,\?'\. "):
        read(text, label_delimiter=",")
    assert read(text, label_delimiter=",", negative_labels=("0", "false", "-", "?")).table.classes == ("cat", "dog")


def test_the_message_about_a_missing_header_shows_one(read: ReadCsv) -> None:
    for row, header in (("a.jpg,cat", "filename,label"), ("a.jpg,1,0", "filename,class1,class2")):
        with pytest.raises(UserError, match=f"write a line above it, such as: {header}$"):
            read(f"{row}\n{row}\n")


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["{}", " {} ", "{:e}", "{:.3f}"]))
def test_numbers_are_compared_in_any_spelling(number: float, spelling: str) -> None:
    text = spelling.format(number)
    assert is_number(text)
    assert float(canonical(text)) == float(text)
    assert canonical(text.replace(".", ",")) == canonical(text)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=5))
def test_lists_of_python_are_read_back(items: list[str]) -> None:
    if items:
        assert listed(repr(items)) == tuple(items)


@pytest.mark.parametrize(
    "cell",
    ["[" * 5000 + "]" * 5000, "[" + "1," * 60_000 + "]", "{'a': {'b': 1}}", "[[1], [2]]", "()x", "[['a'], ['b']]"],
)
def test_cells_that_are_no_flat_lists(cell: str) -> None:
    assert listed(cell) is None


@pytest.mark.parametrize(
    "text",
    [
        "0,cat\n1,dog\n2,cat\n",
        "a.jfif,cat\nb.jfif,dog\n",
        "a,1,0\nb,0,1\n",
        "a.jp2,1,1,0\nb.jp2,1,0,0\n",
        "a,-1\nb,1\n",
    ],
)
def test_a_missing_header_loses_no_image(read: ReadCsv, text: str) -> None:
    with pytest.raises(UserError, match="line 1: expected column names, not a row"):
        read(text)


@pytest.mark.parametrize("is_folder", [True, False], ids=["a folder", "a file"])
def test_only_a_file_makes_a_header_a_row(tmp_path: Path, is_folder: bool) -> None:
    (tmp_path / "photo").mkdir() if is_folder else (tmp_path / "photo").touch()
    csv = tmp_path / "labels.csv"
    csv.write_text("photo,sea\nphoto/1.jpg,1\n")
    options = ConvertOptions(csv=str(csv), images=str(tmp_path), output="data")
    if is_folder:
        (table,) = read_tables(options)
        assert table.classes == ("sea",)
    else:
        with pytest.raises(UserError, match="line 1: expected column names, not a row"):
            read_tables(options)


def test_thousand_columns_that_do_not_fit_are_one_line(read: ReadCsv) -> None:
    names = ",".join(f"class_{i}" for i in range(1000))
    rows = "".join(f"{i}.jpg,{','.join(itertools.repeat('-1', 1000))}\n" for i in range(10))
    with pytest.raises(UserError) as caught:
        read(f"file,{names}\n{rows}")
    assert str(caught.value).endswith(
        "columns 'class_0', 'class_1', 'class_2' and 997 more hold '-1'. Say what '-1' means: "
        "--negative_labels=0,false,-1 (the image does not have the label) or --unknown_labels=-1 (nobody knows)."
    )


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ("date,8/28/18 kind,cat|dog note,7|8|9", "--label_columns=kind"),
        ("sea,0|1 kind,cat|dog", "--label_columns=sea (and columns of names of classes, such as 'kind')"),
        ("sea,0|1 date,2021-01-01|2021-01-02", "--ignore_columns=date, or name the label columns: --label_columns=sea"),
        ("is_valid,0|1 tags,cat|dog", "0 and 1. If one of the columns holds names of classes: --label_columns=tags"),
        ("xmin,1|0 class,cat|dog ymin,4|5", "If one of the columns holds names of classes: --label_columns=class"),
        ("sea,0|1 label,cat|dog", "If 'label' holds names of classes: --label_columns=label. Leave out"),
        (
            "sea,0|1 sky,0|1 day,0|1 tags,cat|dog",
            "--ignore_columns=tags, or name the label columns: --label_columns=sea",
        ),
        ("type_1,fire|water type_2,water|fire", "--label_columns=type_1,type_2, with --merge_columns if all hold"),
        ("ClassId,3|4 pixels,8_9|10_12|11_13", "If one of the columns holds names of classes: --label_columns=ClassId"),
        ("sea,0|1|9 sky,0|1", "Leave out what is no label: --ignore_columns=sea"),
        ("sea,0|1|9 sky,0|2", "--negative_labels=0,false,2,9 (it does not), or --unknown_labels=2,9 (nobody knows)."),
        ("width,29|30 class_id,14|33", "If one of the columns holds names of classes: --label_columns=class_id"),
        ("box,{'x':1}|{'x':2}|[12] class,cat|dog|bird|cow", "--label_columns=class"),
        ("sea,few|many sky,many|few", "--label_columns=sea,sky --merge_columns. Or, if they say yes or no"),
        ("sea,✔|✘ sky,✔|✘", "Say what they mean: --positive_labels='1,true,✔' --negative_labels='0,false,✘'"),
        ("sea,1|#REF! sky,1|#REF!", "--unknown_labels='#REF!'"),
        ("sea,50%|60% sky,0%|1%", "Write 1 where a number reaches the threshold"),
        ("sea,wahr|falsch sky,wahr|falsch", "--positive_labels=1,true,wahr --negative_labels=0,false,falsch"),
        ("sea,0|1 Usage,Training|PublicTest", "If 'Usage' says which split a row belongs to: --split_column=Usage"),
        ("sea,0|1 part,train|val", "If 'part' says which split a row belongs to: --split_column=part"),
    ],
)
def test_the_message_about_other_columns_names_the_likeliest_one(read: ReadCsv, columns: str, hint: str) -> None:
    cells = {name: itertools.cycle(values.split("|")) for name, values in (one.split(",") for one in columns.split())}
    rows = "".join(f"{i}.jpg,{','.join(map(next, cells.values()))}\n" for i in range(20))
    with pytest.raises(UserError) as caught:
        read(f"file,{','.join(cells)}\n{rows}")
    assert hint in str(caught.value)


def test_a_row_with_too_many_cells_does_not_decide_what_columns_are(read: ReadCsv) -> None:
    rows = "".join(f"{i}.jpg,1,0\n" for i in range(9))
    found = read(f"file,sea,sky\n{rows}9.jpg,sea, with waves,1,0\n", max_rejects=1)
    assert [reject.reason for reject in found.rejects] == [Reason.BAD_ROW]


def test_a_column_of_keys_is_no_column_of_classes(read: ReadCsv) -> None:
    text = "file,code\n" + "".join(f"{i}.jpg,{i:04x}abc{i}\n" for i in range(40))
    with pytest.raises(UserError, match=r"holds another text in each of 40 rows, such as '0000abc0', .*--label_col"):
        read(text)
    assert len(read(text, label_columns=("code",)).table.classes) == 40
    assert len(read(text + "40.jpg,0000abc0\n").table.classes) == 40
    assert len(read(text[: text.index("29.jpg")]).table.classes) == 29
