"""Computes the features of images by a model: those of its head, and those of earlier layers of its backbone.

Means of the maps of earlier layers find wrong labels that those of the last one miss: docs/suspects.md has the
measurement. They are taken where the maps become smaller, at the last layer of each size.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from multihot import signals
from trainer.models import model

# Sizes of maps, besides the last one, from which features are taken.
_EARLIER = 2


class FeaturedSplit(NamedTuple):
    """The features of the examples of a split, in the order of evaluation.

    Attributes:
        features: float [n, d].
        labels: uint8 [n, k]: 0, 1 or UNKNOWN.
    """

    features: np.ndarray
    labels: np.ndarray


class Extractor(NamedTuple):
    """A function from images to features.

    Attributes:
        compute: images uint8 [batch, size, size, 3] -> float32 [batch, d].
        widths: numbers of features of each layer, side by side, the last layer first; their sum is d.
    """

    compute: Callable[[tf.Tensor], tf.Tensor]
    widths: tuple[int, ...]


def of_head(network: keras.Model) -> Extractor:
    """Returns the features that the head of a model gets; those of a model with its own head are its probabilities.

    Args:
        network: a model that `models.model.build` made, or one that was loaded from a run.
    """
    extractor, _ = model.extractor_and_head(network)
    return Extractor(lambda images: extractor(images, training=False), (extractor.output.shape[1],))


def of_layers(network: keras.Model, image_size: int) -> Extractor:
    """Returns the features that the head gets, and means of the maps of two earlier layers.

    Args:
        network: a model that `models.model.build` made, or one that was loaded from a run.
        image_size: of its images.

    Returns:
        The features of the head alone for a model with its own head, and for one whose layers Keras cannot reach.
    """
    inner = model.backbone_of(network)
    try:
        maps = [] if inner is None else _earlier(inner, image_size)
    except (AttributeError, TypeError, ValueError):  # A model of the user may be anything.
        maps = []
    if inner is None or not maps:
        return of_head(network)
    pooled = [layers.GlobalAveragePooling2D(dtype="float32")(one) for one in (inner.output, *maps)]
    before = keras.Model(network.input, model.input_of(network, inner))
    after = keras.Model(inner.inputs, layers.Concatenate(dtype="float32")(pooled))
    return Extractor(
        lambda images: after(before(images, training=False), training=False), tuple(one.shape[1] for one in pooled)
    )


def _earlier(inner: keras.Model, image_size: int) -> list[keras.KerasTensor]:
    """Returns the last maps of each of the sizes before the last one, the smallest first."""
    outputs = [layer.output for layer in inner.layers if len(getattr(layer.output, "shape", ())) == 4]
    shape = (1, image_size, image_size, 3)
    halvings = [
        round(math.log2(image_size / height))
        for _, height, *_ in keras.Model(inner.inputs, [*outputs, inner.output]).compute_output_shape(shape)
    ]
    last = {halved: output for halved, output in zip(halvings, outputs, strict=False) if 0 < halved < halvings[-1]}
    return [last[halved] for halved in sorted(last, reverse=True)[:_EARLIER]]


def empty(num: int, extractor: Extractor, num_classes: int, dtype: type = np.float32) -> FeaturedSplit:
    """Returns arrays for the features and labels of images, without values.

    Args:
        num: number of images, n.
        extractor: of the features.
        num_classes: k.
        dtype: of the features.
    """
    return FeaturedSplit(np.empty((num, sum(extractor.widths)), dtype), np.empty((num, num_classes), np.uint8))


def compute(extractor: Extractor, batches: Iterable[tuple[tf.Tensor, tf.Tensor]], into: FeaturedSplit) -> int:
    """Computes the features of images.

    Args:
        extractor: of the features.
        batches: images uint8 [batch, size, size, 3] and labels float32 [batch, k], as `pipeline.evaluation_dataset`
            returns them.
        into: arrays of n images or more, which are filled: parts that are put together take twice the memory.

    Returns:
        The number of images, n.
    """
    traced = tf.function(extractor.compute, reduce_retracing=True)
    done = 0
    for images, labels in batches:
        signals.check()
        part = slice(done, done + len(labels))
        into.features[part], into.labels[part] = traced(images), labels
        done = part.stop
    return done
