"""A run is checked by its manifests before it starts."""

import dataclasses
from collections.abc import Callable, Mapping

import pytest

from multihot.errors import UserError
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Moments, Statistics
from trainer import checks
from trainer.config import TrainConfig
from trainer.sources import Sources, combine

Config = Callable[..., TrainConfig]


def _split(name: str, positives: tuple[int, ...], num_examples: int, digests: str) -> SplitInfo:
    """Returns a split with a shard for each letter."""
    shards = tuple(
        ShardInfo(path=f"{name}/{i}", num_examples=num_examples, num_bytes=9, sha256=digest)
        for i, digest in enumerate(digests)
    )
    statistics = Statistics(positives=positives, example_bytes=Moments.of_all([1] * num_examples))
    return SplitInfo(name=name, shards=shards, statistics=statistics)


def _info(train: SplitInfo, validation: SplitInfo, leaks: Mapping[str, int] | None = None) -> DatasetInfo:
    classes = tuple("abcdef"[: len(train.statistics.positives)])
    return DatasetInfo(
        name="made", version="1.0.0", classes=classes, splits=(train, validation), leaks=leaks or {}
    )  # fmt: skip


def _sources(
    train: tuple[int, ...] = (3, 5), validation: tuple[int, ...] = (3, 5), leaks: Mapping[str, int] | None = None
) -> Sources:
    """Returns a dataset whose splits have eight examples each, and these numbers of positives."""
    info = _info(_split("train", train, 8, "ab"), _split("validation", validation, 8, "c"), leaks)
    return combine([("data/made/1.0.0", info)])


def test_nothing_is_said_of_splits_that_are_as_they_should_be(config: Config) -> None:
    for loss in ("binary_crossentropy", "categorical_crossentropy"):
        assert checks.warnings(config(loss=loss), _sources()) == []
    assert checks.warnings(config(), _sources(train=(8, 8))) == []


def test_leaks_are_said_of_each_dataset(config: Config) -> None:
    [line] = checks.warnings(config(), _sources(leaks={"num_groups": 5, "num_images": 11}))
    assert line.startswith(
        "data/made/1.0.0: 11 images that are the same or nearly the same, in 5 groups, are in several splits"
    )
    assert "duplicates.csv" in line
    assert "--group_near_duplicates" in line
    assert checks.warnings(config(), _sources(leaks={"num_groups": 0, "num_images": 0})) == []


@pytest.mark.parametrize(
    ("positives", "word"),
    [((5, 5), "10 labels: some have several."), ((2, 5), "7 labels: some have none.")],
    ids=["more", "less"],
)
def test_a_softmax_on_labels_that_are_not_exclusive_is_said(
    positives: tuple[int, ...], word: str, config: Config
) -> None:
    data = _sources(train=positives)
    [line] = checks.warnings(config(loss="categorical_crossentropy"), data)
    assert f"the 8 images of the split 'train' have {word}" in line
    assert "--loss=binary_crossentropy" in line
    assert checks.warnings(config(), data) == []


@pytest.mark.parametrize("positives", [(0, 0), (8, 8), (0, 8)])
def test_a_mean_average_precision_that_will_be_undefined_is_said(positives: tuple[int, ...], config: Config) -> None:
    [line] = checks.warnings(config(), _sources(validation=positives))
    assert "in the split 'validation': the mean average precision is undefined" in line
    # Of some classes alone it may be.
    assert checks.warnings(config(), _sources(validation=(0, 1))) == []


def test_an_image_to_train_on_in_one_dataset_and_to_validate_in_another_is_refused(config: Config) -> None:
    one = _info(_split("train", (4,), 8, "ab"), _split("validation", (4,), 8, "c"))
    swapped = _info(_split("train", (4,), 8, "c"), _split("validation", (4,), 8, "d"))
    both = combine([("one", one), ("two", swapped)])
    with pytest.raises(UserError, match=r"^--data: two/train/0 and one/validation/0 hold the same examples"):
        checks.check_overlap(config(), both)
    checks.check_overlap(config(), combine([("one", one)]))
    # More to train on is no overlap.
    again = dataclasses.replace(one, splits=(one.splits[0], _split("validation", (4,), 8, "e")))
    checks.check_overlap(config(), combine([("one", one), ("two", again)]))


def test_empty_shards_are_no_overlap(config: Config) -> None:
    empty = _split("train", (0,), 0, "x"), _split("validation", (0,), 0, "x")
    checks.check_overlap(config(), combine([("one", _info(*empty))]))
