"""Computes the features of a frozen backbone: they are the same in every epoch, so that they can be cached."""

import functools
import hashlib
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.config import TrainConfig


class Features(NamedTuple):
    """The features that a frozen backbone computes, which are cached instead of images.

    Attributes:
        extract: images uint8 [n, size, size, 3] -> float32 [n, num].
        num: number of the features of an image.
        key: identifies the backbone and its weights.
    """

    extract: Callable[[tf.Tensor], tf.Tensor]
    num: int
    key: str


def of_backbone(config: TrainConfig, network: keras.Model, extractor: keras.Model) -> Features:
    """Returns the features of a frozen backbone.

    Args:
        config: of the run.
        network: the whole model.
        extractor: its backbone, from images to features.
    """
    digest = hashlib.sha256(b"".join(np.asarray(variable).tobytes() for variable in extractor.variables))
    key = f"{config.model} {config.preprocessing} {network.dtype_policy.name} {digest.hexdigest()}"
    extract = tf.function(functools.partial(extractor, training=False), reduce_retracing=True)
    if ":" in config.model:  # A function of the user, whose code may have changed.
        key += f" {_digest_of_graph(extract, extractor)}"
    return Features(extract, extractor.output.shape[1], key)


def _digest_of_graph(extract: tf.types.experimental.PolymorphicFunction, extractor: keras.Model) -> str:
    """Returns a digest of the operations that compute features, whatever their names."""
    images = tf.TensorSpec(extractor.input.shape, tf.uint8)
    digest = hashlib.sha256()
    for operation in extract.get_concrete_function(images).graph.get_operations():
        node = operation.node_def
        node.ClearField("name")
        node.ClearField("input")
        for attribute in [name for name in node.attr if name.startswith("_")]:  # Names of variables and of calls.
            del node.attr[attribute]
        digest.update(node.SerializeToString(deterministic=True))
    return digest.hexdigest()
