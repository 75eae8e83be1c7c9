"""Chooses the backbone of a run, with the preprocessing of its pixels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import layers

from multihot.errors import UserError
from trainer.config import TrainConfig
from trainer.models import applications, efficientnet_lite, own_models, pretrained, small_resnet, weights


class Backbone(NamedTuple):
    """A network, and what it takes.

    Attributes:
        network: float32 [batch, height, width, 3] -> maps [batch, h, w, channels], or probabilities [batch, k].
        preprocess: pixels from 0 to 255 -> what the network takes.
        has_head: whether it gives probabilities, as a model of the user may.
    """

    network: keras.Model
    preprocess: Callable[..., Any]
    has_head: bool = False


def make(config: TrainConfig, num_classes: int) -> Backbone:
    """Returns the backbone that --model names, with random weights or with those of ImageNet.

    Raises:
        UserError: there is no such model, it cannot take images of this size, or it has no such weights.
    """
    if own_models.is_own(config.model):
        _refuse_imagenet(config, "it is for your function to load weights")
        shape = (config.image_size, config.image_size, 3)
        softmax = config.loss == "categorical_crossentropy"
        sizes = {size for size, _ in config.train_sizes}
        own = own_models.build(config.model, shape, num_classes, softmax=softmax, train_sizes=sizes)
        return Backbone(own.network, lambda pixels: pixels, own.has_head)
    if config.model == small_resnet.NAME:
        _refuse_imagenet(config, f"{small_resnet.NAME} has no ImageNet weights")
        return Backbone(small_resnet.backbone(), small_resnet.preprocessing())
    if config.model == efficientnet_lite.NAME:
        return Backbone(_efficientnet_lite(config), efficientnet_lite.preprocessing())
    application = applications.find(config.model)
    if application is None:
        raise UserError(
            f"--model={config.model} is unknown. It must be {small_resnet.NAME}, {efficientnet_lite.NAME}, your own "
            f"MODULE:FUNCTION, or one of keras.applications: {', '.join(applications.names())}"
        )
    constructor, preprocess = application
    return Backbone(applications.backbone(config, constructor), preprocess)


def without_normalization(config: TrainConfig, backbone: Backbone) -> Backbone:
    """Returns a backbone whose batch normalization, which is no longer trained, is a part of its convolutions.

    All but EfficientNet-Lite0 are returned as they are.
    """
    if config.model == efficientnet_lite.NAME and efficientnet_lite.is_normalized(backbone.network):
        return backbone._replace(network=efficientnet_lite.folded(backbone.network))
    return backbone


def from_0_to_1(config: TrainConfig, backbone: Backbone) -> Backbone:
    """Returns a backbone whose first convolution gets pixels from 0 to 1, whatever its weights were trained with.

    A model of the user gets them as they are: it may scale them further.
    """
    own = own_models.is_own(config.model)
    network = backbone.network if own else _without_scaling(backbone.network)
    return backbone._replace(network=network, preprocess=layers.Rescaling(1 / 255))


def _efficientnet_lite(config: TrainConfig) -> keras.Model:
    if config.weights == "imagenet":
        return pretrained.backbone()
    # A run from scratch trains batch normalization, and one from trained weights does not: files have either.
    normalized = config.weights == "none" or weights.has_layer(config.weights, "batch_normalization")
    return efficientnet_lite.backbone(normalized=normalized)


def _refuse_imagenet(config: TrainConfig, reason: str) -> None:
    if config.weights == "imagenet":
        raise UserError(
            f"--weights=imagenet: {reason}. Choose another --model, such as {efficientnet_lite.NAME}, or "
            "--weights=none."
        )


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
