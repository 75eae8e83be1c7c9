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
        known: bool [n, k], which of the labels are known; by default all of them.
        loss: mean over the examples, or over what is known of them; None for a model without a loss.
    """

    labels: np.ndarray
    scores: np.ndarray
    known: np.ndarray | None = None
    loss: float | None = None

    def __getitem__(self, part: slice | np.ndarray) -> "Predictions":
        """Returns the predictions for some of the examples, without a loss."""
        known = None if self.known is None else self.known[part]
        return Predictions(labels=self.labels[part], scores=self.scores[part], known=known)


def evaluate(predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
    """Computes the metrics over all examples at once, never as a mean over batches.

    Average precision, label-ranking average precision, coverage and ranking loss are as scikit-learn defines them (see
    its guide, "Multilabel ranking metrics"); one-error is the share of examples whose highest score is of a class that
    they do not have (Schapire and Singer 2000).

    Unknown labels have no part in any metric: each is that of scikit-learn on the known labels of a class, or of an
    example. Examples of which no label is known count for nothing.

    Args:
        predictions: of the split.
        classes: names of the classes.

    Returns:
        The contents of evaluation.json. A class without a positive or without a negative example has no average
        precision: None, and the mean is over the others. One-error is over the examples that have a label. Metrics that
        would be over no example are None. If labels are unknown, their number by class is there too.
    """
    precisions = average_precisions(predictions)
    num_examples = len(predictions.labels)
    unknown: dict[str, Any] = {}
    known = predictions.known
    if known is not None:
        unknown = {"unknown_labels": dict(zip(classes, (~known).sum(axis=0).tolist(), strict=True))}
        predictions, known = _with_unknown_last(predictions)
    labels, scores = predictions.labels, predictions.scores
    labelled = labels.any(axis=1)
    highest = scores.argmax(axis=1)
    hits = labels[np.arange(len(labels)), highest][labelled]
    ranking = _ranking(labels, scores, known) if len(labels) else (None, None, None)
    return {
        "num_examples": num_examples,
        **unknown,
        "mean_average_precision": mean(precisions),
        "average_precision": dict(zip(classes, precisions, strict=True)),
        "label_ranking_average_precision": ranking[0],
        "one_error": float(1 - hits.mean()) if labelled.any() else None,
        "coverage": ranking[1],
        "ranking_loss": ranking[2],
        "hamming_loss": _hamming(labels, scores, known),
    }


def _with_unknown_last(predictions: Predictions) -> tuple[Predictions, np.ndarray]:
    """Returns the examples that have a known label, and which are known.

    Unknown labels become negatives with a lower score than any other, so that no rank of another label counts them.
    """
    known = predictions.known
    assert known is not None
    some = known.any(axis=1)
    labels, scores, known = predictions.labels[some], predictions.scores[some], known[some]
    return Predictions(labels=(labels > 0) & known, scores=np.where(known, scores, np.float32(-1.0))), known


def _hamming(labels: np.ndarray, scores: np.ndarray, known: np.ndarray | None) -> float | None:
    """Returns the share of the known labels that are wrong at the threshold."""
    wrong = (scores >= THRESHOLD) != labels
    if known is None:
        return float(np.mean(wrong))
    return float(wrong[known].mean()) if known.any() else None


def average_precisions(predictions: Predictions) -> list[float | None]:
    """Returns the average precision of each class; None without a positive or without a negative example."""
    columns = list(zip(predictions.labels.T, predictions.scores.T, strict=True))
    if predictions.known is not None:
        known = predictions.known.T
        columns = [(one[here], score[here]) for (one, score), here in zip(columns, known, strict=True)]
    return [
        _average_precision(labels > 0, scores) if labels.any() and not labels.all() else None
        for labels, scores in columns
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


def _ranking(labels: np.ndarray, scores: np.ndarray, known: np.ndarray | None) -> tuple[float, float, float]:
    """Returns the label-ranking average precision, the coverage and the ranking loss.

    Args:
        labels: of one example or more.
        scores: of the same; those of unknown labels are lower than all others.
        known: which of the labels are known, if not all are.
    """
    # scikit-learn takes a single column for a binary problem and not for a multi-label one, of which a ranking of one
    # class is the trivial case.
    if labels.shape[1] == 1:
        return 1.0, float(labels.mean()), 0.0
    weights = None if known is None else _pair_weights(labels, known)
    return (
        _over_blocks(sklearn.metrics.label_ranking_average_precision_score, labels, scores),
        _over_blocks(sklearn.metrics.coverage_error, labels, scores),
        _over_blocks(sklearn.metrics.label_ranking_loss, labels, scores, weights),
    )


def _pair_weights(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns for each example its pairs of a positive and another label, divided by those of which both are known.

    The ranking loss is the share of pairs that are in the wrong order. Unknown labels come last, so that no pair with
    one is in the wrong order.
    """
    positives = labels.sum(axis=1)
    negatives = known.sum(axis=1) - positives
    # Without a known negative, the loss is 0 whatever its weight.
    return (labels.shape[1] - positives) / np.maximum(negatives, 1)


def _over_blocks(
    metric: Callable[..., float], labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Returns a metric that is a mean over examples, computed for some of them at a time, since it copies them.

    Args:
        metric: of scikit-learn.
        labels: of one example or more.
        scores: of the same.
        weights: by which the metric of each example is multiplied.
    """
    size = max(1, _BLOCK_ELEMENTS // labels.shape[1])
    starts = range(0, len(labels), size)
    blocks = [slice(i, i + size) for i in starts]
    if weights is None:
        total = sum(float(metric(labels[i], scores[i])) * len(labels[i]) for i in blocks)
    else:
        # scikit-learn divides by the sum of the weights.
        total = sum(
            float(metric(labels[i], scores[i], sample_weight=weights[i])) * float(weights[i].sum())
            for i in blocks
            if weights[i].any()
        )
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
    unknown = sum(evaluation.get("unknown_labels", {}).values())
    labels = evaluation["num_examples"] * len(evaluation["average_precision"])
    note = f", {unknown} of their {labels} labels unknown" if unknown else ""
    return "\n".join([f"{evaluation['num_examples']} examples{note}", *lines])
