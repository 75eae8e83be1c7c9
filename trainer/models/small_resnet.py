"""Defines the small ResNet: a residual network of 1.2 million weights, for trainings from scratch.

It is small enough to be trained on two cores in minutes.
"""

import keras
from keras import layers

from trainer.models import normalization

NAME = "small_resnet"


def preprocessing() -> layers.Layer:
    """Returns the layer that scales pixels from 0 to 255 as the backbone takes them."""
    return layers.Rescaling(1 / 127.5, offset=-1)


def backbone() -> keras.Model:
    """Returns the network without its head, with random weights.

    One block at each of four scales, and as in ResNet-D the shortcut pools where the block strides. Width and depth
    were chosen on the 2000 photographs of the README's results, for what can be had in minutes.

    Returns:
        A model from float32 [batch, height, width, 3], pixels from -1 to 1, to float32 [batch, height / 16, width / 16,
        256], rounded up, for images of any size.
    """
    inputs = keras.Input((None, None, 3))
    x = _activation(_convolution(inputs, 32, 3, "stem"), "stem")
    for number, filters in enumerate((32, 64, 128, 256)):
        name = f"block{number}"
        pooled = layers.AveragePooling2D(2, padding="same", name=f"{name}_shortcut_pool")(x)
        shortcut = _convolution(pooled, filters, 1, f"{name}_shortcut")
        x = _activation(_convolution(x, filters, 3, f"{name}_a", strides=2), f"{name}_a")
        x = layers.Add(name=f"{name}_add")([_convolution(x, filters, 3, f"{name}_b"), shortcut])
        x = _activation(x, name)
    return keras.Model(inputs, layers.Dropout(0.2, name="dropout")(x), name=NAME)


def _convolution(
    x: keras.KerasTensor, filters: int, kernel_size: int, name: str, strides: int = 1
) -> keras.KerasTensor:
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    # A run has few steps, in which a slower average would lag behind.
    return normalization.batch_normalization(momentum=0.9, name=f"{name}_bn")(x)


def _activation(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.Activation("relu", name=f"{name}_relu")(x)
