"""The input pipeline reads every example once, as it is in the source, in the order that it promises."""

import csv
import dataclasses
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from converter.job.pipeline import convert
from converter.options import ConvertOptions
from schemas import example, metadata
from schemas.metadata import DatasetInfo, SplitInfo
from trainer.config import CHOICES, TrainConfig
from trainer.input import caching, cropping, pipeline, reading
from trainer.input.cropping import Crops
from trainer.sources import Sources, combine

Pipeline = Callable[..., tf.data.Dataset]
KEPT = ("none", "encoded", "decoded", "disk")
# For parametrize: the fast tests have examples that are read anew and examples that are cached.
EACH_KEPT = [pytest.param(kept, marks=pytest.mark.slow if kept in ("encoded", "disk") else []) for kept in KEPT]
Example = tuple[bytes, tuple[float, ...]]


def examples(dataset: tf.data.Dataset) -> list[Example]:
    """Returns one epoch: the pixels and the labels of each example."""
    return [
        (image.tobytes(), tuple(labels.tolist()))
        for images, batch in dataset.as_numpy_iterator()
        for image, labels in zip(images, batch, strict=True)
    ]


def epochs_of(number: int, training: Pipeline, *asked: Any) -> list[list[Example]]:
    """Returns the first epochs of one dataset."""
    epoch = tf.Variable(0, dtype=tf.int64)
    dataset = training(*asked, epoch=epoch)
    found = []
    for i in range(number):
        epoch.assign(i)
        found.append(examples(dataset))
    return found


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


@pytest.mark.parametrize("kept", EACH_KEPT)
@pytest.mark.parametrize("augment", ["none", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("batch_size", "size", "steps"),
    [
        pytest.param(1, 1, 48, id="one example"),
        pytest.param(10, 10, 4, id="a remainder"),
        pytest.param(16, 16, 3, id="no remainder"),
        pytest.param(47, 47, 1, id="one example remains"),
        pytest.param(48, 48, 1, id="all in one batch"),
        pytest.param(1000, 48, 1, id="fewer than a batch"),
    ],
)
def test_all_training_batches_have_one_size(
    batch_size: int,
    size: int,
    steps: int,
    augment: str,
    kept: str,
    config: Callable[..., TrainConfig],
    sources: Sources,
    training: Pipeline,
) -> None:
    asked = config(augment=augment, batch_size=batch_size)
    dataset = training(asked, sources, kept)
    assert [each.shape[0] for each in dataset.element_spec] == [size, size]
    assert pipeline.steps_per_epoch(asked, sources) == len(dataset) == steps
    for _ in range(2):
        assert [len(labels) for _, labels in dataset] == [size] * steps


@pytest.mark.parametrize("kept", EACH_KEPT)
def test_other_examples_remain_in_each_epoch(
    kept: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    asked = config(augment="none", batch_size=32)
    stored = set(examples(pipeline.evaluation_dataset(asked, sources, "train")))
    remaining = [stored - set(epoch) for epoch in epochs_of(3, training, asked, sources, kept)]
    assert [len(some) for some in remaining] == [16] * 3
    assert len(set(map(frozenset, remaining))) == 3


@pytest.mark.parametrize("kept", EACH_KEPT)
def test_the_number_of_evaluation_batches_is_known(
    kept: str, config: Callable[..., TrainConfig], sources: Sources, validation: Pipeline
) -> None:
    assert len(validation(config(batch_size=10), sources, kept=kept)) == 3


@pytest.mark.parametrize("kept", EACH_KEPT)
@pytest.mark.parametrize("batch_size", [1, 7, 21, 100])
def test_a_split_is_cut_into_batches_without_a_rest(
    batch_size: int, kept: str, config: Callable[..., TrainConfig], sources: Sources, validation: Pipeline
) -> None:
    dataset = validation(config(batch_size=batch_size), sources, kept=kept)
    sizes = [len(images) for images, _ in dataset]
    assert sum(sizes) == 21
    assert len(sizes) == len(dataset)
    assert set(sizes[:-1]) <= {batch_size}


@pytest.mark.parametrize("kept", EACH_KEPT)
@pytest.mark.parametrize("augment", CHOICES["augment"])
def test_training_batches_are_as_documented(
    augment: str, kept: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    for images, labels in training(config(augment=augment, batch_size=16), sources, kept):
        assert images.shape == (16, 32, 32, 3)
        assert images.dtype == (tf.float32 if augment == "full" else tf.uint8)
        assert 0 <= tf.reduce_min(images).numpy() < 100 < tf.reduce_max(images).numpy() <= 255
        assert labels.shape == (16, 4)
        assert labels.dtype == tf.float32


@pytest.mark.parametrize("kept", EACH_KEPT)
@pytest.mark.parametrize("batch_size", [1, 6, 48, 50])
def test_every_training_epoch_has_every_example_once_in_an_order_of_its_own(
    batch_size: int, kept: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    asked = config(augment="none", batch_size=batch_size)
    stored = examples(pipeline.evaluation_dataset(asked, sources, "train"))
    assert len(set(stored)) == 48
    epochs = epochs_of(3, training, asked, sources, kept)
    for epoch in epochs:
        assert Counter(epoch) == Counter(stored)
    for one, other in itertools.combinations([stored, *epochs], 2):
        assert one != other
        if batch_size == 6:  # Not only the order of batches: what is in them.
            assert not set(map(frozenset, _batches(one, 6))) & set(map(frozenset, _batches(other, 6)))


def _batches(epoch: list[Example], size: int) -> list[list[Example]]:
    """Returns the full batches of an epoch."""
    return [epoch[i : i + size] for i in range(0, len(epoch) - size + 1, size)]


@pytest.mark.parametrize("kept", EACH_KEPT)
@pytest.mark.parametrize("augment", ["none", "full"])
def test_the_same_seed_gives_the_same_epochs(
    augment: str, kept: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    def epochs(seed: int) -> list[list[Example]]:
        return epochs_of(2, training, config(augment=augment, seed=seed), sources, kept)

    first = epochs(3)
    assert epochs(3) == first
    assert first[0] != first[1]
    others = epochs(4)
    assert others[0] not in first
    assert others[1] not in first


@pytest.mark.parametrize("kept", EACH_KEPT)
def test_augmentation_is_fresh_in_every_epoch_and_labels_stay_with_their_images(
    kept: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    asked = config(augment="flip", batch_size=48)
    [(stored, stored_labels)] = pipeline.evaluation_dataset(asked, sources, "train").as_numpy_iterator()
    epochs = []
    for epoch in range(3):
        [(images, labels)] = training(asked, sources, kept, epoch=epoch).as_numpy_iterator()
        straight, mirrored = (
            np.array([np.abs(stored.astype(int) - image).mean(axis=(1, 2, 3)) for image in candidates])
            for candidates in (images, images[:, :, ::-1])
        )
        found = np.minimum(straight, mirrored).argmin(axis=1)
        assert sorted(found) == list(range(48))
        np.testing.assert_array_equal(labels, stored_labels[found])
        epochs.append(tuple(mirrored.min(axis=1) < straight.min(axis=1)))
    # The mirrored positions of the batch differ between epochs, whatever the order of the images.
    assert len(set(epochs)) == 3


@pytest.mark.parametrize("kept", EACH_KEPT)
def test_evaluation_has_the_shards_in_turn_and_the_labels_of_the_csv(
    kept: str,
    config: Callable[..., TrainConfig],
    data: Path,
    info: DatasetInfo,
    sources: Sources,
    source: Path,
    validation: Pipeline,
) -> None:
    dataset = validation(config(batch_size=4), sources, kept=kept)
    labels = source_labels(source)
    names = in_turn(shard_names(data, info, "validation"))
    for _ in range(2):
        assert [found for _, found in examples(dataset)] == [labels[name] for name in names]
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
        [batch for batch, _ in pipeline.evaluation_dataset(config(image_size=size, decode="exact"), sources, split)]
    )
    assert images.dtype == np.uint8
    for name, image in zip(in_turn(shard_names(data, info, split)), images, strict=True):
        with Image.open(source / "images" / name) as file:
            deep = file.mode.startswith("I")
            picture = Image.fromarray((np.asarray(file) // 256).astype(np.uint8)) if deep else file.convert("RGB")
            if "A" in file.getbands() or "transparency" in file.info:  # The conversion lays it on white.
                picture = Image.alpha_composite(Image.new("RGBA", file.size, "white"), file.convert("RGBA"))
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
    alone = examples(pipeline.evaluation_dataset(config(), sources, "jpegs"))
    split = info.split("jpegs")
    mixed = dataclasses.replace(split, statistics=dataclasses.replace(split.statistics, formats={"jpeg": 9, "png": 1}))
    assert examples(pipeline.evaluation_dataset(config(), combine([(str(data), _with(info, mixed))]), "jpegs")) == alone


def _with(info: DatasetInfo, split: SplitInfo) -> DatasetInfo:
    """Returns the dataset with another split in the place of the one that has its name."""
    return dataclasses.replace(info, splits=tuple(split if s.name == split.name else s for s in info.splits))


@pytest.fixture
def removable(data: Path, tmp_path: Path) -> Path:
    """A copy of the dataset, whose shards a test can remove."""
    return Path(shutil.copytree(data, tmp_path / "copy"))


@pytest.mark.parametrize("augment", ["none", "full"])
@pytest.mark.parametrize("kept", EACH_KEPT[1:])
def test_from_the_second_epoch_on_the_cache_is_read_and_not_the_shards(
    kept: str,
    augment: str,
    config: Callable[..., TrainConfig],
    removable: Path,
    info: DatasetInfo,
    training: Pipeline,
    validation: Pipeline,
) -> None:
    asked, sources = config(augment=augment, batch_size=16), combine([(str(removable), info)])
    train, evaluate = training(asked, sources, kept), validation(asked, sources, kept=kept)
    first, evaluated = examples(train), examples(evaluate)
    for split in ("train", "validation"):
        shutil.rmtree(removable / split)
    second = examples(train)
    assert len(second) == 48
    if augment == "none":
        assert Counter(first) == Counter(second)
    assert examples(evaluate) == evaluated


@pytest.mark.parametrize("decode", ["scaled", pytest.param("exact", marks=pytest.mark.slow)])
@pytest.mark.parametrize("augment", CHOICES["augment"])
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(16, id="made smaller"),
        pytest.param(80, id="made larger", marks=(pytest.mark.slow, pytest.mark.extended)),
    ],
)
def test_what_a_model_sees_does_not_depend_on_the_cache(
    size: int, augment: str, decode: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    asked = config(augment=augment, decode=decode, image_size=size, batch_size=15)
    seen = []
    for kept in KEPT:
        seen.append(epochs_of(2, training, asked, sources, kept))
    assert [len(epoch) for epoch in seen[0]] == [45, 45]
    assert seen.count(seen[0]) == len(KEPT)


def crops_of(cached: bool, asked: TrainConfig, sources: Sources, chosen: list[Crops]) -> list[np.ndarray]:
    """Returns the training images of given crops, in the order of evaluation."""
    size = pipeline.cached_image_size(asked)
    kept = caching.fill_or_open(caching.Plan("decoded", on_disk=False, reason=""), asked, sources, "train", size)
    assert kept is not None
    found = []
    for crops in chosen:
        if cached:
            images, _ = pipeline._gather(kept, asked, asked.image_size, tf.range(len(crops.mirrored)), (), crops)
        else:
            [records] = reading.records(sources.each[0], "train").batch(1000)
            images, _ = pipeline._loader(asked, sources.each[0], asked.image_size)(records, crops)
        found.append(images.numpy().astype(int))
    return found


PICTURES = {"small and upright": (40, 30), "small and lying": (37, 53), "large": (700, 500), "wide": (90, 1200)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Waves of all lengths in each shape, as JPEG and as PNG, 8 images in a split."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "images").mkdir()
    rows = []
    for name, (height, width) in PICTURES.items():
        y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        pixels = np.stack([127 + 120 * np.sin(a * x * x + 9 * y + 50 * x * y) for a in (5, 40, 300)], axis=-1)
        for ending in ("jpg", "png"):
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{name}.{ending}")
            rows.append([f"{name}.{ending}", "train", 1])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "split", "wave"], *rows])
    options = ConvertOptions(
        csv=str(folder / "labels.csv"),
        images=str(folder / "images"),
        output=str(folder / "data"),
        name="waves",
        split_column="split",
        num_shards={"train": 1},
        num_threads=1,
    )
    convert(options)
    return combine([(options.dataset, metadata.load(options.dataset))])


@pytest.mark.parametrize("decode", ["scaled", pytest.param("exact", marks=pytest.mark.slow)])
@pytest.mark.parametrize("augment", ["flip", "crop"])
@pytest.mark.parametrize("size", [24, *(pytest.param(size, marks=pytest.mark.slow) for size in (64, 224))])
def test_a_crop_has_the_same_pixels_from_a_cache_and_from_a_record(
    size: int, augment: str, decode: str, config: Callable[..., TrainConfig], photographs: Sources
) -> None:
    asked = config(augment=augment, decode=decode, image_size=size)
    area = asked.min_crop_area if asked.crops else None
    chosen = [cropping.random_crops(8, tf.constant([3, seed], tf.int64), min_area=area) for seed in range(4)]
    cached, decoded = (crops_of(way, asked, photographs, chosen) for way in (True, False))
    for one, other in zip(cached, decoded, strict=True):
        assert one.shape == (8, size, size, 3)
        assert np.abs(one - other).max() <= 2
    if augment == "crop" and decode == "scaled" and size < 224:
        # From the originals they are others: the test would see a difference.
        originals = dataclasses.replace(asked, crop_from="original")
        assert np.abs(crops_of(False, originals, photographs, chosen)[0] - cached[0]).max() > 20


def test_crops_of_the_originals_are_the_same_with_records_in_memory_and_without(
    config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    asked = config(augment="full", crop_from="original", batch_size=48)
    kept, read = (epochs_of(2, training, asked, sources, kept) for kept in ("encoded", "none"))
    assert kept == read
    assert read[0] != examples(training(dataclasses.replace(asked, crop_from="resized"), sources, "none"))


@pytest.mark.parametrize(("kept", "crop_from"), [("none", "resized"), ("encoded", "original"), ("decoded", "resized")])
@pytest.mark.parametrize("image_size", [16, pytest.param(200, marks=pytest.mark.slow)])
def test_what_a_model_sees_does_not_depend_on_the_number_of_cores(
    image_size: int,
    crop_from: str,
    kept: str,
    config: Callable[..., TrainConfig],
    sources: Sources,
    training: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = config(augment="full", crop_from=crop_from, image_size=image_size, batch_size=20)
    seen = []
    for cores in (1, 9, 64, 200):
        monkeypatch.setattr(reading.machine, "usable_cores", lambda cores=cores: cores)
        seen.append(examples(training(asked, sources, kept)))
    assert len(seen[0]) == 40
    assert seen.count(seen[0]) == 4


def test_without_a_cache_every_epoch_reads_the_shards(
    config: Callable[..., TrainConfig], removable: Path, info: DatasetInfo
) -> None:
    train = pipeline.training_dataset(config(), combine([(str(removable), info)]))
    examples(train)
    shutil.rmtree(removable / "train")
    with pytest.raises(tf.errors.NotFoundError, match="train-00000-of-00003"):
        examples(train)


@pytest.mark.parametrize("difference", [1, -1, *(pytest.param(by, marks=pytest.mark.slow) for by in (20, -20))])
@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("kept", EACH_KEPT)
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
        examples(pipeline.evaluation_dataset(config(), combine([(str(data), wrong)]), "validation"))


def test_a_damaged_shard_is_an_error(config: Callable[..., TrainConfig], removable: Path, info: DatasetInfo) -> None:
    shard = removable / info.split("validation").shards[0].path
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        examples(pipeline.evaluation_dataset(config(), combine([(str(removable), info)]), "validation"))


def test_a_dataset_without_a_training_split_is_evaluated(
    config: Callable[..., TrainConfig], data: Path, info: DatasetInfo
) -> None:
    alone = dataclasses.replace(info, splits=(info.split("validation"),))
    batches = pipeline.evaluation_dataset(config(), combine([(str(data), alone)]), "validation")
    assert sum(len(labels) for _, labels in batches) == info.split("validation").num_examples
