"""The summary, word for word."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from converter.dataset.summary import summary
from converter.parsing import parse_splits
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Moments, Statistics


def _split(name: str, positives: tuple[int, ...], num_examples: int, num_shards: int) -> SplitInfo:
    shard = ShardInfo(path="p", num_examples=num_examples, num_bytes=1, sha256="0")
    sizes = Moments(count=num_examples, total=1_234_567 * num_examples)
    return SplitInfo(
        name=name, shards=(shard,) * num_shards, statistics=Statistics(positives=positives, example_bytes=sizes)
    )


def _info(splits: tuple[SplitInfo, ...], **given: Any) -> DatasetInfo:
    return DatasetInfo(name="scenes", version="1.0.0", classes=("desert", "a sea of trees"), splits=splits, **given)


def test_a_dataset_in_which_all_is_well() -> None:
    info = _info((_split("train", (3, 4), 5, 2), _split("validation", (1, 1), 2, 1)))
    assert summary(info, "data/scenes/1.0.0").splitlines() == [
        "                        train   validation",
        "images                     10            2",
        "MB                        6.2          2.5",
        "shards                      2            1",
        "positives of                              ",
        "  desert                    3            1",
        "  a sea of trees            4            1",
        "Rejected: 0 rows",
        "Dataset: data/scenes/1.0.0",
    ]


@pytest.mark.parametrize(
    ("positives", "line"),
    [
        pytest.param(((1, 0), (1, 1)), "Classes without an image: a sea of trees has none in train", id="one"),
        pytest.param(
            ((0, 1), (0, 0)),
            "Classes without an image: desert has none in train, desert has none in dev, "
            "a sea of trees has none in dev",
            id="several",
        ),
    ],
)
def test_no_class_is_missing_silently(positives: tuple[tuple[int, int], tuple[int, int]], line: str) -> None:
    info = _info((_split("train", positives[0], 2, 1), _split("dev", positives[1], 2, 1)))
    assert line in summary(info, "d").splitlines()


def test_what_was_encoded_anew_is_said() -> None:
    train, dev = _split("train", (1, 1), 9, 1), _split("dev", (1, 1), 9, 1)
    train = dataclasses.replace(train, statistics=dataclasses.replace(train.statistics, oriented=12, resized=3))
    dev = dataclasses.replace(dev, statistics=dataclasses.replace(dev.statistics, resized=4))
    lines = summary(_info((train, dev), resize_shorter=256, jpeg_quality=95), "d").splitlines()
    assert lines[-3:-1] == [
        "EXIF orientation applied: 12 images (encoded anew; JPEG quality 95, or PNG)",
        "Shorter side reduced to 256: 7 images (encoded anew; JPEG quality 95, or PNG)",
    ]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        pytest.param(
            {"rejects": {"bad_label": 2, "empty_file": 1}},
            "Rejected: 3 rows (2 bad_label, 1 empty_file): d/rejects.csv",
            id="rejects",
        ),
        pytest.param(
            {"unlisted": 4}, "Files in the folder that no row names: 4: d/unlisted.csv", id="files that no row names"
        ),
    ],
)
def test_what_was_left_out_is_said(given: Mapping[str, Any], line: str) -> None:
    assert line in summary(_info((_split("train", (1, 1), 1, 1),), **given), "d").splitlines()


def test_a_split_without_an_image_and_shards_that_were_kept() -> None:
    info = _info((_split("train", (3, 4), 5, 2),))
    lines = summary(info, "d", splits=parse_splits("train=0.5,dev=0.5"), num_reused=7).splitlines()
    assert "No image fell into the split dev: --split_method=stratified gives it one, and so do more images." in lines
    assert "Shards kept, since nothing in them has changed: 7" in lines
    assert not any("fell into" in line or "kept" in line for line in summary(info, "d").splitlines())


@pytest.mark.parametrize(
    ("num_examples", "method", "words"),
    [
        (1, "hash", "the dataset needs more images."),
        (2, "hash", "--split_method=stratified --splits=train=1/2,dev=1/2 gives it one, and so do more images."),
        (10, "hash", "--split_method=stratified gives it one, and so do more images."),
        (2, "stratified", "--splits=train=1/2,dev=1/2 gives it one, and so do more images."),
    ],
)
def test_a_split_without_an_image_names_the_flags_that_give_it_one(num_examples: int, method: str, words: str) -> None:
    info = _info((_split("train", (3, 4), num_examples, 1),))
    lines = summary(info, "d", splits=parse_splits("train=0.9,dev=0.1"), split_method=method).splitlines()
    assert f"No image fell into the split dev: {words}" in lines


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["test", "train", "val"], "To train on it: python -m trainer --validation_split=val ..."),
        (
            ["TEST", "TRAIN", "VALIDATION"],
            "To train on it: python -m trainer --train_split=TRAIN --validation_split=VALIDATION ...",
        ),
        (["fit", "validation"], "To train on it: python -m trainer --train_split=fit ..."),
        (["a", "b"], "To train on it: python -m trainer --train_split=a --validation_split=b ..."),
        (["test", "train"], "To train on it: python -m trainer --validation_split=test ..."),
        (
            ["train"],
            "All images are in the split train: to train, give the trainer a second dataset with the other split, by a "
            "second --data.",
        ),
        (["test", "train", "validation"], ""),
    ],
)
def test_splits_of_other_names_than_the_trainer_takes_are_said(names: list[str], line: str) -> None:
    lines = summary(_info(tuple(_split(name, (1, 1), 9, 1) for name in names)), "d").splitlines()
    assert [one for one in lines if "train" in one and ":" in one] == ([line] if line else [])


def test_of_very_many_classes_the_first_and_the_last_are_shown() -> None:
    classes = tuple(f"class {i}" for i in range(1000))
    info = dataclasses.replace(_info((_split("train", (0,) * 1000, 5, 2),)), classes=classes)
    lines = summary(info, "d").splitlines()
    assert len(lines) < 120
    assert lines[5].split() == ["class", "0", "0"]
    assert any(line.split() == ["class", "999", "0"] for line in lines)
    assert any(line.endswith("class 19 has none in train and 980 more") for line in lines)


def test_duplicates_in_several_splits_are_told() -> None:
    splits = (_split("train", (3, 4), 5, 2), _split("dev", (3, 4), 5, 2))
    told = summary(_info(splits, leaks={"num_groups": 2, "num_images": 5}), "d")
    assert "in several splits: 5 images in 2 groups: d/duplicates.csv" in told
    assert "several splits" not in summary(_info(splits, leaks={"num_groups": 0, "num_images": 0}), "d")


def test_a_report_that_could_not_be_made_is_said() -> None:
    info = _info((_split("train", (1, 1), 9, 1),))
    failure = "Traceback (most recent call last):\n  File x\nValueError: no\n"
    assert summary(info, "d", report_failure=failure).splitlines()[-2] == (
        "The report could not be made: ValueError: no (all of it: d/conversion.json). The dataset is complete. To try "
        "again: python -m converter.report d"
    )
