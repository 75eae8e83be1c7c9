"""Batch normalization in a training is that of Keras: outputs, gradients, moving averages and files."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from schemas.metadata import DatasetInfo
from trainer.config import TrainConfig
from trainer.models import model, normalization
from trainer.system import numerics

_SHAPES = [(8, 6, 5, 4), (32, 1, 1, 16), (2, 3, 3, 1), (1, 1, 1, 3)]


def _pair(channels: int, dtype: str) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """Returns our layer and that of Keras, with the same values."""
    with_policy = keras.config.dtype_policy().name
    keras.config.set_dtype_policy(dtype)
    try:
        pair = (
            normalization.batch_normalization(momentum=0.9, name="ours"),
            keras.layers.BatchNormalization(momentum=0.9, name="theirs"),
        )
    finally:
        keras.config.set_dtype_policy(with_policy)
    rng = np.random.default_rng(1)
    values = [rng.uniform(0.5, 1.5, channels), *rng.normal(0, 1, (2, channels)), rng.uniform(0.5, 2, channels)]
    for layer in pair:
        layer.build((None, None, None, channels))
        layer.set_weights(values)
    return pair


def _step(layer: keras.layers.Layer, inputs: tf.Tensor, in_graph: bool, **arguments: Any) -> list[np.ndarray]:
    """Returns the outputs of a layer, the gradients of its inputs and weights, and its moving averages after it."""
    factors = tf.constant(np.random.default_rng(2).normal(size=inputs.shape), tf.float32)

    def step(inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, **arguments)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2 * factors)
        variables = [variable.value for variable in layer.trainable_variables]
        return [outputs, *tape.gradient(loss, [inputs, *variables])]

    found = tf.function(step)(inputs) if in_graph else step(inputs)
    return [np.asarray(tf.cast(value, tf.float32)) for value in [*found, *layer.non_trainable_variables]]


@pytest.mark.parametrize("in_graph", [True, False], ids=["graph", "eager"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("shape", _SHAPES, ids=str)
def test_a_step_is_that_of_keras(shape: tuple[int, ...], dtype: str, in_graph: bool) -> None:
    ours, theirs = _pair(shape[-1], dtype)
    inputs = tf.cast(np.random.default_rng(0).normal(1, 2, shape), ours.compute_dtype)
    found, expected = (_step(layer, inputs, in_graph, training=True) for layer in (ours, theirs))
    assert len(found) == len(expected) == 6
    close = 1e-4 if dtype == "float32" else 0.02
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=close, atol=close * max(1, np.abs(other).max()))
    # The moving averages are float32 in any case, and the variance is divided by n.
    for one, other in zip(found[-2:], expected[-2:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("arguments", [{"training": False}, {}, {"training": True}], ids=["not training", "", "frozen"])
def test_evaluation_and_a_frozen_layer_are_those_of_keras(arguments: dict[str, Any]) -> None:
    ours, theirs = _pair(4, "float32")
    ours.trainable = theirs.trainable = False
    inputs = tf.constant(np.random.default_rng(0).normal(1, 2, (8, 6, 5, 4)), tf.float32)
    for found, expected in zip(*(_step(layer, inputs, True, **arguments) for layer in (ours, theirs)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


_LOAD = """
import sys, keras, numpy as np
network = keras.saving.load_model(sys.argv[1])
kinds = {type(layer) for part in network.layers if isinstance(part, keras.Model) for layer in part.layers}
assert keras.layers.BatchNormalization in kinds
assert all(kind.__module__.startswith("keras.") for kind in kinds)
assert "trainer" not in sys.modules
images = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
np.save(sys.argv[2], np.stack([network(images, training=training) for training in (False, True)]))
"""


@pytest.mark.slow
def test_a_model_is_loaded_without_this_package(
    config: Callable[..., TrainConfig], info: DatasetInfo, tmp_path: Path
) -> None:
    network = model.build(config(), info.split("train").statistics)
    backbone = model.backbone_of(network)
    assert backbone
    # Dropout is random, and not what is compared.
    backbone.get_layer("dropout").rate = 0.0
    images = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
    normalization_of_stem = backbone.get_layer("stem_bn")
    network(images, training=True)
    assert np.any(normalization_of_stem.moving_mean)
    model.of_size(network, 24).save(tmp_path / "model.keras")
    subprocess.run(
        [sys.executable, "-c", _LOAD, str(tmp_path / "model.keras"), str(tmp_path / "found.npy")],
        cwd=tmp_path,
        check=True,
    )
    expected = np.stack([np.asarray(network(images, training=training)) for training in (False, True)])
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-4)


def test_a_model_learns_what_it_learns_with_the_layers_of_keras(
    config: Callable[..., TrainConfig], info: DatasetInfo
) -> None:
    ours = model.build(config(), info.split("train").statistics)
    theirs = keras.models.clone_model(ours, clone_function=_cloned)
    theirs.set_weights(ours.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    labels = np.eye(8, 4, dtype=np.float32)
    for network in (ours, theirs):
        network.compile(optimizer=keras.optimizers.SGD(0.05), loss="binary_crossentropy")
        for _ in range(2):
            network.train_on_batch(images, labels)
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=2e-3, err_msg=one.path)


def _cloned(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns a layer of Keras as a file of a model describes it, without dropout."""
    if isinstance(layer, keras.Model):
        return keras.models.clone_model(layer, clone_function=_cloned)
    if isinstance(layer, keras.layers.Dropout):
        layer.rate = 0.0
    return type(layer).from_config(layer.get_config())


def test_the_layer_is_one_of_keras() -> None:
    numerics.fix()
    layer = normalization.batch_normalization(momentum=0.9, name="norm")
    assert type(layer) is keras.layers.BatchNormalization
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert "call" not in vars(again)
