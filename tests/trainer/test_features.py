"""The features are those that the head of a model gets, and means of the maps of earlier layers."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from trainer import features
from trainer.config import TrainConfig
from trainer.features import FeaturedSplit
from trainer.input import listing, pipeline
from trainer.models import model
from trainer.sources import Sources


def test_the_features_are_those_that_the_head_of_the_model_gets(
    config: Callable[..., TrainConfig], sources: Sources, compiled: Callable[..., keras.Model]
) -> None:
    settings = config(image_size=16, batch_size=16, cache="none")
    network = compiled(settings, sources)
    batches = pipeline.evaluation_dataset(settings, sources, "validation")
    extractor = features.of_head(network)
    into = FeaturedSplit(np.full((25, extractor.widths[0]), -1, np.float32), np.full((25, 4), 9, np.uint8))
    assert features.compute(extractor, batches, into) == 21
    head = network.get_layer("labels")
    assert extractor.widths == (head.input.shape[1],)
    np.testing.assert_array_equal(into.labels[:21], np.concatenate([labels for _, labels in batches]))
    assert (into.labels[21:] == 9).all()
    expected = np.concatenate([network(images, training=False) for images, _ in batches])
    np.testing.assert_allclose(head(into.features[:21]), expected, atol=1e-5)


def test_earlier_layers_are_the_last_ones_of_their_size(
    config: Callable[..., TrainConfig], sources: Sources, compiled: Callable[..., keras.Model]
) -> None:
    settings = config(image_size=32, batch_size=16, cache="none", model="efficientnet_lite0", train_sizes=((32, 1),))
    network = compiled(settings, sources)
    found = features.of_layers(network, 32)
    assert found.widths == (1280, 672, 240)
    images = tf.cast(tf.random.stateless_uniform((2, 32, 32, 3), (0, 1), 0, 256, tf.int32), tf.uint8)
    inner = model.backbone_of(network)
    assert inner is not None
    pixels = (tf.cast(images, tf.float32) - 127) / 128
    names = ("head_relu6", "block11_expand_relu6", "block05_expand_relu6")
    maps = keras.Model(inner.input, [inner.get_layer(name).output for name in names])(pixels)
    expected = np.hstack([tf.reduce_mean(one, [1, 2]) for one in maps])
    np.testing.assert_allclose(found.compute(images), expected, rtol=1e-3, atol=1e-4)


def test_a_model_with_one_size_of_maps_has_the_features_of_its_head(
    config: Callable[..., TrainConfig], sources: Sources, compiled: Callable[..., keras.Model]
) -> None:
    settings = config(image_size=16, batch_size=16, cache="none")
    network = compiled(settings, sources)
    assert features.of_layers(network, 16).widths[0] == features.of_head(network).widths[0]

    class Opaque(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = layers.Conv2D(3, 3)

        def call(self, images: tf.Tensor) -> tf.Tensor:
            return self.convolution(images)

    inputs = keras.Input((16, 16, 3))
    outputs = layers.Dense(2, name="labels")(layers.GlobalAveragePooling2D()(Opaque()(inputs)))
    found = features.of_layers(keras.Model(inputs, outputs), 16)
    assert found.widths == (3,)
    assert found.compute(tf.zeros((1, 16, 16, 3))).shape == (1, 3)


def test_the_listing_has_the_order_of_the_evaluation(config: Callable[..., TrainConfig], sources: Sources) -> None:
    settings = config(image_size=8, batch_size=8, cache="none")
    found = listing.examples(sources, "validation")
    assert sorted(found.filenames) == sorted(f"validation{i:02d}.{'jpg' if i % 3 else 'png'}" for i in range(21))
    labels = np.concatenate([labels for _, labels in pipeline.evaluation_dataset(settings, sources, "validation")])
    # The number in a name is that of its mixture of labels.
    numbers = [int(name[10:12]) % 16 for name in found.filenames]
    np.testing.assert_array_equal(labels @ [8, 4, 2, 1], numbers)
    assert found.sizes.shape == (21, 2)
    assert 36 <= found.sizes.min() <= found.sizes.max() < 72
    assert not found.sources.any()
    assert listing.examples(sources, "none of this name").filenames == []
