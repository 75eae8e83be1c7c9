"""Chooses which layers of a backbone are trained."""

import re

import keras

from multihot.errors import UserError


def unfreeze(backbone: keras.Model, start: str) -> None:
    """Makes the layers of a backbone trainable from one layer on, in the order of `backbone.layers`, and no others.

    Batch normalization stays frozen everywhere: in a few steps with small batches, its averages would become worse.
    Depthwise convolutions stay frozen too: training their few weights made no difference to the metrics, but on CPU the
    gradients of their 5x5 filters take TensorFlow as long as all the rest of a step. A model that is compiled has to be
    compiled again.

    Args:
        backbone: whose layers are set.
        start: the beginning of the name of the first layer, as in "block10"; or the share of the layers that stay
            frozen, as in "0.5": "0" makes all of them trainable.

    Raises:
        UserError: no layer has such a name, or it is no such share.
    """
    first = first_layer(backbone, start)
    for number, layer in enumerate(backbone.layers):
        layer.trainable = number >= first
    for layer in backbone._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization | keras.layers.DepthwiseConv2D):
            layer.trainable = False


def first_layer(backbone: keras.Model, start: str) -> int:
    """Returns the number of the first layer that `unfreeze` makes trainable.

    Raises:
        UserError: no layer has such a name or has weights, or it is no such share.
    """
    if re.fullmatch(r"[\d.]+", start):
        try:
            share = float(start)
        except ValueError:
            share = 1.0
        if not share < 1:
            raise UserError(f"A share of the layers must be at least 0 and less than 1. Received: {start}")
        # Layers without weights would make the share depend on how a network is written.
        with_weights = [number for number, layer in enumerate(backbone.layers) if layer.weights]
        if not with_weights:
            raise UserError(f"No layer of {backbone.name} has weights, so that none can be trained.")
        return with_weights[int(share * len(with_weights))]
    for number, layer in enumerate(backbone.layers):
        if start and layer.name.startswith(start):
            return number
    raise UserError(
        f"No layer of {backbone.name} has a name that begins with {start!r}. Names begin with: "
        f"{', '.join(parts(backbone))}. A share of the layers, as in 0.5, can be named too."
    )


def parts(backbone: keras.Model) -> list[str]:
    """Returns the beginnings of the names of the layers with weights, such as block05, in their order."""
    names = [layer.name for layer in backbone.layers if layer.weights]
    return list(dict.fromkeys(re.sub(r"^([A-Za-z]+(?:_?\d+[a-z]?)?).*", r"\1", name) for name in names))
