"""Computes class activation maps: which places of an image speak for a class, and which against it.

Where the head of a model is the mean over all places and one matrix, the map of a class is exact: the maps of the last
layer, times the column of the class in the matrix. Its mean over all places, and the bias, are the logit (Zhou et al.
2016, "Learning Deep Features for Discriminative Localization"). Where a model has another head, the gradient of the
logit takes the place of the matrix (Grad-CAM, Selvaraju et al. 2017).
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from schemas import example
from trainer.models import model

# A probability whose logit is finite.
_LEAST = 1e-7


class Maps(NamedTuple):
    """Class activation maps.

    Attributes:
        values: float32 [n, height, width]: for the class where positive, against it where negative.
        exact: whether the mean of a map and the bias of its class are the logit.
    """

    values: np.ndarray
    exact: bool


def compute(network: keras.Model, images: np.ndarray, classes: Sequence[int]) -> Maps | None:
    """Returns a map for each image.

    Args:
        network: a model that `models.model.build` made, or one that was loaded from a run.
        images: [n, size, size, 3], 0 to 255.
        classes: number of the output of which the map is, for each image.

    Returns:
        The maps. None if the model has no layer whose outputs are maps, or Keras cannot look into it.
    """
    if not len(images):
        return None
    head = network.get_layer(example.LABELS)
    pooling = next((one for one in network.layers if isinstance(one, layers.GlobalAveragePooling2D)), None)
    if pooling is not None and isinstance(head, layers.Dense) and pooling.output is head.input:
        maps = keras.Model(network.input, pooling.input)(images, training=False)
        columns = tf.gather(tf.transpose(head.kernel), list(classes))
        return Maps(tf.einsum("nhwc,nc->nhw", tf.cast(maps, tf.float32), columns).numpy(), exact=True)
    try:
        return Maps(_by_gradient(network, images, classes), exact=False)
    except (AttributeError, LookupError, StopIteration, TypeError, ValueError):  # A model of the user may be anything.
        return None


def _by_gradient(network: keras.Model, images: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Returns the maps of the last layer with maps, weighted by the mean gradient of the logit."""
    inner = next(one for one in network.layers if isinstance(one, keras.Model))
    last = next(one for one in reversed(inner.layers) if len(one.output.shape) == 4)
    to_maps = keras.Model(inner.inputs, last.output)
    to_outputs = keras.Model(last.output, inner.output)
    before = keras.Model(network.input, model.input_of(network, inner))
    with tf.GradientTape() as tape:
        maps = to_maps(before(images, training=False), training=False)
        tape.watch(maps)
        scores = tf.clip_by_value(tf.cast(to_outputs(maps, training=False), tf.float32), _LEAST, 1 - _LEAST)
        chosen = tf.gather(scores, list(classes), batch_dims=1)
        logits = tf.math.log(chosen) - tf.math.log1p(-chosen)
    gradients = tape.gradient(logits, maps)
    places = tf.cast(tf.reduce_prod(tf.shape(maps)[1:3]), tf.float32)
    weights = tf.reduce_mean(tf.cast(gradients, tf.float32), axis=(1, 2)) * places
    return tf.einsum("nhwc,nc->nhw", tf.cast(maps, tf.float32), weights).numpy()
