"""Builds models: a backbone, pooled, and a head with an output for each class.

Every model takes images as uint8 or float32 [batch, size, size, 3] from 0 to 255 and contains its own preprocessing, so
that a program that loads it later needs none.
"""

import itertools
from collections.abc import Sequence

import keras
from keras import layers

from multihot.errors import UserError
from schemas import example
from schemas.statistics import Statistics
from trainer import losses
from trainer.config import TrainConfig
from trainer.models import backbones, own_models, unfreezing, weights
from trainer.models.backbones import Backbone
from trainer.models.weights import Head


def build(config: TrainConfig, statistics: Statistics, classes: Sequence[str] = ()) -> keras.Model:
    """Builds the model of a run.

    Args:
        config: of the run.
        statistics: of the training split: how often each class is positive.
        classes: of the run. If an earlier run, whose weights are loaded, had the same, its head is taken too.

    Returns:
        A model from images [batch, size, size, 3], 0 to 255, to probabilities float32 [batch, k]. The images may have
        any size where the backbone has no size of its own.

    Raises:
        UserError: there is no such model, it cannot take images of this size, its weights cannot be had, or it would
            have nothing to learn.
    """
    num_classes, multi_label = len(statistics.positives), config.loss != losses.SOFTMAX
    if num_classes == 1 and not multi_label:
        raise UserError(
            f"--loss={config.loss} needs two classes or more: for one class, a softmax gives 1 for every image, and "
            "the loss is 0 from the start. Use --loss=binary_crossentropy."
        )
    backbone = backbones.make(config, num_classes)
    backbone, head = _loaded(config, backbone)
    if config.weights != "none":
        backbone = backbones.without_normalization(config, backbone)
    if backbone.has_head:
        return _with_its_own_head(config, backbone)
    network = _with_head(config, backbone, statistics, multi_label)
    if head:
        same = head.give_to(network.get_layer(example.LABELS), classes)
        taken = (
            "backbone and head, which has the same classes" if same else "backbone alone: the head has other classes"
        )
        print(f"Weights of {config.weights}: {taken}.")
    return network


def extractor_and_head(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Returns the two parts of a model that `build` made, which share its weights.

    Returns:
        images [batch, size, size, 3] -> features float32 [batch, d], and features -> probabilities float32 [batch, k].
        The head of a model of the user is a part of the first one: its features are the probabilities.
    """
    head = network.get_layer(example.LABELS)
    # Not `head.input`: models for images of several sizes share the head, and each has tensors of its own.
    inputs = input_of(network, head)
    features = keras.Input(inputs.shape[1:])
    return keras.Model(network.input, inputs), keras.Model(features, head(features), name=f"{network.name}_head")


def backbone_of(network: keras.Model) -> keras.Model | None:
    """Returns the backbone of a model that `build` made; None for a model of the user that has its own head."""
    if not network.get_layer(example.LABELS).weights:
        return None
    return next(layer for layer in network.layers if isinstance(layer, keras.Model))


def input_of(network: keras.Model, inner: keras.layers.Layer) -> keras.KerasTensor:
    """Returns the tensor of a model that a layer of it gets, which may be a model itself.

    Raises:
        LookupError: the layer is not called.
    """
    nodes = [node for nodes in network._nodes_by_depth.values() for node in nodes]
    for node in inner._inbound_nodes:
        if node.operation is inner and node in nodes:
            return node.input_tensors[0]
    raise LookupError(inner.name)


def of_size(network: keras.Model, image_size: int) -> keras.Model:
    """Returns a model for images of one size, which shares the weights of a model for images of any size."""
    inputs = keras.Input((image_size, image_size, 3), name=example.IMAGE)
    return keras.models.clone_model(network, input_tensors=inputs, clone_function=lambda layer: layer)


def in_float32(network: keras.Model, *, always: bool = False) -> keras.Model:
    """Returns a model whose layers compute in float32, with a copy of the weights, for the file of a run.

    Other machines may compute in the type of this run slowly, or not at all. A model that computes in float32 is
    returned as it is, and so is one that has models of the user's own classes, which Keras cannot copy.

    Args:
        network: the model.
        always: whether a model that computes in float32 is copied too, as from several devices to one.
    """
    parts = [network, *(layer for layer in network._flatten_layers() if isinstance(layer, keras.Model))]
    is_float32 = all(layer.compute_dtype == "float32" for layer in network._flatten_layers())
    if (is_float32 and not always) or not all(type(part) in (type(network), keras.Sequential) for part in parts):
        return network
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        copy = keras.models.clone_model(network, clone_function=_layer_in_float32)
    finally:
        keras.config.set_dtype_policy(policy)
    copy.set_weights(network.get_weights())
    return copy


def _layer_in_float32(layer: keras.Operation) -> keras.Operation:
    if isinstance(layer, keras.Model):
        return keras.models.clone_model(layer, clone_function=_layer_in_float32)
    if not isinstance(layer, layers.Layer):  # An operation, as in the preprocessing of some applications.
        return layer
    config = layer.get_config()
    # A layer of the user's own whose settings have no type takes that of the policy, which is float32 here.
    return type(layer).from_config({**config, "dtype": "float32"} if "dtype" in config else config)


def _loaded(config: TrainConfig, backbone: Backbone) -> tuple[Backbone, Head | None]:
    """Returns a backbone with the weights of a file or of an earlier run and with its preprocessing, and the head."""
    of_file, head = config.weights not in ("none", "imagenet"), None
    if config.preprocessing != "unit":
        return backbone, weights.load(backbone.network, config.weights) if of_file else None
    try:
        # First: a published file of weights has those of all layers.
        if of_file:
            head = weights.load(backbone.network, config.weights)
    except UserError:
        # The model of a run has none for the layers that were left out.
        backbone = backbones.from_0_to_1(config, backbone)
        return backbone, weights.load(backbone.network, config.weights)
    return backbones.from_0_to_1(config, backbone), head


def _with_head(config: TrainConfig, backbone: Backbone, statistics: Statistics, multi_label: bool) -> keras.Model:
    inputs, network = _inputs(config, backbone), backbone.network
    first = 0
    if config.freeze_backbone:
        # Its batch normalization keeps its own mean and variance as well.
        network.trainable = False
        if config.unfreeze_epochs:
            # Now, and not when the head is trained: there may be no such layer.
            first = unfreezing.first_layer(network, config.unfreeze_from)
        else:
            first = len(network.layers)
            _stop_dropout(network)
    _compute_depthwise_in_float32(network.layers[first:], only_strided=config.freeze_backbone)
    maps = _output(network, backbone.preprocess(inputs))
    # Features and head are float32 whatever the backbone computes in: they are averages, sums and logarithms.
    features = layers.GlobalAveragePooling2D(dtype="float32")(maps)
    outputs = layers.Dense(
        len(statistics.positives),
        activation="sigmoid" if multi_label else "softmax",
        # The best prediction of an untrained head is the frequency of each class, which then need not be learned.
        bias_initializer=keras.initializers.Constant(losses.prior_logits(config, statistics)),
        kernel_initializer=keras.initializers.GlorotUniform(seed=config.seed),
        dtype="float32",
        name=example.LABELS,
    )(features)
    return keras.Model(inputs, outputs, name=_name(config))


def _compute_depthwise_in_float32(trained: Sequence[layers.Layer], *, only_strided: bool) -> None:
    """Lets those layers compute in float32 whose gradients TensorFlow computes slowly in bfloat16.

    On a CPU, the gradient of the inputs of a depthwise convolution with strides took 9 to 32 times as long in bfloat16,
    and that of 5x5 filters 4 times.

    Args:
        trained: layers through which gradients flow.
        only_strided: whether the filters themselves are not trained (unfreezing.py).
    """
    for layer in itertools.chain.from_iterable(each._flatten_layers() for each in trained):
        is_slow = isinstance(layer, layers.DepthwiseConv2D) and (max(layer.strides) > 1 or not only_strided)
        if is_slow and layer.compute_dtype == "bfloat16":
            layer.dtype_policy = "float32"


def _stop_dropout(backbone: keras.Model) -> None:
    """Leaves nothing random in a backbone that stays frozen: its features are the same in every epoch.

    `training=False` in the call of a backbone would not: Keras replaces it in a training.
    """
    for layer in backbone._flatten_layers():
        if isinstance(layer, layers.Dropout | layers.SpatialDropout1D | layers.SpatialDropout2D):
            layer.rate = 0.0


def _with_its_own_head(config: TrainConfig, backbone: Backbone) -> keras.Model:
    if config.freeze_backbone:
        raise UserError(
            f"--freeze_backbone: the model of --model={config.model} has its own head. Train all of it with "
            "--nofreeze_backbone, or return the backbone, with outputs [batch, height, width, channels]."
        )
    _compute_depthwise_in_float32(backbone.network.layers, only_strided=False)
    inputs = _inputs(config, backbone)
    probabilities = _output(backbone.network, backbone.preprocess(inputs))
    outputs = layers.Activation("linear", dtype="float32", name=example.LABELS)(probabilities)
    return keras.Model(inputs, outputs, name=_name(config))


def _output(network: keras.Model, pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the only output of a network. A model that was made with a list of outputs gives a list."""
    (output,) = keras.tree.flatten(network(pixels))
    return output


def _inputs(config: TrainConfig, backbone: Backbone) -> keras.KerasTensor:
    """Returns the images of a model, of any size if the backbone takes them."""
    any_size = getattr(backbone.network, "input_shape", ())[1:3] == (None, None)
    size = None if any_size else config.image_size
    return keras.Input((size, size, 3), name=example.IMAGE)


def _name(config: TrainConfig) -> str:
    return "own_model" if own_models.is_own(config.model) else config.model
