"""Nothing of the input pipeline calls Python: its whole graph is walked, for every setting."""

from collections.abc import Callable, Iterator

import pytest
import tensorflow as tf

from trainer.config import CHOICES, TrainConfig
from trainer.sources import Sources
from trainer.training import throughput

Pipeline = Callable[..., tf.data.Dataset]
# The fast tests have examples that are read anew and examples that are cached.
KEPT = [
    "none",
    pytest.param("encoded", marks=pytest.mark.slow),
    "decoded",
    pytest.param("disk", marks=pytest.mark.slow),
]


def ops(dataset: tf.data.Dataset) -> set[str]:
    """Returns the names of all operations of a dataset and of every function that it calls."""
    graph = tf.compat.v1.GraphDef.FromString(dataset._as_serialized_graph().numpy())
    return {
        node.op for nodes in (graph.node, *(function.node_def for function in graph.library.function)) for node in nodes
    }


def python_ops(dataset: tf.data.Dataset) -> set[str]:
    """Returns the operations of a dataset that run Python, or may."""
    return {op for op in ops(dataset) if "Py" in op or "GeneratorDataset" in op}


@pytest.mark.parametrize("augment", CHOICES["augment"])
@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("split", ["train", "jpegs"])
def test_training_runs_no_python(
    split: str, kept: str, augment: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    batches = training(config(augment=augment, train_split=split), sources, kept)
    dataset = throughput.timed(batches, throughput.waited_variable())
    assert python_ops(dataset) == set()
    # The walk went into the functions: decoding and augmentation are there.
    found = ops(dataset)
    decoded_before = kept in ("decoded", "disk")
    assert ("DecodeJpeg" in found) == (not decoded_before)
    assert "DecodeAndCropJpeg" not in found
    assert ("DecodeImage" in found) == (split != "jpegs" and not decoded_before)
    # Images are cut and resized one by one, flipped all at once, or taken as they are. Decoding resizes as well.
    crops = augment in ("crop", "full")
    for op in ("StatelessWhile", "ResizeBilinear"):
        assert (op in found) == (crops or not decoded_before)
    assert ("Slice" in found) >= crops
    assert ("DynamicStitch" in found) == (augment == "flip")
    assert ("ReverseV2" in found) == (augment != "none")
    assert ("CacheDatasetV2" in found) == (kept == "encoded")


@pytest.mark.parametrize("augment", CHOICES["augment"])
@pytest.mark.parametrize("kept", ["none", "encoded"])
@pytest.mark.parametrize("split", ["train", "jpegs"])
def test_of_originals_only_the_crop_is_decoded(
    split: str, kept: str, augment: str, config: Callable[..., TrainConfig], sources: Sources, training: Pipeline
) -> None:
    dataset = training(config(augment=augment, train_split=split, crop_from="original"), sources, kept)
    assert python_ops(dataset) == set()
    crops = augment in ("crop", "full")
    assert ("DecodeAndCropJpeg" in ops(dataset)) == crops
    assert ("DecodeJpeg" in ops(dataset)) != crops


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("split", ["train", "jpegs"])
def test_evaluation_runs_no_python(
    split: str, kept: str, config: Callable[..., TrainConfig], sources: Sources, validation: Pipeline
) -> None:
    dataset = validation(config(), sources, split, kept)
    assert python_ops(dataset) == set()
    assert ("CacheDatasetV2" in ops(dataset)) == (kept == "encoded")


def _same(value: tf.Tensor) -> tf.Tensor:
    return value


def _py_function(value: tf.Tensor) -> tf.Tensor:
    return tf.py_function(_same, [value], tf.int64)


def _numpy_function(value: tf.Tensor) -> tf.Tensor:
    return tf.numpy_function(_same, [value], tf.int64)


def _pure_numpy_function(value: tf.Tensor) -> tf.Tensor:
    return tf.numpy_function(_same, [value], tf.int64, stateful=False)


def _count() -> Iterator[int]:
    yield from range(3)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        pytest.param(lambda: tf.data.Dataset.range(3).map(_py_function), "EagerPyFunc", id="py_function"),
        pytest.param(lambda: tf.data.Dataset.range(3).map(_numpy_function), "PyFunc", id="numpy_function"),
        pytest.param(
            lambda: tf.data.Dataset.range(3).map(_pure_numpy_function), "PyFuncStateless", id="stateless numpy_function"
        ),
        pytest.param(
            lambda: tf.data.Dataset.range(2).interleave(lambda _: tf.data.Dataset.range(3).map(_py_function)),
            "EagerPyFunc",
            id="py_function in a function in a function",
        ),
        pytest.param(
            lambda: tf.data.Dataset.from_generator(_count, output_signature=tf.TensorSpec((), tf.int64)),
            "GeneratorDataset",
            id="generator",
        ),
    ],
)
def test_the_walk_finds(dataset: Callable[[], tf.data.Dataset], expected: str) -> None:
    assert expected in python_ops(dataset())


def test_the_walk_lets_pure_pipelines_pass() -> None:
    dataset = tf.data.Dataset.range(9).map(lambda value: value + 1).shuffle(9).batch(2).cache().prefetch(1)
    assert python_ops(dataset) == set()
    assert {"RangeDataset", "AddV2", "CacheDatasetV2"} <= ops(dataset)
