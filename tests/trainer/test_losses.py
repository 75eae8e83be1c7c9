"""Each loss is that of its definition on the known labels, from logits, with weights and smoothed labels."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from multihot.errors import UserError
from schemas.example import UNKNOWN
from schemas.metadata import DatasetInfo
from schemas.statistics import Moments, Statistics
from trainer import losses
from trainer.config import TrainConfig
from trainer.losses import LabelLoss
from trainer.sources import Sources, combine
from trainer.system import numerics

Config = Callable[..., TrainConfig]
Compiled = Callable[[TrainConfig, Sources], keras.Model]
SIGMOIDS = ("binary_crossentropy", "asymmetric")
LOSSES = (*SIGMOIDS, "categorical_crossentropy")


def _expected(loss: str, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Returns the loss of each label in float64: as the papers define it, of 0 and 1 and linear between them."""
    logits = logits.astype(float)
    p, log_p, log_not_p = 1 / (1 + np.exp(-logits)), -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    if loss == "binary_crossentropy":
        kinds = -log_not_p, -log_p
    else:
        shifted = np.maximum(p - 0.05, 0)
        kinds = -(shifted**4) * np.log(1 - shifted), -log_p
    return (1 - labels) * kinds[0] + labels * kinds[1]


def _value_and_gradient(loss: Any, labels: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    given = tf.constant(logits, tf.float32)
    activation = keras.activations.softmax if loss.name == "categorical_crossentropy" else keras.activations.sigmoid
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = loss(tf.constant(labels, tf.float32), activation(given))
    return float(value), tape.gradient(value, given).numpy()


@st.composite
def _batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Returns labels, of which some are mixed and some unknown, logits, and a source of further numbers."""
    n, k = draw(st.integers(1, 8)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = (rng.random((n, k)) < draw(st.sampled_from([0.1, 0.5]))).astype(float)
    mixed = rng.random((n, k)) < draw(st.sampled_from([0.0, 0.5]))
    labels = np.where(mixed, rng.random((n, k)), labels)
    labels = np.where(rng.random((n, k)) < draw(st.sampled_from([0.0, 0.3, 0.9])), UNKNOWN, labels)
    return labels.astype(np.float32), rng.normal(size=(n, k)) * draw(st.sampled_from([1, 10])), rng


@pytest.mark.parametrize("loss", SIGMOIDS)
@settings(max_examples=60, deadline=None)
@given(_batches(), st.sampled_from([0.0, 0.1]), st.booleans())
def test_a_loss_of_sigmoids_is_the_mean_over_the_known_labels(
    loss: str, batch: tuple[np.ndarray, np.ndarray, np.random.Generator], smoothing: float, weighted: bool
) -> None:
    labels, logits, rng = batch
    known = labels != UNKNOWN
    weights = rng.random((2, labels.shape[1])) * 20 if weighted else None
    smooth = labels * (1 - smoothing) + smoothing / 2
    parts = [kind * _expected(loss, np.full_like(labels, i), logits) for i, kind in ((0, 1 - smooth), (1, smooth))]
    each = sum(part * (1 if weights is None else weights[i]) for i, part in enumerate(parts))
    value, gradient = _value_and_gradient(LabelLoss(loss, weights=weights, label_smoothing=smoothing), labels, logits)
    assert value == pytest.approx(np.mean(each[known]) if known.any() else 0.0, rel=2e-5, abs=1e-6)
    np.testing.assert_array_equal(gradient[~known], 0)


@pytest.mark.parametrize(
    ("loss", "usual"),
    [
        ("binary_crossentropy", keras.losses.BinaryCrossentropy),
        ("categorical_crossentropy", keras.losses.CategoricalCrossentropy),
    ],
)
def test_smoothed_labels_are_those_of_keras(loss: str, usual: Any) -> None:
    rng = np.random.default_rng(0)
    labels, logits = np.eye(4)[rng.integers(0, 4, 9)], rng.normal(size=(9, 4))
    value, gradient = _value_and_gradient(LabelLoss(loss, label_smoothing=0.2), labels, logits)
    expected, its_gradient = _value_and_gradient(usual(label_smoothing=0.2, name=loss), labels, logits)
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, its_gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("loss", SIGMOIDS)
def test_a_loss_is_exact_and_finite_where_probabilities_are_rounded(loss: str) -> None:
    logits = np.array([[-200.0, -60.0, -30.0, 30.0, 60.0, 200.0]] * 3)
    labels = np.array([[0.0] * 6, [1.0] * 6, [UNKNOWN] * 6])
    value, gradient = _value_and_gradient(LabelLoss(loss), labels, logits)
    assert value == pytest.approx(np.mean(_expected(loss, labels[:2], logits[:2])), rel=1e-5)
    assert np.all(np.isfinite(gradient))


def _statistics(positives: list[int], known: list[int], examples: int) -> Statistics:
    return Statistics(
        positives=tuple(positives),
        unknown=tuple(examples - number for number in known),
        example_bytes=Moments(count=examples),
    )


def _columns(positives: list[int], known: list[int], examples: int) -> np.ndarray:
    """Returns the labels of which these are the counts."""
    places = np.arange(examples)[:, None]
    return np.where(places < positives, 1.0, np.where(places < known, 0.0, UNKNOWN))


def test_balanced_weights_are_those_of_scikit_learn_on_the_known_labels() -> None:
    counts = [1, 30, 90], [200, 90, 100], 200
    weights, labels = losses.balanced_weights(_statistics(*counts)), _columns(*counts)
    for i, column in enumerate(labels.T):
        known = column[column != UNKNOWN]
        expected = compute_class_weight("balanced", classes=np.array([0.0, 1.0]), y=known)
        np.testing.assert_allclose(weights[:, i], expected)
    only = losses.balanced_weights(_statistics([0, 20, 0], [20, 20, 0], 20))
    np.testing.assert_array_equal(only, 1)


def test_with_balanced_weights_both_kinds_of_labels_pull_the_same() -> None:
    counts = [1, 30, 90], [200, 90, 100], 200
    loss = LabelLoss("binary_crossentropy", weights=losses.balanced_weights(_statistics(*counts)))
    labels = _columns(*counts)
    _, gradient = _value_and_gradient(loss, labels, np.zeros(labels.shape))
    assert np.all(gradient[labels == 1] != 0)
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("loss", SIGMOIDS)
def test_no_other_constant_score_has_a_lower_loss_than_the_prior(
    loss: str, weights: str, smoothing: float, config: Config
) -> None:
    asked = config(loss=loss, positive_weights=weights, label_smoothing=smoothing)
    counts = [100, 2000, 12000, 18000], [20000, 10000, 20000, 20000], 20000
    statistics, labels = _statistics(*counts), _columns(*counts)
    made = LabelLoss(
        loss,
        weights=losses.balanced_weights(statistics) if weights == "balanced" else None,
        label_smoothing=smoothing,
    )
    prior = losses.prior_logits(asked, statistics)
    _, gradient = _value_and_gradient(made, labels, np.broadcast_to(prior, labels.shape))
    # The slope of the loss of a class by its score; one more of each kind is in the prior.
    slopes = np.abs(gradient.sum(axis=0)) / np.abs(gradient).sum(axis=0)
    assert np.all(slopes < 0.02), slopes
    if loss == "binary_crossentropy" and weights == "balanced" and not smoothing:
        np.testing.assert_allclose(prior, 0, atol=0.02)


def test_the_prior_of_a_softmax_and_of_classes_of_one_kind_is_finite(config: Config) -> None:
    statistics = _statistics([0, 20, 0], [20, 20, 0], 20)
    np.testing.assert_array_equal(losses.prior_logits(config(loss="categorical_crossentropy"), statistics), 0)
    for loss in SIGMOIDS:
        for weights in ("none", "balanced"):
            assert np.all(np.isfinite(losses.prior_logits(config(loss=loss, positive_weights=weights), statistics)))


def test_the_loss_of_a_run_follows_from_its_settings(config: Config, sources: Sources) -> None:
    assert losses.of_run(config(label_smoothing=0.0), sources) == "binary_crossentropy"
    for changes in ({"loss": "asymmetric"}, {"positive_weights": "balanced"}, {"label_smoothing": 0.1}):
        made = losses.of_run(config(**changes), sources)
        assert isinstance(made, LabelLoss)
        assert not made.has_unknown
        assert made.get_config() == LabelLoss(**made.get_config()).get_config()
    weights = losses.of_run(config(positive_weights="balanced"), sources).get_config()["weights"]
    np.testing.assert_allclose(weights, losses.balanced_weights(sources.split("train").statistics), rtol=1e-6)
    with pytest.raises(UserError, match=r"^--positive_weights=balanced needs a sigmoid for each class\. Received:"):
        losses.of_run(config(positive_weights="balanced", loss="categorical_crossentropy"), sources)


def test_one_class_has_every_loss_of_sigmoids(config: Config, info: DatasetInfo, compiled: Compiled) -> None:
    splits = tuple(
        dataclasses.replace(split, statistics=dataclasses.replace(split.statistics, positives=(7,)))
        for split in info.splits
    )
    one = combine([("", dataclasses.replace(info, classes=("one",), splits=splits))])
    for loss in SIGMOIDS:
        network = compiled(config(image_size=8, loss=loss, positive_weights="balanced", model="small_resnet"), one)
        logs = network.test_on_batch(np.zeros((2, 8, 8, 3), np.uint8), np.array([[0.0], [1.0]]), return_dict=True)
        assert np.isfinite(logs["loss"])


# The loader of a user: Keras, and nothing of this package.
_LOAD = """
import sys
import keras
for path in sys.argv[1:]:
    network = keras.saving.load_model(path)
    assert "trainer" not in sys.modules
    optimizer = getattr(network.optimizer, "inner_optimizer", network.optimizer)
    print(type(network.optimizer).__name__, type(optimizer).__module__, network.loss, int(optimizer.iterations))
"""


@pytest.mark.slow
def test_models_are_loaded_without_this_package(
    config: Config, sources: Sources, tmp_path: Path, compiled: Compiled
) -> None:
    made = [*((loss, "float32") for loss in LOSSES), ("asymmetric", "mixed_float16")]
    labels = np.eye(len(sources.classes), dtype=np.float32)
    paths = []
    for loss, precision in made:
        numerics.fix(precision)
        try:
            asked = config(loss=loss, image_size=8, model="small_resnet", ema=0.9, accumulate=2, label_smoothing=0.1)
            network = compiled(asked, sources)
        finally:
            numerics.fix()
        for _ in range(4):
            network.train_on_batch(np.zeros((len(labels), 8, 8, 3), np.uint8), labels)
        paths.append(str(tmp_path / f"{loss}-{precision}.keras"))
        network.save(paths[-1])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Warnings of Keras, that it skips variables, are errors; numpy's own of Keras are not.
    found = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", _LOAD, *paths],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    for (loss, precision), line in zip(made, found.stdout.splitlines(), strict=True):
        outer = "LossScaleOptimizer" if precision == "mixed_float16" else "AdamW"
        named = {"asymmetric": "binary_crossentropy"}.get(loss, loss)
        words = line.split()
        assert (words[0], words[2]) == (outer, named)
        assert words[1].startswith("keras.")
        # The first steps may overflow in float16, and are left out.
        assert int(words[3]) == 2 or (int(words[3]) < 2 and outer == "LossScaleOptimizer")
