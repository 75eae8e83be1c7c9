"""Defines EfficientNet-Lite0, a network for photographs that is small enough to be trained further on two cores.

Lite means EfficientNet-B0 without squeeze and excitation, and with ReLU6 in place of swish. Its ImageNet weights come
in a package (pretrained.py).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from trainer.models import normalization

NAME = "efficientnet_lite0"
# Pixels from 0 to 255 become (x - 127) / 128, as in the training of the published weights.
_MEAN, _SCALE = 127.0, 128.0
# Epsilon of the published batch normalization. A run has few steps, in which a slower average would lag behind.
_EPSILON, _MOMENTUM = 1e-3, 0.9
_STEM, _HEAD = 32, 1280


class _Stage(NamedTuple):
    """Blocks that follow each other. The first one strides, and changes the number of channels."""

    blocks: int
    kernel_size: int
    strides: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def preprocessing() -> layers.Layer:
    """Returns the layer that scales pixels from 0 to 255 as the backbone takes them."""
    return layers.Rescaling(1 / _SCALE, offset=-_MEAN / _SCALE)


def backbone(*, normalized: bool = True) -> keras.Model:
    """Returns the network without its head, with random weights.

    Its layers are named `stem_conv`, `stem_bn`, ..., `block00_depthwise_conv` to `block15_project_bn`, `head_conv`,
    `head_bn` and `head_relu6`, where the numbers of the blocks are those of the published weights.

    Args:
        normalized: whether it has batch normalization. Otherwise its convolutions have biases: for trained weights,
            whose normalization stays as it is and is a part of them (`folded`). It then takes half of the time.

    Returns:
        A model from float32 [batch, height, width, 3], pixels of about -1 to 1, to float32 [batch, height / 32, width /
        32, 1280], rounded up, for images of any size.
    """
    inputs = keras.Input((None, None, 3))
    x = _activation(_convolution(inputs, "stem", _STEM, 3, 2, normalized=normalized), "stem")
    number = 0
    for stage in _STAGES:
        for repeat in range(stage.blocks):
            x = _block(x, f"block{number:02d}", stage, stage.strides if repeat == 0 else 1, normalized=normalized)
            number += 1
    x = _activation(_convolution(x, "head", _HEAD, normalized=normalized), "head")
    return keras.Model(inputs, x, name=NAME)


def folded(network: keras.Model) -> keras.Model:
    """Returns a network without batch normalization that computes what the backbone with it computes in evaluation."""
    weights = {layer.name: layer.get_weights() for layer in network.layers}
    new = backbone(normalized=False)
    for layer in new.layers:
        if layer.weights:
            layer.set_weights(folded_weights(layer, weights[layer.name][0], weights[normalization_of(layer.name)]))
    return new


def folded_weights(
    layer: layers.Layer, kernel: np.ndarray, values: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel and the bias of a convolution that does what the normalization after it did too.

    Args:
        layer: the convolution.
        kernel: as Keras shapes it.
        values: of the normalization: scale, offset, mean and variance.
    """
    gamma, beta, mean, variance = (value.astype(np.float64) for value in values)
    scale = gamma / np.sqrt(variance + _EPSILON)
    # Of a depthwise convolution, the channels are the third axis of the kernel: the fourth has a length of 1.
    scaled = kernel * (scale[:, None] if isinstance(layer, layers.DepthwiseConv2D) else scale)
    return scaled.astype(np.float32), (beta - mean * scale).astype(np.float32)


def normalization_of(convolution: str) -> str:
    """Returns the name of the batch normalization after a convolution, by the name of the convolution."""
    return f"{convolution.removesuffix('_conv')}_bn"


def is_normalized(network: keras.Model) -> bool:
    """Returns whether a backbone has batch normalization."""
    return any(isinstance(layer, layers.BatchNormalization) for layer in network.layers)


def _block(x: keras.KerasTensor, name: str, stage: _Stage, strides: int, *, normalized: bool) -> keras.KerasTensor:
    """An inverted residual block: it expands the channels, convolves each of them, and projects them to fewer."""
    shortcut, channels = x, x.shape[-1]
    if stage.expansion > 1:
        expanded = _convolution(x, f"{name}_expand", channels * stage.expansion, normalized=normalized)
        x = _activation(expanded, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        stage.kernel_size,
        strides=strides,
        padding="same",
        use_bias=not normalized,
        # As he_normal would be if Keras did not count the channels among the inputs of each.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=math.sqrt(2) / stage.kernel_size),
        name=f"{name}_depthwise_conv",
    )(x)
    if normalized:
        x = _normalization(x, f"{name}_depthwise_conv")
    x = _activation(x, f"{name}_depthwise")
    x = _convolution(x, f"{name}_project", stage.channels, normalized=normalized)
    if strides == 1 and channels == stage.channels:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _convolution(
    x: keras.KerasTensor, name: str, filters: int, kernel_size: int = 1, strides: int = 1, *, normalized: bool
) -> keras.KerasTensor:
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=not normalized,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return _normalization(x, f"{name}_conv") if normalized else x


def _normalization(x: keras.KerasTensor, convolution: str) -> keras.KerasTensor:
    name = normalization_of(convolution)
    return normalization.batch_normalization(epsilon=_EPSILON, momentum=_MOMENTUM, name=name)(x)


def _activation(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.ReLU(6.0, name=f"{name}_relu6")(x)
