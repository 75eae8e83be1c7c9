"""Rows and files of one name: one row gets the file, and what becomes of all others does not hang on their order."""

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.shards.matching import Matcher, Merged, Source
from converter.table.row import Row
from multihot.storage import File

_FILE = File("a.jpg", "images/a.jpg", 10)


def _row(line: int, labels: bytes = b"\1", split: str = "train", group: str = "a.jpg", csv: str = "a.csv") -> Row:
    return Row(csv, line, "a.jpg", labels, split, group)


def _matcher(**given: Any) -> Matcher:
    return Matcher(ConvertOptions(csv="a.csv", images="images", output="out", **given))


def match(rows: Iterable[Row | Reject], files: Iterable[File], **given: Any) -> Iterator[Any]:
    """Returns the results of a matcher with these options."""
    return _matcher(**given).match(rows, files)


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
    assert list(match([_row(2)], [_FILE], max_image_bytes=10)) == [Source(_row(2), _FILE)]
    (reject,) = match([_row(2)], [_FILE._replace(size=2_000_000)], max_image_bytes=1_000_000)
    assert isinstance(reject, Reject)
    assert reject.detail == (
        "the file has 2.0 MB, and --max_image_mb=1 are allowed. Save a smaller image, or raise the limit"
    )


def test_a_name_that_may_mean_two_files_of_composed_and_decomposed_characters_is_rejected() -> None:
    files = [File(name, f"images/{name}", 10) for name in ("e\u0301.jpg", "\u00e9.jpg")]
    rows = [_row(line)._replace(filename="\u00e9.jpg") for line in (2, 3)]
    found = [one for one in match(rows, files) if isinstance(one, Reject)]
    assert [(one.line, one.reason) for one in found] == [(2, Reason.AMBIGUOUS_NAME), (3, Reason.AMBIGUOUS_NAME)]
    assert found[0].detail == "the folder has 'é.jpg' and 'é.jpg', one in composed and one in decomposed characters"
    assert list(match([], files)) == files


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
    found = list(_matcher().match_all(rows, files))
    assert {one.row.line: one.file for one in found if isinstance(one, Source)} == {2: files[1], 3: files[2]}
    assert [one.line for one in found if isinstance(one, Reject)] == [4]
    assert [one for one in found if isinstance(one, File)] == [files[0]]


def _reject(line: int, name: str = "a.jpg") -> Reject:
    return Reject("a.csv", line, name, Reason.BAD_LABEL, "why")


def test_the_file_of_a_rejected_row_is_no_unlisted_one() -> None:
    assert list(match([_reject(2)], [_FILE])) == [_reject(2)]
    assert list(match([_reject(3), _row(2)], [_FILE])) == [_reject(3), Source(_row(2), _FILE)]


def test_merged_rows_have_the_labels_of_all_of_them() -> None:
    rows = [_row(4, b"\0\2\0\0"), _row(2, b"\1\0\2\0"), _row(3, b"\0\1\0\0")]
    assert list(match(rows, [_FILE], merge_rows=True)) == [
        Merged(rows[2]),
        Merged(rows[0]),
        Source(_row(2, b"\1\1\2\0"), _FILE),
    ]


@pytest.mark.parametrize(
    ("other", "detail"),
    [
        pytest.param(_row(3, split="test"), "line 3 names this file too, and differs in split", id="split"),
        pytest.param(_row(3, group="x"), "line 3 names this file too, and differs in group", id="group"),
        pytest.param(_reject(3), "line 3 names this file too, and was rejected (bad_label)", id="a label is not known"),
    ],
)
def test_rows_that_cannot_be_merged_are_rejected(other: Row | Reject, detail: str) -> None:
    found = list(match([_row(2), other], [_FILE], merge_rows=True))
    assert Reject("a.csv", 2, "a.jpg", Reason.CONFLICTING_ROWS, detail) in found
    assert sorted(one.line for one in found if isinstance(one, Reject)) == [2, 3]


def test_without_a_file_no_rows_are_merged() -> None:
    found = list(match([_row(2), _row(3, b"\0")], [], merge_rows=True))
    assert {(one.line, one.reason) for one in found} == {(2, Reason.MISSING_FILE), (3, Reason.MISSING_FILE)}


def _named(line: int, name: str, group: str = "", split: str = "") -> Row:
    return Row("a.csv", line, name, b"\1", split, group)


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("ignore_case", "sub/IMG 1.JPG"),
        ("basename", "other/img 1.jpg"),
        ("stem", "sub/img 1"),
        ("basename,stem,ignore_case", "IMG 1.Png"),
    ],
)
def test_a_row_gets_the_name_of_its_file_and_the_split_of_this_name(how: str, name: str) -> None:
    file = File("sub/img 1.jpg", "images/sub/img 1.jpg", 10)
    matcher = _matcher(filename_match=tuple(how.split(",")))
    (source,) = matcher.match_all([_named(2, name)], [file])
    (exact,) = matcher.match_all([_named(2, file.name)], [file])
    assert source == exact
    assert isinstance(source, Source)
    assert (source.row.filename, source.row.group) == (file.name, file.name)
    assert source.row.split in ("train", "validation")


def test_groups_and_splits_of_cells_stay_with_their_rows() -> None:
    matcher = _matcher(filename_match=("ignore_case",), split_column="part")
    (source,) = matcher.match_all([_named(2, "A.jpg", "x", "test")], [_FILE])
    assert source == Source(_row(2, group="x", split="test"), _FILE)


def test_a_name_that_may_mean_two_files_is_rejected_with_both() -> None:
    files = [File(name, f"images/{name}", 10) for name in ("x/a.jpg", "y/a.jpg", "b.jpg")]
    found = list(_matcher(filename_match=("basename",)).match_all([_named(2, "a.jpg"), _named(3, "x/a.jpg")], files))
    detail = "the folder has 'x/a.jpg' and 'y/a.jpg'"
    assert found == [
        Reject("a.csv", 2, "a.jpg", Reason.AMBIGUOUS_NAME, detail),
        Reject("a.csv", 3, "x/a.jpg", Reason.AMBIGUOUS_NAME, detail),
        files[2],
    ]


def test_rows_whose_names_mean_one_file_are_duplicates() -> None:
    rows = [_named(2, "A.jpg"), _named(3, "a.JPG")]
    matcher = _matcher(filename_match=("ignore_case",))
    reject, source = matcher.match_all(rows, [_FILE])
    assert (reject.reason, reject.filename, reject.line) == (Reason.DUPLICATE_NAME, "a.jpg", 3)
    assert source.row.filename == "a.jpg"
    missing = list(matcher.match_all(rows, []))
    assert {one.reason for one in missing} == {Reason.DUPLICATE_NAME, Reason.MISSING_FILE}
