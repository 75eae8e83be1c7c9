"""Computes the metrics of multi-label classification from the labels and the scores of a split."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sklearn.metrics

# From this probability on a label counts as predicted.
THRESHOLD = 0.5
# Elements that a metric of scikit-learn gets in one call: it makes several copies of them, in float64 and int64.
_BLOCK_ELEMENTS = 1 << 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """The labels of a split, and the scores that a model gives them.

    Attributes:
        labels: bool [n, k], or 0 and 1.
        scores: float32 [n, k], probabilities.
        loss: mean over the examples; None for a model without a loss.
    """

    labels: np.ndarray
    scores: np.ndarray
    loss: float | None = None


def evaluate(predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
    """Computes the metrics over all examples at once, never as a mean over batches.

    Average precision, label-ranking average precision, coverage and ranking loss are as scikit-learn defines them (see
    its guide, "Multilabel ranking metrics"); one-error is the share of examples whose highest score is of a class that
    they do not have (Schapire and Singer 2000).

    Args:
        predictions: of the split.
        classes: names of the classes.

    Returns:
        The contents of evaluation.json. A class without a positive or without a negative example has no average
        precision: None, and the mean is over the others. One-error is over the examples that have a label.
    """
    labels, scores = predictions.labels, predictions.scores
    precisions = average_precisions(predictions)
    labelled = labels.any(axis=1)
    highest = scores.argmax(axis=1)
    hits = labels[np.arange(len(labels)), highest][labelled]
    ranking = _ranking(labels, scores)
    return {
        "num_examples": len(labels),
        "mean_average_precision": mean(precisions),
        "average_precision": dict(zip(classes, precisions, strict=True)),
        "label_ranking_average_precision": ranking[0],
        "one_error": float(1 - hits.mean()) if labelled.any() else None,
        "coverage": ranking[1],
        "ranking_loss": ranking[2],
        "hamming_loss": float(np.mean((scores >= THRESHOLD) != labels)),
    }


def average_precisions(predictions: Predictions) -> list[float | None]:
    """Returns the average precision of each class; None without a positive or without a negative example."""
    return [
        _average_precision(labels > 0, scores) if labels.any() and not labels.all() else None
        for labels, scores in zip(predictions.labels.T, predictions.scores.T, strict=True)
    ]


def mean(values: Sequence[float | None]) -> float | None:
    """Returns the mean of the values that are not None; None when there is no other."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean, over the positives, of the precision among all that have at least their score.

    It is scikit-learn's `average_precision_score`, to 1e-15. That one took 0.22 to 0.25 s for a million examples, which
    a thousand classes would cost after every epoch; this one takes 0.01 to 0.02 s.

    Args:
        labels: bool [n], some of them true.
        scores: float [n].
    """
    positives, ranked = np.sort(scores[labels]), np.sort(scores)
    hits = len(positives) - np.searchsorted(positives, positives, side="left")
    return float(np.mean(hits / (len(ranked) - np.searchsorted(ranked, positives, side="left"))))


def _ranking(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float, float]:
    """Returns the label-ranking average precision, the coverage and the ranking loss."""
    # scikit-learn takes a single column for a binary problem and not for a multi-label one, of which a ranking of one
    # class is the trivial case.
    if labels.shape[1] == 1:
        return 1.0, float(labels.mean()), 0.0
    return (
        _over_blocks(sklearn.metrics.label_ranking_average_precision_score, labels, scores),
        _over_blocks(sklearn.metrics.coverage_error, labels, scores),
        _over_blocks(sklearn.metrics.label_ranking_loss, labels, scores),
    )


def _over_blocks(metric: Callable[..., float], labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns a metric that is a mean over examples, computed for some of them at a time, since it copies them."""
    size = max(1, _BLOCK_ELEMENTS // labels.shape[1])
    starts = range(0, len(labels), size)
    total = sum(float(metric(labels[i : i + size], scores[i : i + size])) * len(labels[i : i + size]) for i in starts)
    return total / len(labels)


def table(evaluation: dict[str, Any]) -> str:
    """Returns the metrics as a table for a person."""

    def number(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.4f}"

    precisions = {f"  {name}": value for name, value in evaluation["average_precision"].items()}
    rows = {
        "mean average precision": evaluation["mean_average_precision"],
        **precisions,
        "label-ranking average precision": evaluation["label_ranking_average_precision"],
        "one-error": evaluation["one_error"],
        "coverage": evaluation["coverage"],
        "ranking loss": evaluation["ranking_loss"],
        "hamming loss": evaluation["hamming_loss"],
    }
    wide = max(map(len, rows))
    lines = [f"{name:<{wide}}  {number(value):>8}" for name, value in rows.items()]
    return "\n".join([f"{evaluation['num_examples']} examples", *lines])
