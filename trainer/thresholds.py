"""Chooses for each class the score from which on it counts as predicted, by F1 on training images.

The scores of the model itself are no guide, since it was trained on these images. Those of heads that were trained
without an image are nearer to the scores of new images. docs/evaluating.md has how much better the metrics are.
"""

import keras
import numpy as np

from schemas.example import UNKNOWN
from trainer import features, losses, metrics, out_of_fold
from trainer.config import TrainConfig
from trainer.input import pipeline
from trainer.models import model
from trainer.sources import Sources

# Images of the training split that are scored, the first ones: they are in a random order on disk.
_MOST_IMAGES = 2000
# With fewer images, or fewer positives or negatives of a class, its best threshold is chance.
_LEAST_IMAGES, _LEAST_LABELS = 200, 20
# Thresholds that are tried, and the difference of F1 below which two of them are as good: the best one alone depends on
# single images. Measured: docs/evaluating.md.
_LEVELS, _NEARLY = np.linspace(0.01, 0.99, 99), 0.01


def of_run(network: keras.Model, config: TrainConfig, data: Sources) -> tuple[float, ...]:
    """Returns the thresholds of a trained model.

    They are 0.5 for a softmax, whose scores are not those of the heads, for a model with a head of its own, and for
    classes that too few images have.

    Args:
        network: the model.
        config: of the run.
        data: its datasets.
    """
    default = (metrics.THRESHOLD,) * len(data.classes)
    num_images = min(data.split(config.train_split).num_examples, _MOST_IMAGES)
    if num_images < _LEAST_IMAGES or config.loss == losses.SOFTMAX or model.backbone_of(network) is None:
        return default
    batches = pipeline.evaluation_dataset(config, data, config.train_split)
    num_batches = -(-num_images // config.batch_size)
    extractor = features.of_head(network)
    found = features.empty(num_batches * config.batch_size, extractor, len(data.classes))
    num_images = features.compute(extractor, batches.take(num_batches), found)
    of_features, labels = (one[:num_images] for one in found)
    return tune(out_of_fold.probabilities(of_features, labels, seed=config.seed), labels)


def tune(scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """Returns a threshold of each class whose F1 is the best, or at most 0.01 less.

    Args:
        scores: float32 [n, k].
        labels: [n, k]: 0, 1 or UNKNOWN.

    Returns:
        for each class the middle of the thresholds, in steps of 0.01, around the best one that are nearly as good; 0.5
        with few positives or few negatives.
    """
    return tuple(
        _best(column[known != UNKNOWN], known[known != UNKNOWN] == 1)
        for column, known in zip(scores.T, labels.T, strict=True)
    )


def _best(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the middle of the thresholds around the best one whose F1 is nearly the same."""
    num_positive = int(positive.sum())
    if min(num_positive, len(positive) - num_positive) < _LEAST_LABELS:
        return metrics.THRESHOLD
    levels = _LEVELS.astype(np.float32)
    predicted, hits = (len(one) - np.searchsorted(np.sort(one), levels) for one in (scores, scores[positive]))
    f1 = 2 * hits / (predicted + num_positive)
    far = np.flatnonzero(f1 < f1.max() - _NEARLY)
    best = int(np.argmax(f1))
    first, end = far[far < best].max(initial=-1) + 1, far[far > best].min(initial=len(levels))
    return round(float(_LEVELS[first:end].mean()), 4)
