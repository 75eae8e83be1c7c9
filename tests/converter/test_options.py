"""Options are checked before any work is done, and the message says what was received."""

import dataclasses
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.options import ConvertOptions
from converter.parsing import parse_max_rejects, parse_num_shards, parse_splits
from multihot import machine
from multihot.errors import UserError


def _options(**given: Any) -> ConvertOptions:
    return ConvertOptions(**{"csv": "labels.csv", "images": "images", "output": "data", **given})


def test_defaults() -> None:
    options = _options()
    assert options.splits == (("train", Fraction(4, 5)), ("validation", Fraction(1, 5)))
    assert options.max_rejects == Fraction(1, 100)
    assert options.shard_bytes == 128_000_000
    assert (options.max_pixels, options.resize_shorter) == (128_000_000, 0)
    assert options.threads >= 1
    assert (options.dataset, options.incomplete) == ("data/dataset/1.0.0", "data/dataset/1.0.0.incomplete")


def test_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _options().overwrite = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"csv": ""}, "--csv is required.", id="no csv"),
        pytest.param({"images": ""}, "--images is required.", id="no images"),
        pytest.param({"output": ""}, "--output is required.", id="no output"),
        pytest.param(
            {"name": "my-data"},
            "--name must be a letter, then letters, digits and underscores (tensorflow-datasets takes names apart at a "
            "dash). Received: 'my-data'",
            id="a dash in the name",
        ),
        pytest.param({"name": "../a"}, "--name must be a letter,", id="a name that leads elsewhere"),
        pytest.param(
            {"version": "1.0"}, "--version must be three numbers, as in 1.0.0. Received: '1.0'", id="two numbers"
        ),
        pytest.param(
            {"classes": ("sea", "a", "sea")}, "--classes has a name twice. Received: sea, a, sea", id="a class twice"
        ),
        pytest.param(
            {"label_columns": ("a", "a")}, "--label_columns has a name twice. Received: a, a", id="a column twice"
        ),
        pytest.param(
            {"classes": ("sea",), "schema": "data/miml/1.0.0"},
            "--schema and --classes exclude each other: give one of them.",
            id="two ways to name classes",
        ),
        pytest.param(
            {"max_pixels": 0},
            "--max_megapixels must be from 1 to 536 (TensorFlow). Received: 0",
            id="no pixel",
        ),
        pytest.param(
            {"resize_shorter": -1},
            "--resize_shorter must be from 0 to 100000 (0: no image). Received: -1",
            id="no size",
        ),
        pytest.param(
            {"label_delimiter": "||"}, "--label_delimiter must be one character. Received: '||'", id="long delimiter"
        ),
        pytest.param(
            {"splits": (("train", Fraction(1)),), "split_column": "split"},
            "--splits and --split_column exclude each other: give one of them.",
            id="two ways to split",
        ),
        pytest.param(
            {"group_column": "place", "split_column": "split"},
            "--group_column and --split_column exclude each other: give one of them.",
            id="groups and a column of splits",
        ),
        pytest.param(
            {"group_near_duplicates": True, "split_column": "split"},
            "--group_near_duplicates and --split_column exclude each other: give one of them.",
            id="near duplicates and a column of splits",
        ),
        *(
            pytest.param(
                {"split_method": "stratified", field: value},
                f"--split_method=stratified and --{field} exclude each other: give one of them.",
                id=f"stratified and {field}",
            )
            for field, value in (("split_column", "a"), ("group_near_duplicates", True))
        ),
        *(
            pytest.param(
                {"csv": "train=a.csv,test=b.csv", field: value},
                f"--csv with a file for each split and --{flag or field} exclude each other: give one of them.",
                id=f"a file for each split and {field}",
            )
            for field, value, flag in (
                ("splits", (("train", Fraction(1)),), ""),
                ("split_column", "a", ""),
                ("group_column", "a", ""),
                ("group_pattern", "(.*)_", ""),
                ("group_near_duplicates", True, ""),
                ("split_method", "stratified", "split_method=stratified"),
            )
        ),
        *(
            pytest.param(
                {"group_pattern": "(.*)_", field: "a"},
                f"--group_pattern and --{field} exclude each other: give one of them.",
                id=f"group_pattern and {field}",
            )
            for field in ("group_column", "split_column")
        ),
        pytest.param(
            {"csv": "train=a.csv,train=b.csv"},
            "--csv must be like labels.csv or train=train.csv,test=test.csv. Received: 'train=a.csv,train=b.csv'",
            id="two files for a split",
        ),
        pytest.param(
            {"csv": "train=a.csv,test=b.csv", "num_shards": {"dev": 2}},
            "--num_shards names splits that --csv does not: dev",
            id="shards of a split without a file",
        ),
        pytest.param(
            {"filename_pattern": "a("},
            "--filename_pattern must be a regular expression. Received: 'a(': ",
            id="no regular expression",
        ),
        pytest.param(
            {"group_pattern": ".*"},
            "--group_pattern must have a group in parentheses, whose text is taken, as in '(.*)'. Received: '.*'",
            id="no group",
        ),
        pytest.param(
            {"filename_match": ("folder",)},
            "--filename_match must be path, or some of ignore_case, basename, stem. Received: 'folder'",
            id="no way to compare names",
        ),
        pytest.param(
            {"filename_match": ("path", "stem")}, "--filename_match must be path, or some", id="path and stem"
        ),
        pytest.param({"filename_match": ()}, "--filename_match must be path, or some", id="no match"),
        pytest.param(
            {"split_names": {"0": "train"}},
            "--split_names is about the cells of --split_column: name that column too.",
            id="names without a column",
        ),
        pytest.param(
            {"split_method": "random"},
            "--split_method must be hash or stratified. Received: 'random'",
            id="an unknown method of splitting",
        ),
        pytest.param({"shard_bytes": 0}, "--shard_mb must be from 1 to 5000000. Received: 0", id="shards of no bytes"),
        pytest.param(
            {"shard_bytes": -3_000_000}, "--shard_mb must be from 1 to 5000000. Received: -3", id="negative shards"
        ),
        pytest.param({"num_threads": 0}, "--num_threads must be from 1 to 1024. Received: 0", id="no threads"),
        pytest.param(
            {"num_shards": {"train": 1, "dev": 2, "a": 3}},
            "--num_shards names splits that --splits does not: a, dev",
            id="shards of an unknown split",
        ),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        _options(**given)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("field", "flag"),
    [
        ("shard_bytes", "--shard_mb"),
        ("max_pixels", "--max_megapixels"),
        ("max_image_bytes", "--max_image_mb"),
        ("resize_shorter", "--resize_shorter"),
        ("num_threads", "--num_threads"),
    ],
)
@pytest.mark.parametrize("value", [-1, -(10**30), 10**30, 10**5000], ids=["-1", "-1e30", "1e30", "1e5000"])
def test_a_number_that_no_conversion_can_have_is_a_sentence(field: str, flag: str, value: int) -> None:
    with pytest.raises(UserError) as caught:
        _options(**{field: value})
    assert str(caught.value).startswith(f"{flag} must be from ")
    assert len(str(caught.value)) < 150


def test_numbers_are_limited_to_what_others_take() -> None:
    assert _options(max_pixels=536_000_000, max_image_bytes=2_000_000_000, num_threads=1024, num_shards={"": 10**6})
    for field, value, message in (
        ("max_image_bytes", 2_000_000_001, "--max_image_mb must be from 1 to 2000 (a record). Received: 2000"),
        ("max_pixels", 537_000_000, "--max_megapixels must be from 1 to 536 (TensorFlow). Received: 537"),
        ("num_shards", {"train": 10**6 + 1}, "--num_shards must be at most 1000000. Received: 1000001"),
    ):
        with pytest.raises(UserError) as caught:
            _options(**{field: value})
        assert str(caught.value).startswith(message)


def test_num_shards_of_a_split_that_only_the_column_knows() -> None:
    assert _options(split_column="split", num_shards={"dev": 2}).num_shards == {"dev": 2}


@pytest.mark.parametrize(
    ("max_rejects", "num_rows", "allowed"),
    [(0, 1000, 0), (20, 10, 20), (Fraction(1, 100), 199, 1), (Fraction(1, 100), 99, 0), (Fraction(1), 7, 7)],
    ids=["none", "a count", "1% of 199", "1% of 99", "all"],
)
def test_rejects_allowed(max_rejects: int | Fraction, num_rows: int, allowed: int) -> None:
    assert _options(max_rejects=max_rejects).rejects_allowed(num_rows) == allowed


@pytest.mark.parametrize(
    ("text", "splits"),
    [
        ("all=1", (("all", Fraction(1)),)),
        ("a=0.1,b=0.2,c=0.7", (("a", Fraction(1, 10)), ("b", Fraction(1, 5)), ("c", Fraction(7, 10)))),
        ("b=1/3,a=2/3", (("b", Fraction(1, 3)), ("a", Fraction(2, 3)))),
        (" train = 0.5 , test = 5e-1 ", (("train", Fraction(1, 2)), ("test", Fraction(1, 2)))),
    ],
)
def test_good_splits(text: str, splits: tuple[tuple[str, Fraction], ...]) -> None:
    assert parse_splits(text) == splits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train=0.8", "--splits must sum to 1. Received: 'train=0.8', which sums to 0.8"),
        ("a=0.7,b=0.4", "--splits must sum to 1. Received: 'a=0.7,b=0.4', which sums to 1.1"),
        ("a=1.2,b=-0.2", "--splits: a fraction must be positive. Received: 'b=-0.2'"),
        ("a=1,b=0", "--splits: a fraction must be positive. Received: 'b=0'"),
        ("a=x", "--splits must be like train=0.8,validation=0.2. Received: 'a=x'"),
        ("a=1/0", "--splits must be like train=0.8,validation=0.2. Received: 'a=1/0'"),
        ("a=1e999999999", "--splits must be like train=0.8,validation=0.2. Received: 'a=1e999999999'"),
        ("a=nan", "--splits must be like train=0.8,validation=0.2. Received: 'a=nan'"),
        ("train", "--splits must be like train=0.8,validation=0.2. Received: 'train'"),
        ("a=0.5,a=0.5", "--splits: a name must be a letter, then letters, digits and underscores, stand once,"),
        ("a=0.5,", "--splits: a name must be a letter,"),
        ("index=1", "--splits: a name must be a letter,"),
        ("my-split=1", "--splits: a name must be a letter,"),
        ("../a=1", "--splits: a name must be a letter,"),
        ("", "--splits: a name must be a letter,"),
    ],
)
def test_bad_splits(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_splits(text)
    assert str(caught.value).startswith(message)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8))
def test_fractions_that_sum_to_one_are_taken_exactly(parts: list[int]) -> None:
    fractions = [Fraction(part, sum(parts)) for part in parts]
    text = ",".join(f"s{i}={fraction}" for i, fraction in enumerate(fractions))
    assert parse_splits(text) == tuple((f"s{i}", fraction) for i, fraction in enumerate(fractions))


@pytest.mark.parametrize(
    ("text", "num_shards"),
    [
        ("", {}),
        ("8", {"": 8}),
        ("train=8,validation=2", {"train": 8, "validation": 2}),
        (" train = 8 , 2", {"train": 8, "": 2}),
    ],
)
def test_good_num_shards(text: str, num_shards: dict[str, int]) -> None:
    assert parse_num_shards(text) == num_shards


@pytest.mark.parametrize("text", ["0", "-1", "x", "train=", "train=8,", "1.5", "train:8", "²", "train=0", "9" * 150])
def test_bad_num_shards(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_num_shards(text)
    assert str(caught.value) == f"--num_shards must be like 8 or train=8,validation=2. Received: {text!r}"


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("0", 0),
        ("20", 20),
        ("1", 1),
        ("1.0", Fraction(1)),
        ("0.01", Fraction(1, 100)),
        ("1%", Fraction(1, 100)),
        ("0.5%", Fraction(1, 200)),
        ("100%", Fraction(1)),
    ],
)
def test_good_max_rejects(text: str, limit: int | Fraction) -> None:
    parsed = parse_max_rejects(text)
    # A count of 1 and a fraction of 1 are equal, and mean one row and all rows.
    assert (parsed, isinstance(parsed, Fraction)) == (limit, isinstance(limit, Fraction))


@pytest.mark.parametrize("text", ["", "%", "x", "1e3", "nan%", "1/0%", "inf", "ten%", "0.x", "1.0e999999999"])
def test_max_rejects_that_is_no_number(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_max_rejects(text)
    assert str(caught.value) == f"--max_rejects must be a count or a fraction: 20, 0.01 or 1%. Received: {text!r}"


@pytest.mark.parametrize("text", ["-1", "-0.1", "1.5", "101%", "-1%"])
def test_max_rejects_out_of_range(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_max_rejects(text)
    assert str(caught.value) == f"--max_rejects must be a count, or a fraction from 0 to 1. Received: {text!r}"


def test_threads_are_those_of_the_machine_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    options = _options()
    for cores in (1, 7):
        monkeypatch.setattr(machine, "usable_cores", lambda cores=cores: cores)
        assert options.threads == cores
        assert _options(num_threads=3).threads == 3
