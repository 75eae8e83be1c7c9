"""Builds models: a backbone, pooled, and a head with an output for each class.

Every model takes images as uint8 or float32 [batch, size, size, 3] from 0 to 255 and contains its own preprocessing, so
that a program that loads it later needs none.
"""

import os
import posixpath
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import layers

from multihot.errors import UserError
from schemas import example
from schemas.statistics import Statistics
from trainer import efficientnet_lite, pretrained, sources
from trainer.config import TrainConfig

SMALL_RESNET = "small_resnet"
# A firewall that never answers must not hang a run that would need a download.
_DOWNLOAD_TIMEOUT_SECONDS = 30


def build(config: TrainConfig, statistics: Statistics) -> keras.Model:
    """Builds the model of a run.

    Args:
        config: of the run.
        statistics: of the training split: how often each class is positive.

    Returns:
        A model from images [batch, size, size, 3], 0 to 255, to probabilities float32 [batch, k].

    Raises:
        UserError: there is no such model, it cannot take images of this size, its weights cannot be had, or it would
            have nothing to learn.
    """
    multi_label = config.loss != "categorical_crossentropy"
    if len(statistics.positives) == 1 and not multi_label:
        raise UserError(
            f"--loss={config.loss} needs two classes or more: for one class, a softmax gives 1 for every image, and "
            "the loss is 0 from the start. Use --loss=binary_crossentropy."
        )
    inputs = keras.Input((config.image_size, config.image_size, 3), name=example.IMAGE)
    backbone, preprocess = _backbone(config)
    # Frozen, its batch normalization keeps its own mean and variance as well.
    backbone.trainable = not config.freeze_backbone
    pixels = preprocess(inputs)
    # Frozen, nothing in it is random either: its features are the same in every epoch.
    maps = backbone(pixels, training=False) if config.freeze_backbone else backbone(pixels)
    # Features and head are float32 whatever the backbone computes in: they are averages, sums and logarithms.
    features = layers.GlobalAveragePooling2D(dtype="float32")(maps)
    outputs = layers.Dense(
        len(statistics.positives),
        activation="sigmoid" if multi_label else "softmax",
        bias_initializer=keras.initializers.Constant(_log_odds(statistics)) if multi_label else "zeros",
        kernel_initializer=keras.initializers.GlorotUniform(seed=config.seed),
        dtype="float32",
        name=example.LABELS,
    )(features)
    return keras.Model(inputs, outputs, name=config.model)


def extractor_and_head(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Returns the two parts of a model that `build` made, which share its weights.

    Returns:
        images [batch, size, size, 3] -> features float32 [batch, d], and features -> probabilities float32 [batch, k].
    """
    head = network.get_layer(example.LABELS)
    features = keras.Input(head.input.shape[1:])
    return keras.Model(network.input, head.input), keras.Model(features, head(features), name=f"{network.name}_head")


def _log_odds(statistics: Statistics) -> np.ndarray:
    """Returns the bias with which an untrained head predicts the frequency of each class, so that it is not learned."""
    # One more of each kind, so that a class that all or none have stays finite.
    positives = np.asarray(statistics.positives) + 1
    return np.log(positives / (np.asarray(sources.num_known(statistics)) + 2 - positives))


def _backbone(config: TrainConfig) -> tuple[keras.Model, Callable[..., Any]]:
    """Returns the feature extractor [batch, size, size, 3] -> [batch, h, w, channels], and its preprocessing."""
    shape = (config.image_size, config.image_size, 3)
    if config.model == SMALL_RESNET:
        if config.weights == "imagenet":
            raise UserError(
                f"--weights=imagenet: {SMALL_RESNET} has no ImageNet weights. Choose another --model or --weights=none."
            )
        backbone, preprocess = _small_resnet(shape), layers.Rescaling(1 / 127.5, offset=-1)
    elif config.model == efficientnet_lite.NAME:
        backbone, preprocess = efficientnet_lite.backbone(), efficientnet_lite.preprocessing()
        if config.weights == "imagenet":
            pretrained.set_weights(backbone)
    else:
        constructor, preprocess = _application(config.model)
        with _explained(config):
            weights = "imagenet" if config.weights == "imagenet" else None
            backbone = constructor(include_top=False, input_shape=shape, weights=weights)
    if config.weights not in ("none", "imagenet"):
        _load_weights(backbone, config.weights)
    if config.preprocessing == "unit":
        # Only now: a file of weights has those of all layers.
        backbone, preprocess = _without_scaling(backbone), layers.Rescaling(1 / 255)
    return backbone, preprocess


def _without_scaling(backbone: keras.Model) -> keras.Model:
    """Returns a backbone without the layers at its beginning that scale or normalize pixels, where it has any.

    MobileNetV3, EfficientNet, EfficientNetV2 and ConvNeXt do so themselves, and take pixels from 0 to 255: those from 0
    to 1 would reach their first convolution as nearly nothing.
    """
    pixels = backbone.input
    for layer in backbone.layers[1:]:
        if not isinstance(layer, layers.Rescaling | layers.Normalization):
            break
        pixels = layer.output
    if pixels is backbone.input:
        return backbone
    rest = keras.Model(pixels, backbone.output, name=backbone.name)
    # With layers of its own: those of `rest` are still connected to the ones that were left out.
    network = keras.models.clone_model(rest)
    network.set_weights(rest.get_weights())
    return network


def _small_resnet(shape: tuple[int, int, int]) -> keras.Model:
    """A residual network of 1.2 million weights, small enough to train from scratch on two cores in minutes.

    One block at each of four scales, and as in ResNet-D the shortcut pools where the block strides. Width and depth
    were chosen on the 2000 photographs of the README's results, for what can be had in minutes.
    """
    inputs = keras.Input(shape)
    x = layers.Activation("relu")(_convolution(inputs, 32, 3))
    for filters in (32, 64, 128, 256):
        shortcut = _convolution(layers.AveragePooling2D(2, padding="same")(x), filters, 1)
        x = layers.Activation("relu")(_convolution(x, filters, 3, strides=2))
        x = layers.Activation("relu")(layers.Add()([_convolution(x, filters, 3), shortcut]))
    return keras.Model(inputs, layers.Dropout(0.2)(x), name=SMALL_RESNET)


def _convolution(x: keras.KerasTensor, filters: int, kernel_size: int, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(
        filters, kernel_size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)
    # A run has few steps, in which a slower average would lag behind.
    return layers.BatchNormalization(momentum=0.9)(x)


def _application(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns the constructor of a model of keras.applications, and its preprocessing."""
    constructors = {
        # `EfficientNetV2B0`, `efficientnet_v2_b0` and `efficientnetv2b0` are one model.
        key.lower(): constructor
        for key, constructor in vars(keras.applications).items()
        if key[0].isupper() and callable(constructor)
    }
    constructor = constructors.get(name.lower().replace("_", "").replace("-", ""))
    if constructor is None:
        known = ", ".join(sorted(constructors))
        raise UserError(
            f"--model={name} is unknown. It must be {SMALL_RESNET}, {efficientnet_lite.NAME} or one of "
            f"keras.applications: {known}"
        )
    # The module in which it is defined has, under the same name in keras.applications, its preprocessing.
    module = getattr(keras.applications, constructor.__module__.rpartition(".")[2])
    return constructor, module.preprocess_input


@contextmanager
def _explained(config: TrainConfig) -> Iterator[None]:
    """Turns errors while a model is built into messages that say what to do."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        yield
    except ValueError as error:
        weights = "" if config.weights == "none" else f" and --weights={config.weights}"
        raise UserError(f"--model={config.model} with --image_size={config.image_size}{weights}: {error}") from error
    except Exception as error:
        # keras.utils.get_file raises a bare Exception whose message has the address; or what a slow line raises.
        address = re.search(r"URL fetch failure on (\S+?):? ", str(error))
        if not address and not isinstance(error, OSError):
            raise
        name = posixpath.basename(address[1]) if address else "FILE"
        folder = os.path.join(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "models")
        raise UserError(
            f"The ImageNet weights of {config.model} cannot be downloaded{f' from {address[1]}' if address else ''}.\n"
            f"Save the file as {os.path.join(folder, name)} (Keras removes it if it is not the published file), "
            f"or pass it: --weights=/path/to/{name}\n"
            f"To start from random weights: --weights=none. ({error})"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _load_weights(backbone: keras.Model, path: str) -> None:
    if not os.path.exists(path):
        raise UserError(f"--weights must be none, imagenet or a file. There is no file {path}")
    try:
        backbone.load_weights(path)
    except Exception as error:  # Zip, HDF5 and Keras each have their own for a file that is something else.
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--weights={path} does not fit {backbone.name} without its top: {reason}") from error
