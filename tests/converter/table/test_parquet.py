"""A Parquet file gives the rows that a CSV of the same cells gives."""

import datetime
import decimal
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.table import header, parquet, rows, tables
from converter.table.row import Row
from multihot.errors import UserError

Read = Callable[..., tuple[header.Table, list[Row | Reject]]]

_NAMES = ["1.jpg", "2.jpg", "3.jpg"]


def _rows(path: Path, **given: Any) -> tuple[header.Table, list[Row | Reject]]:
    options = ConvertOptions(csv=str(path), images="images", output="data", **given)
    (found,) = tables.read_tables(options)
    return found, list(rows.read_rows(options, found))


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Returns the function that writes columns to a Parquet file, and reads its rows with the options given."""
    path = tmp_path_factory.mktemp("parquet") / "labels.parquet"

    def read_columns(columns: dict[str, Any], **given: Any) -> tuple[header.Table, list[Row | Reject]]:
        pq.write_table(pa.table(columns), path)
        return _rows(path, **given)

    return read_columns


def test_a_null_is_a_blank_cell_and_an_empty_list_is_not(read: Read) -> None:
    lists = [["cat", "dog"], None, []]
    _, found = read({"file": _NAMES, "labels": lists}, unknown_labels=("",))
    assert [row.labels for row in found if isinstance(row, Row)] == [b"\1\1", b"\2\2", b"\0\0"]
    _, found = read({"file": _NAMES, "labels": lists})
    assert [row.labels for row in found if isinstance(row, Row)] == [b"\1\1", b"\0\0", b"\0\0"]


@pytest.mark.parametrize(
    ("one", "zero"),
    [
        pytest.param([1, 1, None], [0, 0, 0], id="numbers and a null"),
        pytest.param([1.0, 1.0, float("nan")], [0.0, 0.0, 0.0], id="floats and NaN"),
        pytest.param([True, True, None], [False, False, False], id="booleans"),
        pytest.param(["1", " TRUE ", "x"], ["0", "0.0", "false"], id="text"),
        pytest.param(pa.array(["1", "1", None]).dictionary_encode(), pa.array([0, 0, 0], pa.uint8()), id="categories"),
        pytest.param([decimal.Decimal(1), decimal.Decimal(1), None], [0, 0, 0], id="decimals"),
    ],
)
def test_labels_of_any_type(read: Read, one: Any, zero: Any) -> None:
    found, (first, second, third) = read({"file": _NAMES, "sea": one, "sky": zero})
    assert (found.multi_hot, found.classes) == (True, ("sea", "sky"))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert isinstance(third, Reject)
    assert (first.line, first.filename, first.labels) == (1, "1.jpg", b"\1\0")
    assert (second.line, second.filename, second.labels) == (2, "2.jpg", b"\1\0")
    assert (third.line, third.filename, third.reason) == (3, "3.jpg", Reason.BAD_LABEL)


def test_lists_of_names_are_taken_as_they_are(read: Read) -> None:
    columns = {"file": _NAMES, "labels": [["sea, with waves", "sky"], [], None]}
    found, labelled = read(columns)
    assert (found.multi_hot, found.classes) == (False, ("sea, with waves", "sky"))
    assert [row.labels for row in labelled if isinstance(row, Row)] == [b"\1\1", b"\0\0", b"\0\0"]


def test_names_in_one_text_are_separated_by_the_delimiter(read: Read) -> None:
    found, labelled = read({"file": _NAMES, "labels": ["sea,sky", None, "sky"]})
    assert found.classes == ("sea", "sky")
    assert [row.labels for row in labelled if isinstance(row, Row)] == [b"\1\1", b"\0\0", b"\0\1"]


def test_splits_and_groups(read: Read) -> None:
    columns = {"file": _NAMES, "sea": [1, 0, 1], "day": [datetime.date(2020, 1, 2)] * 2 + [None]}
    _, grouped = read(columns, group_column="day")
    assert [row.group for row in grouped if isinstance(row, Row)] == ["2020-01-02", "2020-01-02", "3.jpg"]
    _, split = read({"file": _NAMES, "sea": [1, 0, 1], "part": ["a", "b", "a"]}, split_column="part")
    assert [row.split for row in split if isinstance(row, Row)] == ["a", "b", "a"]


def test_an_index_of_pandas_is_no_label(read: Read) -> None:
    found, _ = read({"file": _NAMES, "sea": [1, 0, 1], "sky": [1, 0, 1], "__index_level_0__": [7, 8, 9]})
    assert found.classes == ("sea", "sky")


def test_columns_that_are_not_used_may_hold_anything(read: Read) -> None:
    found, labelled = read(
        {"image": [b"x"] * 3, "file": _NAMES, "sea": [1, 0, 1]}, filename_column="file", label_columns=("sea",)
    )
    assert (found.filename, [one.place for one in found.labels], len(labelled)) == (1, [2], 3)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"file": _NAMES, "sea": [{"a": 1}] * 3},
            "column 'sea' must hold text, numbers or booleans, not struct<a: int64>.",
        ),
        ({"file": _NAMES, "sea": [b"1"] * 3}, "column 'sea' must hold text, numbers or booleans, not binary."),
        ({"file": [b"1"] * 3, "sea": [1] * 3}, "column 'file' must hold text, numbers or booleans, not binary."),
        ({"file": _NAMES, "sea": [[1, 0]] * 3}, "column 'sea' holds lists of numbers, such as ['1', '0']. If there is"),
        ({"file": _NAMES, "a": [[[1]]] * 3, "b": [1] * 3}, "column 'a' must hold text, numbers or booleans, not list<"),
        ({"file": [["x"]] * 3, "a": ["x"] * 3}, "column 'file' must hold text, numbers or booleans, not list<"),
    ],
    ids=["a struct", "bytes", "names as bytes", "vectors", "lists beside another label", "names as lists"],
)
def test_columns_that_cannot_be_used(read: Read, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(columns)
    assert f"labels.parquet: {message}" in str(caught.value)


def test_is_recognised_by_its_first_bytes_whatever_its_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file": _NAMES, "sea": [1, 0, 1]}), tmp_path / "labels.csv")
    assert len(_rows(tmp_path / "labels.csv")[1]) == 3


@pytest.mark.parametrize(
    "content", [b"", b"file,sea\n1.jpg,1\n", b"PAR1" + b"\0" * 40 + b"PAR1"], ids=["empty", "a CSV", "damaged"]
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        _rows(path)
    assert str(caught.value).startswith(f"{path} cannot be read as Parquet: ")
    assert "\n" not in str(caught.value)


@given(st.data())
def test_a_damaged_file_gives_rows_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    pq.write_table(pa.table({"file": [f"{i}.jpg" for i in range(90)], "sea": [1] * 90, "sky": [0] * 90}), path)
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(4, len(content)))])
    try:
        _rows(path)
    except UserError as error:
        assert "\n" not in str(error)


def test_where_a_batch_ends_does_not_matter(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"file": [f"{i}.jpg" for i in range(50)], "sea": [i % 2 for i in range(50)]}
    whole = read(columns)
    monkeypatch.setattr(parquet, "_BATCH_CELLS", 14)
    assert read(columns) == whole
    assert [row.line for row in whole[1]] == list(range(1, 51))


class _ThreadsOfReads(io.BytesIO):
    """A file that notes the threads in which it is read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.threads: set[threading.Thread] = set()

    def read(self, size: int | None = -1, /) -> bytes:
        self.threads.add(threading.current_thread())
        return super().read(size)


def test_no_thread_of_pyarrow_holds_a_file_of_python(tmp_path: Path) -> None:
    """One that holds it while the interpreter ends aborts the process."""
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"file": _NAMES, "sea": [0, 1, 1]}), path)
    file = _ThreadsOfReads(path.read_bytes())
    assert parquet.header(str(path), file) == ("file", "sea")
    assert len(list(parquet.rows(str(path), file, [0, 1], []))) == 3
    assert file.threads == {threading.current_thread()}
