"""A run is checked by its manifests before it starts."""

import dataclasses
from collections.abc import Callable, Mapping

import pytest

from multihot.errors import UserError
from schemas import metadata
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


def _dataset(directory: str, **splits: int) -> tuple[str, DatasetInfo]:
    """Returns the folder and the manifest of a dataset with these splits, and their numbers of examples."""
    made = tuple(_split(name, (number // 2,), number, f"{directory}{name}"[-1:]) for name, number in splits.items())
    made = tuple(
        dataclasses.replace(
            split, shards=tuple(dataclasses.replace(one, sha256=f"{directory} {split.name}") for one in split.shards)
        )
        for split in made
    )
    return directory, DatasetInfo(name=directory, version="1.0.0", classes=("a",), splits=made)


def _check(config: TrainConfig, *datasets: tuple[str, DatasetInfo]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "load", dict(datasets).__getitem__)
        checks.load(dataclasses.replace(config, data=tuple(directory for directory, _ in datasets)))


@pytest.mark.parametrize(
    ("splits", "flag"),
    [
        pytest.param({"train": 8, "val": 3, "test": 4}, "--validation_split=val", id="val"),
        pytest.param({"train": 8, "valid": 3, "test": 4}, "--validation_split=valid", id="valid"),
        pytest.param({"train": 8, "DEV": 3}, "--validation_split=DEV", id="another case"),
        pytest.param({"train": 8, "test": 3}, "--validation_split=test", id="test"),
        pytest.param({"train": 8, "held_out": 3}, "--validation_split=held_out", id="the only other one"),
        pytest.param({"train": 8, "validation": 0, "test": 3}, "--validation_split=test", id="an empty one"),
        pytest.param({"training": 8, "validation": 3}, "--train_split=training", id="training"),
        pytest.param({"fold1": 8, "validation": 3}, "--train_split=fold1", id="the only one to train on"),
    ],
)
def test_splits_of_other_names_are_listed_with_the_flag_for_the_likeliest(
    splits: dict[str, int], flag: str, config: Config
) -> None:
    with pytest.raises(UserError) as caught:
        _check(config(), _dataset("one", **splits))
    message = str(caught.value)
    assert message.endswith(f" Add {flag}")
    assert ", ".join(f"{name} ({number})" for name, number in splits.items()) in message
    name, _, value = flag.removeprefix("--").partition("=")
    _check(config(**{name: value}), _dataset("one", **splits))


def test_of_several_unlikely_splits_none_is_suggested(config: Config) -> None:
    with pytest.raises(UserError, match=r"^There are no images to evaluate on: .* Name one of these splits: --val"):
        _check(config(), _dataset("one", train=8, fold1=3, fold2=3))


@pytest.mark.parametrize("splits", [{"train": 8}, {"train": 8, "validation": 0}], ids=["no split", "an empty split"])
def test_a_dataset_without_an_image_to_evaluate_on_is_to_be_converted_again(
    splits: dict[str, int], config: Config
) -> None:
    with pytest.raises(
        UserError, match=r"no images to evaluate on.* Convert again.*--splits=train=0\.5,validation=0\.5"
    ):
        _check(config(), _dataset("one", **splits))


def test_a_dataset_without_an_image_to_train_on_is_to_be_converted_again(config: Config) -> None:
    with pytest.raises(UserError, match=r"no images to train on.* Convert again.*--split_column"):
        _check(config(), _dataset("one", train=0, validation=2))


def test_one_image_is_too_few(config: Config) -> None:
    with pytest.raises(UserError, match=r"needs two images or more"):
        _check(config(), _dataset("one", train=1, validation=0))
    _check(config(), _dataset("one", train=1, validation=1))


def test_of_several_datasets_each_may_have_one_of_the_splits(config: Config) -> None:
    one, two = _dataset("one", train=8), _dataset("two", validation=3)
    _check(config(), one, two)
    lines = checks.warnings(config(), combine([one, two]))
    assert lines == [
        "one has no image in the split 'validation' (it has train (8)): it is used for training, and not for "
        "evaluation.",
        "two has no image in the split 'train' (it has validation (3)): it is used for evaluation, and not for "
        "training.",
    ]


def test_a_dataset_of_no_use_is_named(config: Config) -> None:
    with pytest.raises(UserError, match=r"^--data: two has no example in .* It has: val \(3\)\. Leave it out, or "):
        _check(config(), _dataset("one", train=8, validation=2), _dataset("two", val=3))


def test_the_splits_of_each_dataset_are_listed(config: Config) -> None:
    with pytest.raises(UserError, match=r"Images by split: one has train \(8\); two has train \(4\), test \(3\)\. Add"):
        _check(config(), _dataset("one", train=8), _dataset("two", train=4, test=3))


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


def test_thousand_classes_are_one_line(config: Config) -> None:
    def info(classes: list[str]) -> DatasetInfo:
        one, *others = (
            dataclasses.replace(
                _split(name, (4, *[0] * 999), 8, digest),
                statistics=Statistics(
                    positives=(4, *[0] * 999),
                    unknown=(0, *[8] * 999),
                    example_bytes=Moments.of_all([1] * 8),
                ),
            )
            for name, digest in (("train", "a"), ("validation", "b"))
        )
        return DatasetInfo(name="made", version="1.0.0", classes=tuple(classes), splits=(one, *others))

    names = [f"class {i}" for i in range(1000)]
    data = combine([("one", info(names))])
    (line,) = (line for line in checks.warnings(config(), data) if line.startswith("No image"))
    assert "of class 1, class 2," in line
    assert "class 20 and 979 more: nothing is learned" in line
    with pytest.raises(
        UserError, match=r"only one has class 0, class 1, .* and 979 more; only two has other 0, .* 979 more"
    ):
        combine([("one", info(names)), ("two", info([*(f"other {i}" for i in range(999)), "class 999"]))])
