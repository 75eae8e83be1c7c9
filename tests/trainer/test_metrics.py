"""The metrics against examples worked out by hand, against their definitions, and against the edges of the data."""

import json
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import metrics
from trainer.metrics import Predictions

ABC = ("a", "b", "c")


def _evaluate(labels: list[list[int]], scores: list[list[float]], classes: tuple[str, ...] = ABC) -> dict[str, Any]:
    return metrics.evaluate(
        Predictions(labels=np.array(labels), scores=np.array(scores, np.float32)), classes[: len(labels[0])]
    )


def test_worked_out_by_hand() -> None:
    result = _evaluate(
        [[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1]],
        [[0.9, 0.2, 0.6], [0.8, 0.7, 0.1], [0.4, 0.3, 0.2], [0.1, 0.6, 0.5]],
    )
    # Of a, ranked 0.9 + 0.8 - 0.4 + 0.1 -: positives at ranks 1 and 3. Of b, 0.7 + 0.6 - 0.3 + 0.2 -: the same.
    # Of c, 0.6 - 0.5 + 0.2 - 0.1 +: at ranks 2 and 4.
    assert result["average_precision"] == pytest.approx({"a": 5 / 6, "b": 5 / 6, "c": 1 / 2})
    assert result["mean_average_precision"] == pytest.approx((5 / 6 + 5 / 6 + 1 / 2) / 3)
    # Image by image: {a} at rank 1; {b, c} at 2 and 3; {a, b} at 1 and 2; {c} at 2.
    assert result["label_ranking_average_precision"] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2 + 1 + 1 / 2) / 4)
    assert result["coverage"] == pytest.approx((1 + 3 + 2 + 2) / 4)
    assert result["ranking_loss"] == pytest.approx((0 + 2 / 2 + 0 + 1 / 2) / 4)
    assert result["one_error"] == pytest.approx(2 / 4)
    # From 0.5 on it counts as predicted: c wrongly in the first; a wrongly, c missing; a and b missing; b wrongly.
    assert result["hamming_loss"] == pytest.approx((1 + 2 + 2 + 1) / 12)
    assert result["num_examples"] == 4


def test_the_keys_are_those_that_others_read() -> None:
    assert set(_evaluate([[1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8]])) == {
        "mean_average_precision",
        "average_precision",
        "label_ranking_average_precision",
        "f1",
        "hamming_loss",
        "hamming_loss_at_half",
        "one_error",
        "coverage",
        "ranking_loss",
        "num_examples",
    }


def test_a_perfect_and_a_perfectly_wrong_model() -> None:
    labels = [[1, 0, 0], [0, 1, 1], [0, 1, 0]]
    perfect = _evaluate(labels, [[float(label) for label in row] for row in labels])
    assert perfect["mean_average_precision"] == perfect["label_ranking_average_precision"] == 1
    assert perfect["hamming_loss"] == perfect["one_error"] == perfect["ranking_loss"] == 0
    assert perfect["coverage"] == pytest.approx(4 / 3)
    wrong = _evaluate(labels, [[1.0 - label for label in row] for row in labels])
    assert wrong["hamming_loss"] == wrong["one_error"] == wrong["ranking_loss"] == 1
    assert wrong["coverage"] == 3


@st.composite
def _predictions(draw: st.DrawFn) -> Predictions:
    n, k = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = rng.permutation(n * k).reshape(n, k) / (n * k)  # No two are the same.
    labels = (rng.random((n, k)) < draw(st.sampled_from([0.0, 0.2, 0.5, 1.0]))).astype(int)
    return Predictions(labels=labels, scores=scores.astype(np.float32))


def _average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns the average precision by its definition: the mean of the precisions at the ranks of all positives."""
    ranked = labels[np.argsort(-scores)]
    ranks = np.flatnonzero(ranked) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


@settings(max_examples=150, deadline=None)
@given(_predictions())
def test_metrics_are_what_their_definitions_say(predictions: Predictions) -> None:
    labels, scores = predictions.labels, predictions.scores
    n, k = labels.shape
    result = metrics.evaluate(predictions, [str(i) for i in range(k)])
    json.dumps(result, allow_nan=False)
    assert result["num_examples"] == n
    assert result["hamming_loss"] == pytest.approx(np.mean((scores >= 0.5) != labels))
    both_kinds = [0 < column.sum() < n for column in labels.T]
    expected = [_average_precision(labels[:, i], scores[:, i]) if both_kinds[i] else None for i in range(k)]
    assert list(result["average_precision"].values()) == [None if x is None else pytest.approx(x) for x in expected]
    known = [precision for precision in expected if precision is not None]
    assert result["mean_average_precision"] == (pytest.approx(np.mean(known)) if known else None)
    ranking, coverage, loss, misses = [], [], [], []
    for row, score in zip(labels, scores, strict=True):
        positives, negatives = score[row == 1], score[row == 0]
        trivial = not len(positives) or not len(negatives)
        ranking.append(1.0 if trivial else _average_precision(row, score))
        coverage.append(int((score >= positives.min()).sum()) if len(positives) else 0)
        loss.append(0.0 if trivial else float(np.mean(negatives[:, None] > positives)))
        if len(positives):
            misses.append(row[score.argmax()] == 0)
    assert result["label_ranking_average_precision"] == pytest.approx(np.mean(ranking))
    assert result["coverage"] == pytest.approx(np.mean(coverage))
    assert result["ranking_loss"] == pytest.approx(np.mean(loss))
    assert result["one_error"] == (pytest.approx(np.mean(misses)) if misses else None)


@settings(max_examples=30, deadline=None)
@given(_predictions(), st.randoms())
def test_the_order_of_the_examples_does_not_matter(predictions: Predictions, random: Any) -> None:
    order = list(range(len(predictions.labels)))
    random.shuffle(order)
    classes = [str(i) for i in range(predictions.labels.shape[1])]
    shuffled = Predictions(labels=predictions.labels[order], scores=predictions.scores[order])
    one, other = (metrics.evaluate(p, classes) for p in (predictions, shuffled))
    assert one.pop("average_precision") == pytest.approx(other.pop("average_precision"))
    assert one == pytest.approx(other)


def test_equal_scores_are_what_scikit_learn_makes_of_them() -> None:
    labels, scores = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]]), np.full((4, 3), 0.5, np.float32)
    result = metrics.evaluate(Predictions(labels=labels, scores=scores), ABC)
    assert result["mean_average_precision"] == pytest.approx(sklearn.metrics.average_precision_score(labels, scores))
    assert result["label_ranking_average_precision"] == pytest.approx(
        sklearn.metrics.label_ranking_average_precision_score(labels, scores)
    )
    assert result["hamming_loss"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([[1, 0, 1], [0, 0, 1], [1, 0, 0]], [1.0, None, 1.0], id="no image has b"),
        pytest.param([[1, 1, 1], [0, 1, 1], [1, 1, 0]], [1.0, None, 1.0], id="every image has b"),
    ],
)
def test_a_class_of_one_kind_only_has_no_precision(labels: list[list[int]], expected: list[float | None]) -> None:
    result = _evaluate(labels, [[0.9 * label for label in row] for row in labels])
    assert list(result["average_precision"].values()) == expected
    assert result["mean_average_precision"] == 1
    assert ["b", "undefined"] in [line.split() for line in metrics.table(result).splitlines()]


def test_images_without_a_label() -> None:
    result = _evaluate([[0, 0], [0, 0]], [[0.9, 0.1], [0.2, 0.3]])
    assert result["mean_average_precision"] is None
    assert result["average_precision"] == {"a": None, "b": None}
    assert result["one_error"] is None
    assert result["coverage"] == 0
    assert result["hamming_loss"] == 0.25
    json.dumps(result, allow_nan=False)
    metrics.table(result)


def test_one_error_leaves_images_without_a_label_out() -> None:
    assert _evaluate([[0, 0], [1, 0], [0, 1]], [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])["one_error"] == 0.5


def test_a_single_class() -> None:
    result = _evaluate([[1], [0], [1], [0]], [[0.9], [0.8], [0.7], [0.1]])
    assert result["average_precision"] == {"a": pytest.approx((1 + 2 / 3) / 2)}
    assert result["mean_average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert result["hamming_loss"] == 0.25
    assert result["label_ranking_average_precision"] == 1


def test_the_table_names_every_class_and_metric() -> None:
    lines = metrics.table(_evaluate([[1, 0, 0], [0, 1, 0]], [[0.9, 0.1, 0.2], [0.2, 0.8, 0.1]])).splitlines()
    assert lines[0] == "2 examples"
    assert [line.rsplit("  ", 1)[0].strip() for line in lines[1:]] == [
        "mean average precision",
        *ABC,
        "label-ranking average precision",
        "one-error",
        "coverage",
        "ranking loss",
        "F1",
        "hamming loss",
    ]
    assert lines[1].endswith("1.0000")


@pytest.mark.parametrize("unknown", [False, True])
def test_f1_and_hamming_loss_are_at_the_thresholds_of_the_classes(unknown: bool) -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.random((40, 3)) < 0.4, rng.random((40, 3)).astype(np.float32)
    labels[:, 2] = False
    known = rng.random((40, 3)) < 0.7 if unknown else np.ones((40, 3), bool)
    predictions = Predictions(labels=labels, scores=scores, known=known if unknown else None)
    limits = (0.2, 0.7, 0.9)
    found = metrics.evaluate(predictions, ABC, limits)
    predicted = scores >= np.float32(limits)
    f1s = [sklearn.metrics.f1_score(labels[known[:, i], i], predicted[known[:, i], i]) for i in range(2)]
    assert found["f1"] == pytest.approx(np.mean(f1s))
    assert found["hamming_loss"] == pytest.approx((predicted != labels)[known].mean())
    assert found["hamming_loss_at_half"] == pytest.approx(((scores >= 0.5) != labels)[known].mean())
    assert found["hamming_loss_at_half"] == metrics.evaluate(predictions, ABC)["hamming_loss"]
