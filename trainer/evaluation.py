"""One exact pass over a split, and the metrics of multi-label classification."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn import metrics

# From this probability on a label counts as predicted.
THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model says of a split.

    Attributes:
        labels: int [n, k], 0 or 1.
        scores: float32 [n, k], probabilities.
    """

    labels: np.ndarray
    scores: np.ndarray


def predict(model: keras.Model, dataset: tf.data.Dataset) -> Predictions:
    """Runs a model over a finite dataset, every example once.

    Args:
        model: images -> probabilities.
        dataset: of batches (images, labels).
    """
    labels, scores = [], []
    for images, batch_labels in dataset:
        labels.append(batch_labels.numpy().astype(int))
        scores.append(np.asarray(model.predict_on_batch(images)))
    return Predictions(labels=np.concatenate(labels), scores=np.concatenate(scores))


def evaluate(predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
    """Computes the metrics over all examples at once, never as a mean over batches.

    Average precision, label-ranking average precision, coverage and ranking loss are scikit-learn's (see its guide,
    "Multilabel ranking metrics"); one-error is the share of examples whose highest score is of a class that they do
    not have (Schapire and Singer 2000).

    Args:
        predictions: of the split.
        classes: names of the classes.

    Returns:
        The contents of evaluation.json. A class without a positive or without a negative example has no average
        precision: None, and the mean is over the others. One-error is over the examples that have a label.
    """
    labels, scores = predictions.labels, predictions.scores
    precisions = {
        name: float(metrics.average_precision_score(labels[:, i], scores[:, i]))
        if 0 < labels[:, i].mean() < 1
        else None
        for i, name in enumerate(classes)
    }
    known = [precision for precision in precisions.values() if precision is not None]
    labelled = labels.any(axis=1)
    highest = scores.argmax(axis=1)
    hits = labels[np.arange(len(labels)), highest][labelled]
    ranking = _ranking(labels, scores)
    return {
        "num_examples": len(labels),
        "mean_average_precision": float(np.mean(known)) if known else None,
        "average_precision": precisions,
        "label_ranking_average_precision": ranking[0],
        "one_error": float(1 - hits.mean()) if labelled.any() else None,
        "coverage": ranking[1],
        "ranking_loss": ranking[2],
        "hamming_loss": float(metrics.hamming_loss(labels, scores >= THRESHOLD)),
    }


def _ranking(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float, float]:
    # scikit-learn takes a single column for a binary problem and not for a multi-label one, of which a ranking of one
    # class is the trivial case.
    if labels.shape[1] == 1:
        return 1.0, float(labels.mean()), 0.0
    return (
        float(metrics.label_ranking_average_precision_score(labels, scores)),
        float(metrics.coverage_error(labels, scores)),
        float(metrics.label_ranking_loss(labels, scores)),
    )


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
