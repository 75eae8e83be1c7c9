"""Averaged weights follow the steps of the optimizer, and a model has them only while it is asked to."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.sources import Sources
from trainer.system import numerics
from trainer.training import averaging

Config = Callable[..., TrainConfig]
Compiled = Callable[[TrainConfig, Sources], keras.Model]


def _network(**compiled: Any) -> keras.Model:
    """Returns a small model with batch normalization, an optimizer that averages, and a loss."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    x = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.Dense(4)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid", dtype="float32")(x))
    settings = {"momentum": 0.9, "learning_rate": 0.05, **compiled}
    network.compile(averaging.AdamW(averaging.weights_to_average(network), **settings), "binary_crossentropy")
    return network


def _batch(seed: int, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 3)).astype(np.float32), rng.integers(0, 2, (size, 2)).astype(np.float32)


def _weights(network: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in averaging.weights_to_average(network)]


def _expected(history: list[list[np.ndarray]], most: float) -> list[np.ndarray]:
    """Returns the average of the weights after each step, by its definition."""
    average = history[0]
    for step, weights in enumerate(history[1:], start=2):
        momentum = min(most, (step - 1) / (step + 8))
        average = [momentum * old + (1 - momentum) * new for old, new in zip(average, weights, strict=True)]
    return average


def _assert_equal(found: list[Any], expected: list[np.ndarray], **tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), other, **{"rtol": 0, "atol": 0, **tolerance})


@pytest.mark.parametrize("momentum", [0.3, 0.999])
def test_the_average_is_that_of_the_weights_after_each_step(momentum: float) -> None:
    network, history = _network(momentum=momentum), []
    for i in range(12):
        network.train_on_batch(*_batch(i))
        history.append(_weights(network))
    # Statistics of batch normalization are weights too.
    assert len(history[0]) == 2 + 4 + 2
    _assert_equal(averaging.variables(network), _expected(history, momentum), rtol=1e-5, atol=1e-6)


def test_a_model_has_the_average_within_and_its_own_weights_afterwards() -> None:
    network = _network()
    for i in range(5):
        network.train_on_batch(*_batch(i))
    live, average = _weights(network), [variable.numpy() for variable in averaging.variables(network)]
    with averaging.averaged(network):
        _assert_equal(_weights(network), average)
        with averaging.averaged(network):
            _assert_equal(_weights(network), average)
        _assert_equal(_weights(network), average)
    _assert_equal(_weights(network), live)
    with pytest.raises(KeyError), averaging.averaged(network):
        raise KeyError
    _assert_equal(_weights(network), live)
    assert any(not np.array_equal(one, other) for one, other in zip(live, average, strict=True))


def test_before_the_first_step_and_without_an_average_nothing_is_changed() -> None:
    network = _network()
    # As a checkpoint would.
    network.set_weights([weights + 1 for weights in network.get_weights()])
    expected = _weights(network)
    with averaging.averaged(network):
        _assert_equal(_weights(network), expected)
    network.compile(keras.optimizers.AdamW(), "binary_crossentropy")
    network.train_on_batch(*_batch(0))
    assert averaging.variables(network) == []
    expected = _weights(network)
    with averaging.averaged(network):
        _assert_equal(_weights(network), expected)


def test_the_average_moves_at_the_steps_alone_if_several_batches_make_one() -> None:
    network, history = _network(gradient_accumulation_steps=3), []
    for i in range(12):
        before = [variable.numpy() for variable in averaging.variables(network)]
        network.train_on_batch(*_batch(i))
        if i % 3 == 2:
            history.append(_weights(network))
        else:
            _assert_equal(averaging.variables(network), before)
    _assert_equal(averaging.variables(network), _expected(history, 0.9), rtol=1e-5, atol=1e-6)


def test_fitting_leaves_the_weights_of_the_last_step() -> None:
    network, history = _network(), []
    record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: history.append(_weights(network)))
    data = tf.data.Dataset.from_tensor_slices(_batch(0, 24)).batch(8)
    network.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[record])
    _assert_equal(_weights(network), history[-1])
    _assert_equal(averaging.variables(network), _expected(history, 0.9), rtol=1e-5, atol=1e-6)


def test_a_short_training_does_not_keep_its_first_weights() -> None:
    """After 30 steps on a line, Keras's average with 0.99 is still behind by 26 steps; this one by three."""
    network = _network(momentum=0.99)
    variable = network.trainable_variables[0]
    for step in range(1, 31):
        variable.assign(tf.fill(variable.shape, float(step)))
        network.optimizer.average.update(tf.constant(step - 1), tf.constant(step))
    behind = 30 - averaging.variables(network)[0].numpy()
    assert np.all((behind > 2) & (behind < 4))


def test_in_float16_a_step_that_overflows_moves_no_average(
    config: Config, sources: Sources, compiled: Compiled
) -> None:
    numerics.fix("mixed_float16")
    try:
        network = compiled(config(image_size=8, ema=0.9, model="small_resnet"), sources)
    finally:
        numerics.fix()
    assert isinstance(network.optimizer, keras.optimizers.LossScaleOptimizer)
    before = [variable.numpy() for variable in averaging.variables(network)]
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.eye(4, dtype=np.float32)
    network.optimizer.dynamic_scale.assign(2.0**126)
    network.train_on_batch(images, labels)
    assert int(network.optimizer.iterations) == 0
    _assert_equal(averaging.variables(network), before)
    network.optimizer.dynamic_scale.assign(1.0)
    network.train_on_batch(images, labels)
    assert int(network.optimizer.iterations) == 1
    _assert_equal(averaging.variables(network), _weights(network))
