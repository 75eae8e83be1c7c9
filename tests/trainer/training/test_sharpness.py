"""A step of SAM follows the gradient at nearby weights. Its loss and its statistics are those of a step of Keras."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.training import sharpness

_RATE = 0.1


def _plain(**options: Any) -> keras.Model:
    """Returns a small model with batch normalization and a frozen layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, trainable=False)(inputs)
    x = keras.layers.Dense(5, activation="tanh", **options)(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid")(x), name="small")


def _compiled(network: keras.Model, rho: float, optimizer: keras.optimizers.Optimizer | None = None) -> keras.Model:
    model = sharpness.model_of(network, rho)
    model.compile(optimizer or keras.optimizers.SGD(_RATE), "binary_crossentropy", jit_compile=False)
    return model


def _batch(seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=(8, 3)), tf.float32), tf.constant(rng.integers(0, 2, (8, 2)), tf.float32)


def _gradients(network: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> list[np.ndarray]:
    """Returns the gradients at the weights of a model. Its statistics stay as they are."""
    saved = network.get_weights()
    with tf.GradientTape() as tape:
        scores = network(batch[0], training=True)
        loss = keras.ops.mean(keras.losses.binary_crossentropy(batch[1], scores)) + sum(network.losses)
    found = [gradient.numpy() for gradient in tape.gradient(loss, network.trainable_variables)]
    network.set_weights(saved)
    return found


def _weights(network: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in network.trainable_variables]


def _assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"kernel_regularizer": "l2"}, {"activity_regularizer": keras.regularizers.L2(1.0)}],
    ids=["plain", "with a penalty on weights", "with a loss that a layer adds"],
)
def test_a_step_follows_the_gradient_at_the_nearby_weights(options: dict[str, Any]) -> None:
    network, rho, batch = _plain(**options), 0.5, _batch()
    start, up = _weights(network), _gradients(network, batch)
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in up))
    nearby = keras.models.clone_model(network)
    nearby.set_weights(network.get_weights())
    for variable, gradient in zip(nearby.trainable_variables, up, strict=True):
        variable.assign_add(rho * gradient / norm)
    down = _gradients(nearby, batch)
    _compiled(network, rho).train_on_batch(*batch)
    _assert_close(_weights(network), [old - _RATE * gradient for old, gradient in zip(start, down, strict=True)])
    # The test could not tell the two gradients apart otherwise.
    assert not np.allclose(up[0], down[0], rtol=1e-2)


def test_the_loss_and_the_statistics_are_those_of_a_step_without_it() -> None:
    batch, told = _batch(), []
    for rho in (0.0, 0.5):
        network = _plain()
        model = _compiled(network, rho)
        loss = model.train_on_batch(*batch)
        told.append([loss, *(variable.numpy() for variable in network.non_trainable_variables)])
    _assert_close(told[1], told[0])


def test_a_model_without_it_is_one_of_keras() -> None:
    network = _plain()
    assert type(sharpness.model_of(network, 0.0)) is type(network)
    assert sharpness.model_of(network, 0.1).name == network.name


def test_a_model_of_which_no_weight_is_trained_stays_as_it_is() -> None:
    network = _plain()
    network.trainable = False
    start = network.get_weights()
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        _compiled(network, 0.1).train_on_batch(*_batch())
    _assert_close(network.get_weights(), start)


def test_a_gradient_of_zero_changes_nothing() -> None:
    inputs = keras.Input((3,))
    network = keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid", kernel_initializer="zeros")(inputs))
    start = _weights(network)
    _compiled(network, 0.1).train_on_batch(tf.zeros((8, 3)), tf.fill((8, 2), 0.5))
    _assert_close(_weights(network), start)


def test_a_loss_that_is_scaled_gives_the_same_step() -> None:
    ends = []
    for scaled in (False, True):
        network = _plain()
        optimizer = keras.optimizers.SGD(_RATE)
        _compiled(network, 0.5, keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer).train_on_batch(
            *_batch()
        )
        ends.append(_weights(network))
    _assert_close(ends[1], ends[0])


class _Positions(keras.layers.Layer):
    """Adds an embedding of each position, as transformers do. It has another weight, which it does not use."""

    def build(self, shape: tuple[int, ...]) -> None:
        self._embedding = keras.layers.Embedding(shape[1], 1)
        self._embedding.build((shape[1],))
        self._unused = self.add_weight(shape=(2,), initializer="ones")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + tf.reshape(self._embedding(tf.range(3)), (1, 3))


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
def test_embeddings_and_weights_that_are_not_used_are_no_obstacle() -> None:
    inputs = keras.Input((3,))
    positions = _Positions()
    network = keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid")(positions(inputs)))
    start, unused = positions._embedding.embeddings.numpy(), positions._unused.numpy()
    _compiled(network, 0.5).train_on_batch(*_batch())
    assert not np.array_equal(positions._embedding.embeddings, start)
    np.testing.assert_array_equal(positions._unused, unused)
