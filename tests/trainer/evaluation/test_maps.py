"""A class activation map is the logit, place by place; where it cannot be, it comes from the gradient."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import logit

from trainer.config import TrainConfig
from trainer.evaluation import maps
from trainer.finished_run import FinishedRun
from trainer.models import model
from trainer.sources import Sources

_WHOLE = """
import keras

def build(image_shape, num_classes):
    inputs = keras.Input(image_shape)
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes, activation="sigmoid")(x))
"""


def _images(n: int = 3, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_the_mean_of_an_exact_map_and_the_bias_are_the_logit(run: FinishedRun) -> None:
    network = run.load_model()
    classes = [2, 0, 3]
    found = maps.compute(network, _images(size=32), classes)
    assert found is not None
    assert found.exact
    scores = np.asarray(network(_images(size=32), training=False), np.float64)[np.arange(3), classes]
    bias = np.asarray(network.get_layer("labels").bias)[classes]
    np.testing.assert_allclose(found.values.mean(axis=(1, 2)) + bias, logit(scores), atol=1e-4)
    assert found.values.std(axis=(1, 2)).min() > 0


def test_a_model_with_its_own_head_has_a_map_from_the_gradient(
    config: Callable[..., TrainConfig], sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole_of_maps.py").write_text(_WHOLE)
    monkeypatch.chdir(tmp_path)
    settings = config(model="whole_of_maps:build", image_size=16)
    network = model.build(settings, sources.split("train").statistics, sources.classes)
    network.save(tmp_path / "model.keras")
    for one in (network, keras.saving.load_model(tmp_path / "model.keras")):
        found = maps.compute(one, _images(), [1, 1, 0])
        assert found is not None
        assert not found.exact
        assert found.values.shape == (3, 5, 5)
        # Maps of a layer without padding, times the gradient: to the first order, their sum is what the logit gains.
        assert np.abs(found.values).max() > 0


def test_a_model_that_nobody_can_look_into_has_no_maps() -> None:
    inputs = keras.Input((16, 16, 3))
    outputs = keras.layers.Dense(2, activation="sigmoid", name="labels")(keras.layers.Flatten()(inputs))
    assert maps.compute(keras.Model(inputs, outputs), _images(), [0, 1, 0]) is None
    assert maps.compute(keras.Model(inputs, outputs), _images(0), []) is None
