"""`trainer.load` gives a loop of the user's own the batches of the trainer, epoch by epoch, from any place on."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import trainer
from multihot.errors import UserError
from schemas.example import UNKNOWN
from trainer.config import TrainConfig
from trainer.input import pipeline
from trainer.loading import in_keywords, load
from trainer.sources import Sources

Config = Callable[..., TrainConfig]
Pipeline = Callable[..., tf.data.Dataset]
Batches = list[tuple[np.ndarray, np.ndarray]]

_ROOT = Path(__file__).parents[2]
_CACHES = [
    "none",
    pytest.param("encoded", marks=pytest.mark.slow),
    "decoded",
    pytest.param("disk", marks=pytest.mark.slow),
]


@pytest.fixture
def loaded(data: Path, tmp_path: Path) -> Pipeline:
    """Returns `trainer.load` for the made dataset, small images and batches, and what else a test asks for."""
    small: dict[str, Any] = {"image_size": 16, "batch_size": 8, "cache": "none", "cache_dir": tmp_path / "caches"}
    return lambda **asked: trainer.load(data, **{**small, **asked})


def _read(dataset: tf.data.Dataset) -> Batches:
    return [(images.copy(), labels.copy()) for images, labels in dataset.as_numpy_iterator()]


def _assert_same(found: Batches, expected: Batches) -> None:
    assert len(found) == len(expected)
    for batch, other in zip(found, expected, strict=True):
        for array, wanted in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, wanted)


def _differ(epoch: Batches, other: Batches) -> bool:
    return any((images != others).any() for (images, _), (others, _) in zip(epoch, other, strict=True))


@pytest.mark.parametrize(
    ("augment", "dtype"), [("none", tf.uint8), ("flip", tf.uint8), (None, tf.uint8), ("full", tf.float32)]
)
def test_each_iteration_is_the_next_epoch_of_the_trainer(
    augment: str | None, dtype: tf.DType, loaded: Pipeline, config: Config, sources: Sources
) -> None:
    dataset = loaded(augment=augment, seed=5)
    asked = {"image_size": 16, "train_sizes": (), "batch_size": 8, "seed": 5, "min_crop_area": 0.3, "mixup": 0.0}
    of_run = config(augment=augment or "crop", **asked)
    epochs = [_read(dataset) for _ in range(3)]
    for number, epoch in enumerate(epochs):
        _assert_same(epoch, _read(pipeline.training_dataset(of_run, sources, epoch=number)))
    assert _differ(epochs[0], epochs[1])
    assert _differ(epochs[1], epochs[2])
    assert dataset.element_spec == (tf.TensorSpec([8, 16, 16, 3], dtype), tf.TensorSpec([8, 4], tf.float32))
    assert len(dataset) == len(epochs[0]) == 6
    assert dataset.class_names == ["blue", "green", "red", "yellow"]


@pytest.mark.parametrize("cache", _CACHES)
def test_goes_on_within_an_epoch(cache: str, loaded: Pipeline) -> None:
    dataset = loaded()
    _, second, third = (_read(dataset) for _ in range(3))
    late = loaded(cache=cache, first_epoch=1, skip_batches=4)
    _assert_same(_read(late), second[4:])
    _assert_same(_read(late), third)
    assert late.cardinality() == tf.data.UNKNOWN_CARDINALITY
    assert late.element_spec == dataset.element_spec


@pytest.mark.parametrize(
    ("first_epoch", "skip_batches"),
    [pytest.param(2, 0, id="an epoch"), pytest.param(1, 6, id="after an epoch"), pytest.param(0, 12, id="after two")],
)
def test_goes_on_at_the_start_of_an_epoch(first_epoch: int, skip_batches: int, loaded: Pipeline) -> None:
    dataset = loaded()
    third = [_read(dataset) for _ in range(3)][-1]
    late = loaded(first_epoch=first_epoch, skip_batches=skip_batches)
    _assert_same(_read(late), third)
    assert len(late) == 6


def test_an_iteration_that_is_broken_off_is_an_epoch(loaded: Pipeline) -> None:
    whole, broken_off = loaded(), loaded()
    first, second = _read(whole), _read(whole)
    _assert_same(_read(broken_off.take(2)), first[:2])
    # An iterator of which nothing is asked is none: Keras makes such ones.
    iter(broken_off)
    _assert_same(_read(broken_off), second)


def test_epochs_follow_each_other_behind_other_steps_and_in_a_graph(loaded: Pipeline) -> None:
    dataset = loaded()
    sums = [sum(int(images.sum()) for images, _ in _read(dataset)) for _ in range(3)]

    @tf.function
    def total(batches: tf.data.Dataset) -> tf.Tensor:
        found = tf.constant(0, tf.int64)
        for images, _ in batches:
            found += tf.reduce_sum(tf.cast(images, tf.int64))
        return found

    behind = loaded().map(lambda images, labels: (images, labels)).prefetch(2)
    assert [int(total(behind)) for _ in range(3)] == sums
    assert int(total(loaded().repeat(3))) == sum(sums)
    assert len(set(sums)) == 3


def test_fit_of_keras_trains_an_epoch_of_its_own_in_each_epoch(loaded: Pipeline) -> None:
    dataset = loaded()
    expected = [sum(float(images.mean()) for images, _ in _read(dataset)) / 6 for _ in range(3)]

    images = keras.Input((16, 16, 3))
    sums = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(keras.ops.mean(images, axis=(1, 2)))
    model = keras.Model(images, sums)
    # The loss is the mean of the pixels, and nothing is learned.
    model.compile(keras.optimizers.SGD(0.0), loss=lambda labels, sums: sums / 3)
    history = model.fit(loaded(), epochs=3, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("cache", _CACHES)
@pytest.mark.parametrize("split", ["validation", "jpegs"])
def test_other_splits_have_every_image_once_in_order(
    split: str, cache: str, loaded: Pipeline, config: Config, sources: Sources
) -> None:
    dataset = loaded(split=split, cache=cache)
    expected = _read(pipeline.evaluation_dataset(config(image_size=16, batch_size=8), sources, split))
    for _ in range(2):
        _assert_same(_read(dataset), expected)
    assert len(dataset) == len(expected)
    assert dataset.element_spec[0] == tf.TensorSpec([None, 16, 16, 3], tf.uint8)
    assert dataset.class_names == ["blue", "green", "red", "yellow"]


def test_any_split_can_be_trained_on_and_none_has_to_be(loaded: Pipeline) -> None:
    other = loaded(split="validation", training=True)
    assert _differ(_read(other), _read(other))
    as_it_is = loaded(training=False)
    _assert_same(_read(as_it_is), _read(as_it_is))
    assert sum(len(labels) for _, labels in _read(as_it_is)) == 48


def test_several_datasets_and_some_classes(data: Path, many: str) -> None:
    dataset = trainer.load([many], image_size=8, batch_size=10, classes=["class 7", "class 3"], cache="none")
    assert dataset.class_names == ["class 7", "class 3"]
    assert sum(labels.sum(axis=0) for _, labels in _read(dataset)).tolist() == [3, 3]
    assert trainer.load(many, split="validation", classes="class 3", cache="none").element_spec[1].shape == [None, 1]
    with pytest.raises(UserError, match=r"must have the same classes.* name them: classes$"):
        trainer.load([data, many])


def test_unknown_labels_are_2(
    convert_to: Callable[..., Any], scenes: Path, tmp_path: Path, write_csv: Callable[..., Path]
) -> None:
    lines = (scenes / "labels.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines]
    labels = write_csv(tmp_path / "labels.csv", [rows[0], *([name, "?", *more] for name, _, *more in rows[1:])])
    convert_to(tmp_path / "out", csv=labels, unknown_labels=("?",))
    validation = trainer.load(tmp_path / "out" / "scenes" / "1.0.0", split="validation", image_size=16, cache="none")
    for _, found in validation.as_numpy_iterator():
        assert (found[:, 0] == UNKNOWN).all()
        assert (found[:, 1:] < UNKNOWN).all()
    assert UNKNOWN == 2


@pytest.mark.parametrize("asked", [{}, {"augment": "full", "cache": "encoded", "skip_batches": 2}, {"split": "jpegs"}])
def test_runs_no_python(asked: dict[str, Any], loaded: Pipeline) -> None:
    graph = tf.compat.v1.GraphDef.FromString(loaded(**asked)._as_serialized_graph().numpy())
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    found = {node.op for node in nodes}
    assert not [op for op in found if "Py" in op or "GeneratorDataset" in op]
    assert "DecodeJpeg" in found


def test_keywords_are_flags() -> None:
    parameters = inspect.signature(load).parameters
    of_its_own = {"split", "training", "first_epoch", "skip_batches"}
    assert parameters.keys() - TrainConfig.__dataclass_fields__.keys() == of_its_own
    documented = inspect.getdoc(load)
    assert documented
    assert not [name for name in parameters if f"    {name}: " not in documented]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"image_size": 0}, "image_size must be at least 1. Received: 0"),
        ({"image_size": 2.5}, "image_size must be a whole number. Received: 2.5"),
        ({"batch_size": "8"}, "batch_size must be a whole number. Received: '8'"),
        ({"skip_batches": -1}, "skip_batches must be at least 0. Received: -1"),
        ({"seed": 2**32}, "seed must be at least 0 and less than 2**32. Received: 4294967296"),
        ({"augment": "mixup"}, "augment must be one of none, flip, crop, full. Received: 'mixup'"),
        ({"cache": "features"}, "cache must be one of auto, decoded, encoded, disk, none. Received: 'features'"),
        ({"classes": ["blue", "sea"]}, "classes: {data} has no sea. It has: blue, green, red, yellow"),
        ({"classes": None}, "classes must be a list. Received: None"),
        ({"classes": ["blue", 1]}, "classes must be names. Received: 1"),
        ({"data_weights": 3}, "data_weights must be a list. Received: 3"),
        ({"data_weights": ("a",)}, "data_weights must be a number. Received: 'a'"),
        ({"mixup": None}, "mixup must be a number. Received: None"),
        ({"min_crop_area": "x"}, "min_crop_area must be a number. Received: 'x'"),
        ({"cache_dir": None}, "cache_dir must be a path. Received: None"),
        ({"data_weights": (1, 2)}, "data_weights must have a weight for each data. Received: 1 data and 2 weights"),
        (
            {"split": "test"},
            "{data} has no image in the split 'test'. Images by split: jpegs (10), modes (14), train (48), validation "
            "(21).",
        ),
        (
            {"split": "validation", "augment": "crop"},
            "augment is for training, and the split 'validation' is not trained on: leave it out, or add training=True",
        ),
        (
            {"cache": "disk", "crop_from": "original"},
            "cache='disk' keeps resized images, but crop_from='original' cuts crops from the original ones. Choose "
            "crop_from='resized', or cache='encoded', cache='none' or cache='auto'.",
        ),
    ],
)
def test_errors_name_keywords(asked: dict[str, Any], message: str, loaded: Pipeline, data: Path) -> None:
    with pytest.raises(UserError) as raised:
        loaded(**asked)
    assert str(raised.value) == message.format(data=data)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (None, "data must be a list. Received: None"),
        ([None], "data must be a path. Received: None"),
        (b"data", "data must be a path. Received: b'data'"),
    ],
)
def test_folders_must_be_paths(folders: Any, message: str) -> None:
    with pytest.raises(UserError) as raised:
        load(folders)
    assert str(raised.value) == message


def test_errors_of_folders_name_no_flag(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data is required.$"):
        trainer.load([])
    with pytest.raises(UserError, match=r"is not a dataset: it has no manifest\.json"):
        trainer.load(tmp_path)
    with pytest.raises(UserError, match=r"^data: .* are the same dataset.* set data_weights.$"):
        trainer.load([data, str(data)])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("--train_split and --validation_split", "split and split"),
        ("--cache=disk takes 3 MB. Choose another --cache_dir.", "cache='disk' takes 3 MB. Choose another cache_dir."),
        ("a--b is a file -- and --seed=1.", "a--b is a file -- and seed='1'."),
    ],
)
def test_flags_become_keywords(message: str, expected: str) -> None:
    assert in_keywords(message) == expected


def test_damaged_shards_are_named_when_a_cache_is_filled(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", data, copy], check=True)
    [shard, *_] = sorted((copy / "train").iterdir())
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(UserError, match=f"differ from the manifest: train/{shard.name}. Copy the dataset once more"):
        trainer.load(copy, image_size=16, cache="decoded")


def test_the_package_is_imported_without_tensorflow() -> None:
    program = "import sys, trainer; print(*sys.modules); trainer.load; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True)
    before, after = (set(line.split()) for line in found.stdout.splitlines())
    assert not {"tensorflow", "trainer.loading", "numpy"} & before
    assert "trainer.loading" in after


def test_the_package_gives_nothing_else() -> None:
    assert trainer.load is load
    with pytest.raises(AttributeError, match="module 'trainer' has no attribute 'train_all'"):
        _ = trainer.train_all  # type: ignore[attr-defined]
