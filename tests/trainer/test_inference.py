"""Predictions have every example once, in any size of batches, and the model as it is in inference."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from trainer import pipeline
from trainer.config import TrainConfig
from trainer.inference import Predictor
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
