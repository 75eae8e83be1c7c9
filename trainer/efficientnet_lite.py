"""Defines EfficientNet-Lite0, a network for photographs that is small enough to be trained further on two cores.

Lite means EfficientNet-B0 without squeeze and excitation, and with ReLU6 in place of swish. Its ImageNet weights come
in a package (pretrained.py).
"""

import math
from typing import NamedTuple

import keras
from keras import layers

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


def backbone() -> keras.Model:
    """Returns the network without its head, with random weights.

    Its layers are named `stem_conv`, `stem_bn`, ..., `block00_depthwise_conv` to `block15_project_bn`, `head_conv`,
    `head_bn` and `head_relu6`, where the numbers of the blocks are those of the published weights.

    Returns:
        A model from float32 [batch, height, width, 3], pixels of about -1 to 1, to float32 [batch, height / 32, width /
        32, 1280], rounded up, for images of any size.
    """
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(_STEM, 3, strides=2, **_convolution("stem_conv"))(inputs)
    x = _activation(_normalization(x, "stem"), "stem")
    number = 0
    for stage in _STAGES:
        for repeat in range(stage.blocks):
            x = _block(x, f"block{number:02d}", stage, stage.strides if repeat == 0 else 1)
            number += 1
    x = layers.Conv2D(_HEAD, 1, **_convolution("head_conv"))(x)
    return keras.Model(inputs, _activation(_normalization(x, "head"), "head"), name=NAME)


def _block(x: keras.KerasTensor, name: str, stage: _Stage, strides: int) -> keras.KerasTensor:
    """An inverted residual block: it expands the channels, convolves each of them, and projects them to fewer."""
    shortcut, channels = x, x.shape[-1]
    if stage.expansion > 1:
        x = layers.Conv2D(channels * stage.expansion, 1, **_convolution(f"{name}_expand_conv"))(x)
        x = _activation(_normalization(x, f"{name}_expand"), f"{name}_expand")
    x = layers.DepthwiseConv2D(
        stage.kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        # As he_normal would be if Keras did not count the channels among the inputs of each.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=math.sqrt(2) / stage.kernel_size),
        name=f"{name}_depthwise_conv",
    )(x)
    x = _activation(_normalization(x, f"{name}_depthwise"), f"{name}_depthwise")
    x = layers.Conv2D(stage.channels, 1, **_convolution(f"{name}_project_conv"))(x)
    x = _normalization(x, f"{name}_project")
    if strides == 1 and channels == stage.channels:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _convolution(name: str) -> dict[str, object]:
    return {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal", "name": name}


def _normalization(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=_EPSILON, momentum=_MOMENTUM, name=f"{name}_bn")(x)


def _activation(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.ReLU(6.0, name=f"{name}_relu6")(x)
