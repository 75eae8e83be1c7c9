"""The figures are those of scikit-learn: with ties, unknown labels, empty classes and weights."""

import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import metrics
from trainer.evaluation.figures import HEADLINE, Weighable
from trainer.metrics import Predictions

_AVERAGES = ("macro", "micro", "samples")


def _draw(n: int, k: int, seed: int, *, ties: bool, unknown: bool) -> tuple[Predictions, np.ndarray, np.ndarray]:
    """Returns predictions, thresholds and weights [n, 2]; one class has no positive, another no negative."""
    rng = np.random.default_rng(seed)
    scores = rng.random((n, k)).astype(np.float32)
    if ties:
        scores = np.round(scores * 4) / np.float32(4)
    labels = rng.random((n, k)) < rng.uniform(0, 1, k)
    labels[:, 0] = False
    labels[:, 1] = True
    known = rng.random((n, k)) < 0.7 if unknown else None
    thresholds = rng.choice([0.25, 0.5, 0.75], k).astype(np.float32)
    return Predictions(labels=labels, scores=scores, known=known), thresholds, rng.poisson(1.0, (n, 2)).astype(np.uint8)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[Predictions, np.ndarray, np.ndarray]:
    return _draw(
        draw(st.integers(1, 25)),
        draw(st.integers(2, 5)),
        draw(st.integers(0, 2**32)),
        ties=draw(st.booleans()),
        unknown=draw(st.booleans()),
    )


def _known(predictions: Predictions) -> np.ndarray:
    return np.ones(predictions.labels.shape, bool) if predictions.known is None else predictions.known


def _is(found: float, expected: float | None) -> None:
    np.testing.assert_allclose(found, np.nan if expected is None else expected, rtol=1e-9, atol=1e-12)


@given(_cases())
@settings(max_examples=60)
def test_figures_of_classes_are_those_of_scikit_learn(case: tuple[Predictions, np.ndarray, np.ndarray]) -> None:
    predictions, thresholds, weights = case
    found = Weighable(predictions, thresholds, keep=True)(weights)
    for j in range(weights.shape[1]):
        for i in range(len(thresholds)):
            here = _known(predictions)[:, i] & (weights[:, j] > 0)
            labels, scores, weight = predictions.labels[here, i], predictions.scores[here, i], weights[here, j]
            if not labels.any():
                assert np.isnan([one[j, i] for one in found[1:]]).all()
                continue
            average_precision = sklearn.metrics.average_precision_score(labels, scores, sample_weight=weight)
            _is(found.average_precision[j, i], None if labels.all() else average_precision)
            predicted = scores >= thresholds[i]
            expected = sklearn.metrics.precision_recall_fscore_support(
                labels, predicted, sample_weight=weight, zero_division=np.nan, average="binary", pos_label=True
            )
            for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
                _is(getattr(found, name)[j, i], value)


@given(_cases())
@settings(max_examples=60)
def test_averages_are_those_of_scikit_learn(case: tuple[Predictions, np.ndarray, np.ndarray]) -> None:
    predictions, thresholds, _ = case
    found = Weighable(predictions, thresholds)(np.ones((len(predictions.labels), 1), np.uint8)).headline
    known = _known(predictions)
    # Unknown labels count for nothing where they are negatives that are not predicted.
    labels, predicted = predictions.labels & known, (predictions.scores >= thresholds) & known
    # A class without a positive is undefined here, and 0 for scikit-learn if it is predicted.
    some = labels.any(axis=0)
    scorers = {
        "precision": sklearn.metrics.precision_score,
        "recall": sklearn.metrics.recall_score,
        "f1": sklearn.metrics.f1_score,
    }
    for average in _AVERAGES:
        columns = np.flatnonzero(some) if average == "macro" else None
        for name, scorer in scorers.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # The mean of no values.
                expected = (
                    scorer(labels, predicted, labels=columns, average=average, zero_division=np.nan)
                    if labels.any() or average == "samples"
                    else np.nan
                )
            _is(found[f"{name}_{average}"], expected)
    flat = known.ravel()
    if labels.any() and (known & ~labels).any():
        micro = sklearn.metrics.average_precision_score(labels.ravel()[flat], predictions.scores.ravel()[flat])
        _is(found["average_precision_micro"], micro)
    else:
        assert np.isnan(found["average_precision_micro"])
    if flat.any():
        wrong = labels.ravel()[flat] != predicted.ravel()[flat]
        _is(found["hamming_loss"], float(wrong.mean()))
        squares = sklearn.metrics.mean_squared_error(
            labels.ravel()[flat], predictions.scores.ravel()[flat].astype(float)
        )
        _is(found["brier"], squares)


@given(_cases())
@settings(max_examples=60)
def test_figures_are_those_of_the_evaluation_of_a_run(case: tuple[Predictions, np.ndarray, np.ndarray]) -> None:
    predictions, thresholds, _ = case
    found = Weighable(predictions, np.full_like(thresholds, 0.5))(np.ones((len(predictions.labels), 1), np.uint8))
    classes = [str(i) for i in range(len(thresholds))]
    expected = metrics.evaluate(predictions, classes)
    for name in set(HEADLINE) & set(expected):
        _is(found.headline[name], expected[name])
    for i, name in enumerate(classes):
        _is(found.average_precision[0, i], expected["average_precision"][name])


@given(_cases())
@settings(max_examples=40)
def test_a_weight_is_the_number_of_times_that_an_image_occurs(case: tuple[Predictions, np.ndarray, np.ndarray]) -> None:
    predictions, thresholds, weights = case
    found = Weighable(predictions, thresholds)(weights)
    for j in range(weights.shape[1]):
        again = predictions[np.repeat(np.arange(len(weights)), weights[:, j])]
        expected = Weighable(again, thresholds)(np.ones((len(again.labels), 1), np.uint8))
        for name in HEADLINE:
            _is(found.headline[name][j], expected.headline[name][0])


def test_without_an_image_everything_is_undefined() -> None:
    nothing = Predictions(labels=np.empty((0, 2), bool), scores=np.empty((0, 2), np.float32))
    found = Weighable(nothing, np.full(2, 0.5, np.float32))(np.empty((0, 1), np.uint8))
    assert all(np.isnan(value).all() for value in found.headline.values())
    assert np.isnan(found.average_precision).all()


def test_many_weights_are_weighed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, thresholds, _ = _draw(50, 3, 0, ties=True, unknown=True)
    weights = np.random.default_rng(1).poisson(1.0, (50, 40)).astype(np.uint8)
    at_once = Weighable(predictions, thresholds, keep=True)(weights)
    monkeypatch.setattr("trainer.evaluation.figures._BLOCK", 70)
    in_parts = Weighable(predictions, thresholds, keep=True)(weights)
    for name in HEADLINE:
        np.testing.assert_allclose(in_parts.headline[name], at_once.headline[name])
    np.testing.assert_allclose(in_parts.f1, at_once.f1)


def test_few_levels_of_all_scores_are_nearly_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((4000, 10)) < 0.2
    scores = (1 / (1 + np.exp(1 - 2 * labels - rng.normal(size=labels.shape)))).astype(np.float32)
    exact = sklearn.metrics.average_precision_score(labels.ravel(), scores.ravel())
    weights = np.ones((4000, 1), np.uint8)
    predictions, half = Predictions(labels=labels, scores=scores), np.full(10, 0.5, np.float32)
    all_levels = Weighable(predictions, half)(weights)
    _is(all_levels.headline["average_precision_micro"][0], exact)
    monkeypatch.setattr("trainer.evaluation.figures._LEVELS", 500)
    few = Weighable(predictions, half)(weights)
    assert few.headline["average_precision_micro"][0] == pytest.approx(exact, abs=2e-3)
    assert few.headline["average_precision_micro"][0] != pytest.approx(exact, abs=1e-9)
    np.testing.assert_allclose(few.average_precision, all_levels.average_precision)
