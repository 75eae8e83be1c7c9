"""EfficientNet-Lite0 computes the same with and without batch normalization, and files of either start a run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from schemas.metadata import DatasetInfo
from schemas.statistics import Statistics
from trainer.config import TrainConfig
from trainer.models import efficientnet_lite, model, pretrained

Config = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def normalized() -> keras.Model:
    """A backbone whose normalization has values of its own in each channel, as a training from scratch leaves them."""
    network = efficientnet_lite.backbone()
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            layer.set_weights([rng.uniform(0.5, 1.5, n), *rng.normal(0, 0.3, (2, n)), rng.uniform(0.5, 2, n)])
    return network


@pytest.fixture
def statistics(info: DatasetInfo) -> Statistics:
    """The statistics of the training split."""
    return info.split("train").statistics


def _pixels() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (2, 40, 56, 3)).astype(np.float32)


def _assert_same(found: keras.Model, expected: keras.Model) -> None:
    want = np.asarray(expected(_pixels(), training=False))
    assert want.std() > 0.1
    np.testing.assert_allclose(np.asarray(found(_pixels(), training=False)), want, atol=1e-4 * want.std(), rtol=1e-4)


def test_without_normalization_it_computes_the_same(normalized: keras.Model) -> None:
    without = efficientnet_lite.folded(normalized)
    assert efficientnet_lite.is_normalized(normalized)
    assert not efficientnet_lite.is_normalized(without)
    _assert_same(without, normalized)
    assert [layer.name for layer in without.layers[1:]] == [
        layer.name for layer in normalized.layers[1:] if not layer.name.endswith("_bn")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("whole", "ending"), [(True, ".keras"), (False, ".weights.h5")], ids=["model", "backbone"])
def test_a_run_from_weights_with_normalization_has_none(
    whole: bool, ending: str, normalized: keras.Model, config: Config, statistics: Statistics, tmp_path: Path
) -> None:
    asked = config(model="efficientnet_lite0")
    scratch = model.build(asked, statistics)
    backbone = model.backbone_of(scratch)
    assert backbone
    assert efficientnet_lite.is_normalized(backbone)
    backbone.set_weights(normalized.get_weights())
    first = tmp_path / f"first{ending}"
    saved = scratch if whole else backbone
    (saved.save if ending == ".keras" else saved.save_weights)(first)
    # From scratch, then further, then further still.
    second = model.build(dataclasses.replace(asked, weights=str(first)), statistics)
    _assert_without(second, backbone)
    (second.save if ending == ".keras" else second.save_weights)(tmp_path / f"second{ending}")
    third = model.build(dataclasses.replace(asked, weights=str(tmp_path / f"second{ending}")), statistics)
    for found, expected in zip(third.get_weights()[:-2], second.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_a_run_from_one_that_began_with_imagenet(config: Config, statistics: Statistics, tmp_path: Path) -> None:
    first = model.build(config(model="efficientnet_lite0", weights="imagenet"), statistics)
    _assert_without(first, pretrained.backbone())
    model.of_size(first, 24).save(tmp_path / "first.keras")
    asked = config(model="efficientnet_lite0", weights=str(tmp_path / "first.keras"), preprocessing="unit")
    _assert_without(model.build(asked, statistics), pretrained.backbone())


def _assert_without(network: keras.Model, expected: keras.Model) -> None:
    backbone = model.backbone_of(network)
    assert backbone
    assert not efficientnet_lite.is_normalized(backbone)
    _assert_same(backbone, expected)
