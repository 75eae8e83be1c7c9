"""The group and the split of a row follow from its cells, from its table, and from the name of its image."""

from collections.abc import Callable
from typing import Any

import pytest

from converter.parsing import DEFAULT_SPLITS, parse_names, parse_splits
from converter.rejects import Reason
from converter.splits import assignment
from converter.table import places
from converter.table.row import Row
from multihot.errors import UserError

ReadCsv = Callable[..., Any]


def _rows(read: ReadCsv, content: str, **given: Any) -> list[Row]:
    return [row for row in read(content, **given).rows if isinstance(row, Row)]


def test_images_whose_names_agree_in_the_group_of_a_pattern_are_one_group(read: ReadCsv) -> None:
    content = "file,sea,desert\na_jpg.rf.0123456789abcdef.jpg,1,0\n./a_jpg.rf.fedcba9876543210.jpg,1,0\nb.jpg,0,1\n"
    rows = _rows(read, content, group_pattern=r"(.*)\.rf\.")
    assert [row.group for row in rows] == ["a_jpg", "a_jpg", "b.jpg"]
    splits = parse_splits(DEFAULT_SPLITS)
    assert [row.split for row in rows] == [assignment.split(row.group, splits) for row in rows]


def test_a_blank_group_of_a_pattern_is_none(read: ReadCsv) -> None:
    (row,) = _rows(read, "file,sea,desert\n_1.jpg,1,0\n", group_pattern="^([a-z]*)_|(x)")
    assert row.group == "_1.jpg"


def test_where_a_name_may_be_written_otherwise_its_file_decides(read: ReadCsv) -> None:
    (row,) = _rows(read, "file,sea,desert\nA.JPG,1,0\n", filename_match=("ignore_case",))
    assert (row.group, row.split) == ("", "")


def test_cells_mean_splits(read: ReadCsv) -> None:
    names = {"0": "train", "1": "validation", "test set": "test"}
    content = "file,sea,part\n1.jpg,1,0\n2.jpg,0,1.0\n3.jpg,0, test set \n4.jpg,0,2\n5.jpg,0,\n"
    found = read(content, split_column="part", split_names=names, label_columns=("sea",))
    assert [row.split for row in found.rows if isinstance(row, Row)] == ["train", "validation", "test"]
    assert [(reject.line, reject.reason, reject.detail) for reject in found.rejects] == [
        (5, Reason.BAD_SPLIT, "column 'part': must be one of 0, 1, test set (--split_names). Received: '2'"),
        (6, Reason.BAD_SPLIT, "column 'part': must be one of 0, 1, test set (--split_names). Received: ''"),
    ]


@pytest.mark.parametrize("blank", ["''", '""', ""])
def test_a_blank_cell_may_mean_a_split(read: ReadCsv, blank: str) -> None:
    names = parse_names(f"test=validation,{blank}=train")
    found = read("file,sea,part\n1.jpg,1,test\n2.jpg,0, \n3.jpg,0,x\n", split_column="part", split_names=names)
    assert [row.split for row in found.rows if isinstance(row, Row)] == ["validation", "train"]
    assert [reject.detail for reject in found.rejects] == [
        "column 'part': must be one of test, '' (--split_names). Received: 'x'"
    ]


@pytest.mark.parametrize(
    ("cells", "seen", "names"),
    [
        (["0", "0", "2", "1"], "0, 1, 2", "0=train,1=validation,2=test"),
        (["0", "1", "2", "3", "4"], "0, 1, 2, 3, 4", "0=train,1=validation,2=test,3=train,4=train"),
        (["1.0", "", "0.0"], "0, 1", "0=train,1=validation"),
        (["True", "False"], "True, False", "True=train,False=validation"),
    ],
)
def test_cells_of_which_none_is_a_name_are_one_sentence(cells: list[str], seen: str, names: str) -> None:
    with pytest.raises(UserError) as caught:
        places.check_split_cells("a.csv", "part", cells)
    assert str(caught.value) == (
        f"a.csv: column 'part' must name the split of each row, and holds {seen}. Say which split each of them means, "
        f"as in --split_names={names}"
    )


@pytest.mark.parametrize("cells", [["0", "train"], ["val", "valid", "TRAIN"], ["", " "], []])
def test_cells_with_a_name_are_left_to_the_rows(cells: list[str]) -> None:
    places.check_split_cells("a.csv", "part", cells)
