"""Kernels of convolutions are trained by Muon, and all other variables by AdamW."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from trainer.training import muon

_RATE = 1e-2


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000), st.floats(1e-6, 1e6))
def test_all_directions_of_a_matrix_become_as_long(rows: int, columns: int, seed: int, scale: float) -> None:
    left, values, right = np.linalg.svd(np.random.default_rng(seed).normal(size=(rows, columns)), full_matrices=False)
    # None is lost in rounding.
    matrix = (left * np.maximum(values, 0.1 * values[0])) @ right
    found = muon.orthogonalized(tf.constant(scale * matrix, tf.float32)).numpy()
    within = left.T @ found @ right.T
    np.testing.assert_allclose(within, np.diag(np.diag(within)), atol=1e-3)
    assert np.all(np.diag(within) > 0.6)
    assert np.all(np.diag(within) < 1.3)


@pytest.mark.parametrize("shape", [(2304, 256), (27, 32), (16, 200)])
def test_the_iterations_are_those_of_keras(shape: tuple[int, int]) -> None:
    matrix = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
    expected = keras.optimizers.Muon().zeropower_via_newtonschulz5(matrix, 5)
    np.testing.assert_allclose(muon.orthogonalized(matrix), expected, atol=1e-4)


def test_a_kernel_without_a_gradient_stays() -> None:
    np.testing.assert_array_equal(muon.orthogonalized(tf.zeros([9, 4])), np.zeros([9, 4]))


def _step(optimizer: keras.optimizers.Optimizer, layer: keras.layers.Layer, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Returns how a step changes the weights of a layer."""
    layer.build((None, *shape))
    random = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    before = [variable.numpy() for variable in layer.trainable_variables]
    optimizer.build(layer.trainable_variables)
    gradients = [tf.constant(random.normal(size=variable.shape), tf.float32) for variable in layer.trainable_variables]
    optimizer.apply(gradients)
    return [variable.numpy() - old for variable, old in zip(layer.trainable_variables, before, strict=True)]


@pytest.mark.parametrize(
    "layer, shape",
    [
        (lambda: keras.layers.Dense(5), (7,)),
        (lambda: keras.layers.DepthwiseConv2D(3), (8, 8, 4)),
        (lambda: keras.layers.Conv1D(4, 3), (8, 4)),
        (lambda: keras.layers.BatchNormalization(), (8, 8, 4)),
    ],
    ids=["dense", "depthwise", "one dimension", "normalization"],
)
def test_all_but_convolutions_has_steps_of_adamw(layer: type, shape: tuple[int, ...]) -> None:
    arguments = {"learning_rate": _RATE, "weight_decay": 0.3}
    found = _step(muon.Muon(**arguments), layer(), shape)
    expected = _step(keras.optimizers.AdamW(**arguments), layer(), shape)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_of_a_convolution_goes_as_far_in_all_directions() -> None:
    kernel, bias = _step(muon.Muon(learning_rate=_RATE, weight_decay=0.0), keras.layers.Conv2D(16, 3), (8, 8, 8))
    lengths = np.linalg.svd(kernel.reshape(72, 16), compute_uv=False)
    assert lengths[-1] > 0.5 * lengths[0]
    # As large as steps of AdamW are in the middle of a training.
    assert 0.1 * _RATE < np.sqrt(np.mean(kernel**2)) < 0.3 * _RATE
    # The first step of AdamW.
    np.testing.assert_allclose(np.abs(bias), _RATE, rtol=1e-3)


def test_weights_decay_as_those_of_adamw() -> None:
    layer = keras.layers.Conv2D(16, 3, use_bias=False)
    layer.build((None, 8, 8, 8))
    (kernel,) = layer.trainable_variables
    before = kernel.numpy()
    optimizer = muon.Muon(learning_rate=_RATE, weight_decay=0.3)
    optimizer.build([kernel])
    optimizer.apply([tf.zeros(kernel.shape)])
    np.testing.assert_allclose(kernel.numpy(), before * (1 - 0.3 * _RATE), rtol=1e-6)


def test_momentum_goes_on_where_gradients_end() -> None:
    layer = keras.layers.Conv2D(16, 3, use_bias=False)
    layer.build((None, 8, 8, 8))
    (kernel,) = layer.trainable_variables
    optimizer = muon.Muon(learning_rate=_RATE, weight_decay=0.0)
    optimizer.build([kernel])
    gradient = tf.constant(np.random.default_rng(2).normal(size=kernel.shape), tf.float32)
    steps = []
    for given_gradient in (gradient, tf.zeros_like(gradient)):
        before = kernel.numpy()
        optimizer.apply([given_gradient])
        steps.append(kernel.numpy() - before)
    np.testing.assert_allclose(steps[1], steps[0], atol=1e-5)
    assert np.abs(steps[0]).max() > 1e-4
