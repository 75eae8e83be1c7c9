"""An epoch is a function of the seed and its number: earlier reading makes no difference, and any part can be had."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from schemas.metadata import DatasetInfo
from trainer.config import CHOICES, TrainConfig
from trainer.input import pipeline, reading
from trainer.sources import Sources, combine

Config = Callable[..., TrainConfig]
Pipeline = Callable[..., tf.data.Dataset]
Batch = tuple[bytes, bytes]


def batches(dataset: tf.data.Dataset) -> list[Batch]:
    return [(inputs.tobytes(), labels.tobytes()) for inputs, labels in dataset.as_numpy_iterator()]


@pytest.fixture
def both(data: Path, info: DatasetInfo) -> Sources:
    """Two datasets: 48 images, and 10 other ones, with two classes in another order."""
    split = dataclasses.replace(info.split("jpegs"), name="train")
    classes = (info.classes[1], info.classes[0], *info.classes[2:])
    return combine([(str(data), info), (str(data), dataclasses.replace(info, splits=(split,), classes=classes))])


RARE = (pytest.mark.slow, pytest.mark.extended)
# Of each, how examples are kept, the settings, and the number of datasets.
CASES = [
    pytest.param("decoded", {"augment": "none"}, 1, id="cached"),
    pytest.param("decoded", {"augment": "flip"}, 1, id="cached, flips", marks=pytest.mark.slow),
    pytest.param("decoded", {"augment": "full"}, 1, id="cached, mixup"),
    pytest.param("disk", {"augment": "crop"}, 1, id="cached on disk"),
    pytest.param("encoded", {"augment": "full", "mixup": 0.0}, 1, id="encoded"),
    pytest.param("none", {"augment": "full"}, 1, id="uncached"),
    pytest.param("none", {"augment": "crop", "crop_from": "original"}, 1, id="originals", marks=pytest.mark.slow),
    pytest.param("streamed", {"augment": "full"}, 1, id="more than is held"),
    pytest.param("decoded", {"augment": "none"}, 2, id="two cached", marks=RARE),
    pytest.param("encoded", {"augment": "full"}, 2, id="two encoded", marks=RARE),
    pytest.param("none", {"augment": "full"}, 2, id="two uncached"),
    pytest.param("streamed", {"augment": "crop"}, 2, id="two, more than is held"),
    pytest.param("decoded", {"augment": "full", "data_weights": (3.0, 1.0)}, 2, id="weights, cached"),
    pytest.param("none", {"augment": "none", "data_weights": (3.0, 1.0)}, 2, id="weights", marks=RARE),
    pytest.param("streamed", {"augment": "none", "data_weights": (1.0, 3.0)}, 2, id="weights, more than is held"),
]
# Small images share a chunk in several batches; a batch of large images takes several chunks.
SIZES = [
    pytest.param({"image_size": 32, "batch_size": 7}, id="chunks of many batches"),
    pytest.param({"image_size": 160, "batch_size": 15}, id="chunks of a part of a batch", marks=RARE),
]


# All cases with small images, and every third one with large ones.
@pytest.mark.parametrize(
    ("kept", "settings", "number", "sizes"),
    [
        pytest.param(*case.values, *size.values, id=f"{case.id}, {size.id}", marks=(*case.marks, *size.marks))
        for size, cases in zip(SIZES, (CASES, CASES[2::3]), strict=True)
        for case in cases
    ],
)
def test_an_epoch_is_a_function_of_its_number_and_can_be_had_in_part(
    kept: str,
    settings: dict[str, Any],
    number: int,
    sizes: dict[str, int],
    config: Config,
    sources: Sources,
    both: Sources,
    training: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kept == "streamed":
        monkeypatch.setattr(reading, "SHUFFLE_BYTES", 20_000)
    asked = config(data=("a", "b")[:number], **{**sizes, **settings})
    read = both if number == 2 else sources
    epoch = tf.Variable(0, dtype=tf.int64)
    dataset = training(asked, read, kept, epoch=epoch)
    found = []
    for i in (0, 1, 2, 1):
        epoch.assign(i)
        found.append(batches(dataset))
    assert found[3] == found[1]
    assert len({batch for one in found[:3] for batch in one}) == 3 * len(dataset)
    assert batches(training(asked, read, kept, epoch=2)) == found[2]
    for skip in (1, len(dataset) - 1, len(dataset)):
        rest = training(asked, read, kept, epoch=epoch, skip=skip)
        for i in (1, 2):
            epoch.assign(i)
            assert batches(rest) == found[i][skip:]
        assert len(rest) == len(dataset) - skip
        assert rest.element_spec == dataset.element_spec


@pytest.mark.parametrize("held", [True, False])
def test_an_epoch_of_features_is_a_function_of_its_number(
    held: bool, config: Config, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr(reading, "SHUFFLE_BYTES", 48 * 4 * 5 - 1)
    cached = pipeline.CachedSplit(tf.random.uniform([48, 5]), tf.repeat(tf.range(48.0)[:, tf.newaxis], 4, axis=1))
    epoch, asked = tf.Variable(0, dtype=tf.int64), config(augment="none", batch_size=7)
    dataset = pipeline.training_dataset(asked, sources, cached, epoch=epoch)
    found = []
    for i in (0, 1, 2, 1):
        epoch.assign(i)
        found.append(batches(dataset))
        numbers = np.concatenate([labels[:, 0] for _, labels in dataset])
        assert len(set(numbers)) == len(numbers) == 42
        for inputs, labels in dataset:
            np.testing.assert_array_equal(inputs, tf.gather(cached.inputs, tf.cast(labels[:, 0], tf.int32)))
    assert found[3] == found[1]
    assert len({batch for one in found[:3] for batch in one}) == 18
    for skip in (1, 5, 6):
        rest = pipeline.training_dataset(asked, sources, cached, epoch=2, skip=skip)
        assert batches(rest) == found[2][skip:]
        assert rest.element_spec == dataset.element_spec
        assert len(rest) == 6 - skip


def test_a_part_that_is_not_there_is_an_error(config: Config, sources: Sources, training: Pipeline) -> None:
    for skip in (-1, 49):
        with pytest.raises(ValueError, match=f"skip must be at least 0 and at most 48. Received: {skip}"):
            training(config(batch_size=1), sources, skip=skip)


def test_an_epoch_that_is_read_does_not_change_with_the_variable(
    config: Config, sources: Sources, training: Pipeline
) -> None:
    epoch = tf.Variable(3, dtype=tf.int64)
    asked = config(augment="full", batch_size=2)
    dataset = training(asked, sources, "decoded", epoch=epoch)
    iterator = dataset.as_numpy_iterator()
    first = next(iterator)
    epoch.assign(4)
    rest = [(images.tobytes(), labels.tobytes()) for images, labels in (first, *iterator)]
    assert rest == batches(training(asked, sources, "decoded", epoch=3))


@pytest.mark.parametrize("kept", ["none", pytest.param("streamed", marks=pytest.mark.slow), "decoded"])
def test_two_datasets_give_each_example_once(
    kept: str,
    config: Config,
    both: Sources,
    training: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kept == "streamed":
        monkeypatch.setattr(reading, "SHUFFLE_BYTES", 20_000)
    asked = config(data=("a", "b"), augment="none", batch_size=1)
    stored = Counter(batches(pipeline.evaluation_dataset(asked, both, "train")))
    assert len(stored) == 58
    for epoch in range(2):
        assert Counter(batches(training(asked, both, kept, epoch=epoch))) == stored


@pytest.mark.parametrize("augment", CHOICES["augment"])
@pytest.mark.parametrize("size", [16, pytest.param(24, marks=RARE)])
def test_images_may_be_smaller_than_those_of_the_run(
    size: int, augment: str, config: Config, sources: Sources, training: Pipeline
) -> None:
    asked = config(augment=augment, batch_size=9)
    seen = [batches(training(asked, sources, kept, image_size=size)) for kept in ("none", "encoded", "decoded")]
    assert seen.count(seen[0]) == 3
    dataset = training(asked, sources, "decoded", image_size=size)
    assert dataset.element_spec[0].shape == (9, size, size, 3)
    rest = training(asked, sources, "decoded", image_size=size, skip=3)
    assert batches(rest) == seen[0][3:]
    # The order does not depend on the size.
    labels = [labels for _, labels in batches(training(asked, sources, "decoded"))]
    if augment != "full":
        assert [each for _, each in seen[0]] == labels


@pytest.mark.parametrize("kept", ["none", "decoded"])
def test_smaller_images_are_those_of_the_run_reduced(
    kept: str, config: Config, sources: Sources, training: Pipeline, validation: Pipeline
) -> None:
    asked = config(augment="none", batch_size=48)
    for make, split in ((training, None), (validation, "validation")):
        given = (asked, sources, kept) if split is None else (asked, sources, split, kept)
        [(large, _)], [(small, _)] = (list(make(*given, image_size=size)) for size in (32, 8))
        assert small.shape[1:] == (8, 8, 3)
        means = tf.reduce_mean(tf.reshape(tf.cast(large, tf.float32), [-1, 8, 4, 8, 4, 3]), [2, 4])
        assert np.abs(means - tf.cast(small, tf.float32)).max() <= 1


@pytest.mark.parametrize("weights", [(3.0, 1.0), (1.0, 1.0), (1.0, 9.0)])
def test_with_weights_no_example_comes_again_before_all_others_have(weights: tuple[float, float]) -> None:
    order = reading.order([48, 10], weights, 1000, tf.constant([1, 2], tf.int64)).numpy()
    for first, size, weight in ((0, 48, weights[0]), (48, 10, weights[1])):
        drawn = order[(order >= first) & (order < first + size)]
        assert abs(len(drawn) / 1000 - weight / sum(weights)) < 0.06
        passes = [tuple(drawn[i : i + size]) for i in range(0, len(drawn) - size + 1, size)]
        assert all(sorted(one) == list(range(first, first + size)) for one in passes)
        assert len(set(passes)) == len(passes)


def test_an_order_is_any_permutation() -> None:
    seen = Counter(tuple(reading.order([3], (), 3, tf.constant([0, i], tf.int64)).numpy()) for i in range(600))
    assert len(seen) == 6
    assert min(seen.values()) > 60
