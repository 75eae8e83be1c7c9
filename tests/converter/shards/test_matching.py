"""Rows and files of one name: one row gets the file, and what becomes of all others does not hang on their order."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.rejects import Reason, Reject
from converter.shards.matching import Source, match, match_all
from converter.system.storage import File
from converter.table.row import Row

_FILE = File("a.jpg", "images/a.jpg", 10)


def _row(line: int, labels: bytes = b"\1", split: str = "train", group: str = "a.jpg", csv: str = "a.csv") -> Row:
    return Row(csv, line, "a.jpg", labels, split, group)


def test_of_rows_that_agree_the_first_gets_the_file() -> None:
    said = "line 2 says the same; that line was kept"
    assert list(match([_row(9), _row(2), _row(2, csv="b.csv")], [_FILE])) == [
        Reject("a.csv", 9, "a.jpg", Reason.DUPLICATE_NAME, said),
        Reject("b.csv", 2, "a.jpg", Reason.DUPLICATE_NAME, f"a.csv {said}"),
        Source(_row(2), _FILE),
    ]


@pytest.mark.parametrize(
    ("other", "detail"),
    [
        pytest.param(_row(3, labels=b"\0"), "line 3 names this file too, and differs in labels", id="labels"),
        pytest.param(_row(3, split="test"), "line 3 names this file too, and differs in split", id="split"),
        pytest.param(
            _row(3, split="test", group="x"), "line 3 names this file too, and differs in split and group", id="group"
        ),
        pytest.param(
            _row(3, b"\0", csv="b.csv"), "b.csv line 3 names this file too, and differs in labels", id="another file"
        ),
    ],
)
def test_a_conflict_says_where_and_in_what(other: Row, detail: str) -> None:
    first, second = match([_row(2), other], [_FILE])
    assert first == Reject("a.csv", 2, "a.jpg", Reason.CONFLICTING_ROWS, detail)
    assert isinstance(second, Reject)
    assert (second.csv, second.line, second.reason) == (other.csv, 3, Reason.CONFLICTING_ROWS)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param([], Reason.MISSING_FILE, id="no file"),
        pytest.param([_FILE._replace(size=0)], Reason.EMPTY_FILE, id="an empty file"),
        pytest.param([_FILE._replace(size=40_000_000_000)], Reason.TOO_LARGE, id="a file of 40 GB"),
        pytest.param([_FILE._replace(inside=False)], Reason.UNSAFE_PATH, id="a link out of the folder"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_reject(files: list[File], reason: Reason) -> None:
    (reject,) = match([_row(2)], files)
    assert isinstance(reject, Reject)
    assert (reject.line, reject.reason) == (2, reason)


def test_the_limit_of_bytes_is_inclusive() -> None:
    assert list(match([_row(2)], [_FILE], max_bytes=10)) == [Source(_row(2), _FILE)]
    (reject,) = match([_row(2)], [_FILE._replace(size=2_000_000)], max_bytes=1_000_000)
    assert isinstance(reject, Reject)
    assert reject.detail == (
        "the file has 2.0 MB, and --max_image_mb=1 are allowed. Save a smaller image, or raise the limit"
    )


def test_of_two_files_of_one_name_the_rows_name_the_first() -> None:
    other = _FILE._replace(path="images/b.jpg")
    assert list(match([_row(2)], [other, _FILE])) == [other, Source(_row(2), _FILE)]
    assert list(match([], [other, _FILE])) == [_FILE, other]


@given(st.lists(st.builds(_row, st.integers(2, 99), st.sampled_from([b"\0", b"\1"])), max_size=6), st.randoms())
def test_every_row_ends_once_and_the_order_does_not_matter(some: list[Row], random: Random) -> None:
    found = list(match(some, [_FILE]))
    random.shuffle(some)
    assert list(match(some, [_FILE])) == found
    ends = [one.row.line if isinstance(one, Source) else one.line for one in found if not isinstance(one, File)]
    assert sorted(ends) == sorted(row.line for row in some)
    agree = len({row.labels for row in some}) == 1
    assert sum(isinstance(one, Source) for one in found) == agree


def test_of_many_names_each_row_gets_the_file_of_its_own() -> None:
    # Stored in decomposed characters, as some file systems do, and named in composed ones.
    files = [File(name, f"images/{name}", 10) for name in ("c.jpg", "e\u0301.jpg", "a.jpg")]
    rows = [_row(2)._replace(filename="\u00e9.jpg"), _row(3), _row(4)._replace(filename="b.jpg")]
    found = list(match_all(rows, files))
    assert {one.row.line: one.file for one in found if isinstance(one, Source)} == {2: files[1], 3: files[2]}
    assert [one.line for one in found if isinstance(one, Reject)] == [4]
    assert [one for one in found if isinstance(one, File)] == [files[0]]
