"""Predictions have every example once, in any size of batches, and the model as it is in inference."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.inference import Predictor
from trainer.input import pipeline
from trainer.losses import LabelLoss
from trainer.sources import Sources


class Brightness(keras.Model):
    """Returns the mean brightness of each channel of an image as its score."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2]) / 255


def test_predictions_are_the_same_in_batches_with_an_uneven_rest() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    labels = rng.integers(0, 2, (20, 3)).astype(np.float32)
    whole, parts = (
        Predictor(Brightness(), tf.data.Dataset.from_tensor_slices((images, labels)).batch(size), 20)()
        for size in (20, 7)
    )
    np.testing.assert_array_equal(whole.labels, labels)
    np.testing.assert_allclose(whole.scores, images.mean(axis=(1, 2)) / 255, rtol=1e-5)
    np.testing.assert_array_equal(parts.labels, whole.labels)
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-6)


def test_a_split_is_evaluated_alike_in_batches_of_any_size(
    config: Callable[..., TrainConfig], sources: Sources
) -> None:
    found = [
        Predictor(Brightness(), pipeline.evaluation_dataset(config(batch_size=batch_size), sources, "validation"), 21)()
        for batch_size in (4, 21)
    ]
    np.testing.assert_array_equal(found[0].labels, found[1].labels)
    np.testing.assert_allclose(found[0].scores, found[1].scores, rtol=1e-6)


def test_dropout_and_batch_statistics_are_off() -> None:
    model = keras.Sequential(
        [keras.Input((2, 2, 3)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.9), keras.layers.Flatten()]
    )
    images = np.random.default_rng(0).random((6, 2, 2, 3)).astype(np.float32)
    batches = tf.data.Dataset.from_tensor_slices((images, np.zeros((6, 3), np.float32))).batch(3)
    np.testing.assert_allclose(Predictor(model, batches, 6)().scores, images.reshape(6, -1), rtol=1e-2)


def _linear(loss: str, gain: float) -> keras.Model:
    """Returns a model of images of 4 x 6 pixels, of which each side has weights of its own."""
    keras.utils.set_random_seed(0)
    activation = "softmax" if loss == "categorical_crossentropy" else "sigmoid"
    network = keras.Sequential(
        [keras.Input((4, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(3, activation=activation)]
    )
    network.layers[-1].kernel.assign(network.layers[-1].kernel * gain)
    network.compile("sgd", LabelLoss(loss) if loss == "asymmetric" else loss)
    return network


@pytest.mark.parametrize("gain", [1, 30])
@pytest.mark.parametrize("loss", ["binary_crossentropy", "asymmetric", "categorical_crossentropy"])
def test_scores_and_loss_are_of_the_mean_over_an_image_and_its_mirror_image(loss: str, gain: float) -> None:
    rng = np.random.default_rng(1)
    images, labels = rng.random((9, 4, 6, 3)).astype(np.float32), np.eye(3, dtype=np.float32)[rng.integers(0, 3, 9)]
    network = _linear(loss, gain)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    found = Predictor(network, data, 9, flip=True)()
    scores = (network.predict(images, verbose=0) + network.predict(images[:, :, ::-1], verbose=0)) / 2
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-6)
    assert np.abs(found.scores - Predictor(network, data, 9)().scores).max() > 0.01
    kernel = np.asarray(network.layers[-1].kernel, float)
    logits = [each.reshape(9, -1).astype(float) @ kernel for each in (images, images[:, :, ::-1])]
    if loss == "categorical_crossentropy":
        logs = [each - np.logaddexp.reduce(each, axis=1, keepdims=True) for each in logits]
        expected = -(labels * (np.logaddexp(*logs) - np.log(2))).sum(axis=1)
    else:
        log, log_not = (
            np.logaddexp(*(-np.logaddexp(0, sign * each) for each in logits)) - np.log(2) for sign in (-1, 1)
        )
        if loss == "asymmetric":
            shifted = np.maximum(np.exp(log) - 0.05, 0)
            log_not = shifted**4 * np.log(1 - shifted)
        expected = -labels * log - (1 - labels) * log_not
    assert found.loss == pytest.approx(expected.mean(), rel=1e-4)


def test_features_have_no_mirror_image() -> None:
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, activation="sigmoid")])
    rng = np.random.default_rng(0)
    data = tf.data.Dataset.from_tensor_slices((rng.random((6, 5)), rng.integers(0, 2, (6, 3)))).batch(4)
    flipped, plain = (Predictor(network, data, 6, flip=flip)() for flip in (True, False))
    np.testing.assert_array_equal(flipped.scores, plain.scores)
