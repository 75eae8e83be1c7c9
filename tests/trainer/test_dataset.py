"""The input pipeline reads every example once, as it is in the source, in the order that it promises."""

import csv
import dataclasses
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from schemas import example
from schemas.metadata import DatasetInfo, SplitInfo
from trainer import dataset
from trainer.config import AUGMENTS, TrainConfig
from trainer.sources import Sources, combine

Pipeline = Callable[..., tf.data.Dataset]
KEPT = ("none", "encoded", "decoded", "disk")
Example = tuple[bytes, tuple[float, ...]]


def examples(pipeline: tf.data.Dataset) -> list[Example]:
    """Returns one epoch: the pixels and the labels of each example."""
    return [
        (image.tobytes(), tuple(labels.tolist()))
        for images, batch in pipeline.as_numpy_iterator()
        for image, labels in zip(images, batch, strict=True)
    ]


def shard_names(data: Path, info: DatasetInfo, split: str) -> list[list[str]]:
    """Returns the file names in each shard."""
    spec = example.parse_spec(len(info.classes), [example.FILENAME])
    return [
        [
            tf.io.parse_single_example(record, spec)[example.FILENAME].numpy().decode()
            for record in tf.data.TFRecordDataset(str(data / shard.path))
        ]
        for shard in info.split(split).shards
    ]


def in_turn(shards: Iterable[list[str]]) -> list[str]:
    """Returns one of each shard, then the next of each, until all have run out."""
    return [name for turn in itertools.zip_longest(*shards) for name in turn if name is not None]


def source_labels(source: Path) -> dict[str, tuple[float, ...]]:
    """Returns the labels of each file, as the CSV has them."""
    with (source / "labels.csv").open(newline="") as file:
        next(rows := csv.reader(file))
        return {name: tuple(map(float, labels)) for name, _, *labels in rows}


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("augment", ["none", "full"])
def test_cardinality_is_known_before_the_first_epoch(
    augment: str,
    kept: str,
    config: Callable[..., TrainConfig],
    sources: Sources,
    training: Pipeline,
    validation: Pipeline,
) -> None:
    asked = config(augment=augment, batch_size=10)
    assert len(training(asked, sources, kept)) == 5
    assert len(validation(asked, sources, kept=kept)) == 3


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("batch_size", [1, 7, 21, 100])
def test_a_split_is_cut_into_batches_without_a_rest(
    batch_size: int, kept: str, config: Callable[..., TrainConfig], sources: Sources, validation: Pipeline
) -> None:
    pipeline = validation(config(batch_size=batch_size), sources, kept=kept)
    sizes = [len(images) for images, _ in pipeline]
    assert sum(sizes) == 21
    assert len(sizes) == len(pipeline)
    assert set(sizes[:-1]) <= {batch_size}


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("augment", AUGMENTS)
def test_training_batches_are_as_documented(
    augment: str, kept: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    for images, labels in training(config(augment=augment, batch_size=16), sources, kept):
        assert images.shape == (16, 32, 32, 3)
        assert images.dtype == (tf.float32 if augment == "full" else tf.uint8)
        assert 0 <= tf.reduce_min(images).numpy() < 100 < tf.reduce_max(images).numpy() <= 255
        assert labels.shape == (16, 4)
        assert labels.dtype == tf.float32


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("batch_size", [1, 5, 48, 50])
def test_every_training_epoch_has_every_example_once_in_an_order_of_its_own(
    batch_size: int, kept: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    asked = config(augment="none", batch_size=batch_size)
    stored = examples(dataset.evaluation_dataset(asked, sources, "train"))
    assert len(set(stored)) == 48
    pipeline = training(asked, sources, kept)
    epochs = [examples(pipeline) for _ in range(3)]
    for epoch in epochs:
        assert Counter(epoch) == Counter(stored)
    for one, other in itertools.combinations([stored, *epochs], 2):
        assert one != other
        if batch_size == 5:  # Not only the order of batches: what is in them.
            assert not set(map(frozenset, _batches(one, 5))) & set(map(frozenset, _batches(other, 5)))


def _batches(epoch: list[Example], size: int) -> list[list[Example]]:
    """Returns the full batches of an epoch."""
    return [epoch[i : i + size] for i in range(0, len(epoch) - size + 1, size)]


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("augment", ["none", "full"])
def test_the_same_seed_gives_the_same_epochs(
    augment: str, kept: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    def epochs(seed: int) -> list[list[Example]]:
        pipeline = training(config(augment=augment, seed=seed), sources, kept)
        return [examples(pipeline) for _ in range(2)]

    first = epochs(3)
    assert epochs(3) == first
    assert first[0] != first[1]
    others = epochs(4)
    assert others[0] not in first
    assert others[1] not in first


@pytest.mark.parametrize("kept", KEPT)
def test_augmentation_is_fresh_in_every_epoch_and_labels_stay_with_their_images(
    kept: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    asked = config(augment="flip", batch_size=48)
    [(stored, stored_labels)] = dataset.evaluation_dataset(asked, sources, "train").as_numpy_iterator()
    pipeline = training(asked, sources, kept)
    epochs = []
    for _ in range(3):
        [(images, labels)] = pipeline.as_numpy_iterator()
        straight, mirrored = (
            np.array([np.abs(stored.astype(int) - image).mean(axis=(1, 2, 3)) for image in candidates])
            for candidates in (images, images[:, :, ::-1])
        )
        found = np.minimum(straight, mirrored).argmin(axis=1)
        assert sorted(found) == list(range(48))
        np.testing.assert_array_equal(labels, stored_labels[found])
        epochs.append(tuple(mirrored.min(axis=1) < straight.min(axis=1)))
    # Which places of the batch are mirrored: the order of the images has no part in that.
    assert len(set(epochs)) == 3


@pytest.mark.parametrize("kept", KEPT)
def test_evaluation_has_the_shards_in_turn_and_the_labels_of_the_csv(
    kept: str,
    config: Callable[..., TrainConfig],
    data: Path,
    info: DatasetInfo,
    sources: Sources,
    source: Path,
    validation: Pipeline,
) -> None:
    pipeline = validation(config(batch_size=4), sources, kept=kept)
    labels = source_labels(source)
    names = in_turn(shard_names(data, info, "validation"))
    for _ in range(2):
        assert [found for _, found in examples(pipeline)] == [labels[name] for name in names]
    assert tuple(np.sum([labels[name] for name in names], axis=0)) == info.split("validation").statistics.positives


@pytest.mark.parametrize(
    "split",
    [
        pytest.param("train", id="JPEG and PNG"),
        pytest.param("jpegs", id="JPEG only"),
        pytest.param("modes", id="every format and mode"),
    ],
)
@pytest.mark.parametrize("size", [pytest.param(16, id="made smaller"), pytest.param(96, id="made larger")])
def test_pixels_are_those_of_another_decoder(
    size: int,
    split: str,
    config: Callable[..., TrainConfig],
    data: Path,
    info: DatasetInfo,
    sources: Sources,
    source: Path,
) -> None:
    images = np.concatenate(
        [batch for batch, _ in dataset.evaluation_dataset(config(image_size=size, decode="exact"), sources, split)]
    )
    assert images.dtype == np.uint8
    for name, image in zip(in_turn(shard_names(data, info, split)), images, strict=True):
        with Image.open(source / "images" / name) as file:
            deep = file.mode.startswith("I")
            picture = Image.fromarray((np.asarray(file) // 256).astype(np.uint8)) if deep else file.convert("RGB")
        # Pillow's filters are antialiased as well.
        expected = np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR), int)
        # JPEG decoders may differ a little, most of all in how they enlarge the colour of subsampled edges.
        worst, mean = (20, 3.0) if name.endswith("jpg") else (1, 0.3)
        difference = np.abs(image.astype(int) - expected)
        assert difference.max() <= worst, name
        assert difference.mean() <= mean, name


def test_jpegs_are_the_same_among_other_formats(
    config: Callable[..., TrainConfig], data: Path, info: DatasetInfo, sources: Sources
) -> None:
    alone = examples(dataset.evaluation_dataset(config(), sources, "jpegs"))
    split = info.split("jpegs")
    mixed = dataclasses.replace(split, statistics=dataclasses.replace(split.statistics, formats={"jpeg": 9, "png": 1}))
    assert examples(dataset.evaluation_dataset(config(), combine([(str(data), _with(info, mixed))]), "jpegs")) == alone


def _with(info: DatasetInfo, split: SplitInfo) -> DatasetInfo:
    """Returns the dataset with another split in the place of the one that has its name."""
    return dataclasses.replace(info, splits=tuple(split if s.name == split.name else s for s in info.splits))


@pytest.fixture
def removable(data: Path, tmp_path: Path) -> Path:
    """A copy of the dataset, whose shards a test can remove."""
    return Path(shutil.copytree(data, tmp_path / "copy"))


@pytest.mark.parametrize("augment", ["none", "full"])
@pytest.mark.parametrize("kept", KEPT[1:])
def test_from_the_second_epoch_on_the_cache_is_read_and_not_the_shards(
    kept: str,
    augment: str,
    config: Callable[..., TrainConfig],
    removable: Path,
    info: DatasetInfo,
    training: Pipeline,
    validation: Pipeline,
) -> None:
    asked, sources = config(augment=augment), combine([(str(removable), info)])
    train, evaluate = training(asked, sources, kept), validation(asked, sources, kept=kept)
    first, evaluated = examples(train), examples(evaluate)
    for split in ("train", "validation"):
        shutil.rmtree(removable / split)
    second = examples(train)
    assert len(second) == 48
    if augment == "none":
        assert Counter(first) == Counter(second)
    assert examples(evaluate) == evaluated


def test_without_a_cache_every_epoch_reads_the_shards(
    config: Callable[..., TrainConfig], removable: Path, info: DatasetInfo
) -> None:
    train = dataset.training_dataset(config(), combine([(str(removable), info)]))
    examples(train)
    shutil.rmtree(removable / "train")
    with pytest.raises(tf.errors.NotFoundError, match="train-00000-of-00003"):
        examples(train)


@pytest.mark.parametrize("difference", [1, -1, 20, -20])
@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("kept", KEPT)
def test_a_manifest_that_does_not_fit_its_shards_is_an_error(
    kept: str,
    split: str,
    difference: int,
    config: Callable[..., TrainConfig],
    data: Path,
    info: DatasetInfo,
    training: Pipeline,
    validation: Pipeline,
) -> None:
    old = info.split(split)
    shard = dataclasses.replace(old.shards[0], num_examples=old.shards[0].num_examples + difference)
    wrong = _with(info, dataclasses.replace(old, shards=(shard, *old.shards[1:])))
    asked, sources = config(batch_size=48), combine([(str(data), wrong)])
    with pytest.raises(tf.errors.FailedPreconditionError, match=f"expected to contain {old.num_examples + difference}"):
        examples(training(asked, sources, kept) if split == "train" else validation(asked, sources, kept=kept))


def test_labels_of_another_length_are_an_error(
    config: Callable[..., TrainConfig], data: Path, info: DatasetInfo
) -> None:
    wrong = dataclasses.replace(info, classes=(*info.classes, "pink"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels"):
        examples(dataset.evaluation_dataset(config(), combine([(str(data), wrong)]), "validation"))


def test_a_damaged_shard_is_an_error(config: Callable[..., TrainConfig], removable: Path, info: DatasetInfo) -> None:
    shard = removable / info.split("validation").shards[0].path
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        examples(dataset.evaluation_dataset(config(), combine([(str(removable), info)]), "validation"))
