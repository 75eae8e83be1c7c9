"""Layers are trained from a layer on; batch normalization and depthwise convolutions are not."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from multihot.errors import UserError
from schemas.metadata import DatasetInfo
from trainer.config import TrainConfig
from trainer.models import efficientnet_lite, model, small_resnet, unfreezing

Config = Callable[..., TrainConfig]


def _trainable(backbone: keras.Model) -> list[str]:
    """Returns the names of the layers with weights that are trained."""
    return [layer.name for layer in backbone.layers if layer.trainable_weights]


def test_trains_the_layers_from_a_block_on() -> None:
    backbone = efficientnet_lite.backbone()
    backbone.trainable = False
    unfreezing.unfreeze(backbone, "block14")
    assert _trainable(backbone) == [
        "block14_expand_conv", "block14_project_conv", "block15_expand_conv", "block15_project_conv", "head_conv",
    ]  # fmt: skip
    unfreezing.unfreeze(backbone, "block15_depthwise")
    assert _trainable(backbone) == ["block15_project_conv", "head_conv"]
    # Later in a training, more of them: two of three convolutions of a block, but for one of two in the first.
    unfreezing.unfreeze(backbone, "stem")
    assert len(_trainable(backbone)) == 33


def test_biases_of_depthwise_convolutions_stay_frozen_too() -> None:
    backbone = efficientnet_lite.backbone(normalized=False)
    unfreezing.unfreeze(backbone, "block15")
    assert [variable.path for variable in backbone.trainable_weights] == [
        "block15_expand_conv/kernel", "block15_expand_conv/bias",
        "block15_project_conv/kernel", "block15_project_conv/bias",
        "head_conv/kernel", "head_conv/bias",
    ]  # fmt: skip


def test_trains_a_share_of_the_layers() -> None:
    backbone = small_resnet.backbone()
    convolutions = [layer.name for layer in backbone.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 13
    unfreezing.unfreeze(backbone, "0")
    assert _trainable(backbone) == convolutions
    unfreezing.unfreeze(backbone, "0.5")
    assert _trainable(backbone) == convolutions[7:]
    unfreezing.unfreeze(backbone, "0.999")
    assert _trainable(backbone) == []


@pytest.mark.parametrize(
    ("name", "start", "first"),
    [
        ("MobileNetV3Small", "expanded_conv_7", "expanded_conv_7_expand"),
        ("VGG16", "block5", "block5_conv1"),
        pytest.param("ResNet50", "conv5", "conv5_block1_1_conv", marks=pytest.mark.slow),
        pytest.param("EfficientNetB0", "block6", "block6a_expand_conv", marks=pytest.mark.slow),
    ],
)
def test_takes_the_names_of_keras_applications(name: str, start: str, first: str) -> None:
    backbone = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(64, 64, 3))
    unfreezing.unfreeze(backbone, start)
    assert _trainable(backbone)[0] == first
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization | keras.layers.DepthwiseConv2D):
            assert not layer.trainable


def test_batch_normalization_within_layers_stays_frozen_too() -> None:
    inner = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()], name="inner")
    backbone = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.Conv2D(4, 3, name="last")])
    unfreezing.unfreeze(backbone, "inner")
    assert len(backbone.trainable_weights) == 4
    assert not inner.layers[1].trainable


@pytest.mark.parametrize("start", ["block16", "Block10", "", "nothing", "conv_stem"])
def test_names_the_layers_that_there_are(start: str) -> None:
    with pytest.raises(UserError) as caught:
        unfreezing.unfreeze(efficientnet_lite.backbone(), start)
    blocks = ", ".join(f"block{number:02d}" for number in range(16))
    assert str(caught.value) == (
        f"No layer of efficientnet_lite0 has a name that begins with {start!r}. "
        f"Names begin with: stem, {blocks}, head. A share of the layers, as in 0.5, can be named too."
    )


@pytest.mark.parametrize("start", ["1", "1.5", "7", "0.5.5", "."])
def test_a_share_is_less_than_1(start: str) -> None:
    match = f"^A share of the layers must be at least 0 and less than 1. Received: {start}$"
    with pytest.raises(UserError, match=match):
        unfreezing.unfreeze(small_resnet.backbone(), start)


def test_the_name_is_checked_when_the_model_is_built(config: Config, info: DatasetInfo) -> None:
    asked = config(freeze_backbone=True, unfreeze_epochs=1, unfreeze_from="block9")
    with pytest.raises(
        UserError, match=r"^No layer of small_resnet .* begin with: stem, block0, block1, block2, block3\."
    ):
        model.build(asked, info.split("train").statistics)


def test_only_what_is_unfrozen_is_learned(config: Config, info: DatasetInfo) -> None:
    network = model.build(config(), info.split("train").statistics)
    backbone = model.backbone_of(network)
    assert backbone
    unfreezing.unfreeze(backbone, "block2")
    network.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy")
    before = {variable.path: np.array(variable) for variable in network.weights}
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    network.train_on_batch(images, np.eye(4, dtype=np.float32))
    changed = {path for path, value in before.items() if not np.array_equal(value, _value(network, path))}
    learned = {variable.path for variable in network.trainable_variables}
    assert changed == learned
    assert {path.split("/")[-2] for path in learned} == {"labels", *(_trainable(backbone))}


def _value(network: keras.Model, path: str) -> np.ndarray:
    [variable] = [variable for variable in network.weights if variable.path == path]
    return np.array(variable)


def test_a_backbone_without_weights_has_no_layer_to_train() -> None:
    backbone = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.AveragePooling2D(2)], name="means")
    with pytest.raises(UserError, match=r"^No layer of means has weights, so that none can be trained\.$"):
        unfreezing.unfreeze(backbone, "0.5")
