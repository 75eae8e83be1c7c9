"""Computes for each image its part of the figures that are means over images."""

import numpy as np
import scipy.stats

from trainer.metrics import Predictions

# The figures that are means over images.
NAMES = (
    "label_ranking_average_precision",
    "one_error",
    "precision_samples",
    "recall_samples",
    "f1_samples",
    "brier",
)
# Elements of the arrays that a step makes at a time.
_BLOCK = 1 << 22


def parts(predictions: Predictions, thresholds: np.ndarray) -> np.ndarray:
    """Returns the part of each image in the figures that are means over images.

    Returns:
        float64 [n, 2 * 6]: for each of these figures a numerator and a denominator. The figure is the quotient of their
            sums.
    """
    n, k = predictions.scores.shape
    size = max(1, _BLOCK // max(1, k))
    blocks = [_of_block(predictions[i : i + size], thresholds) for i in range(0, n, size)]
    return np.concatenate([np.empty((0, 2 * len(NAMES))), *blocks])


def _of_block(predictions: Predictions, thresholds: np.ndarray) -> np.ndarray:
    scores = predictions.scores
    known = np.ones(scores.shape, bool) if predictions.known is None else predictions.known > 0
    positive, predicted = (predictions.labels > 0) & known, (scores >= thresholds) & known
    # Unknown labels come last, so that no rank of another label counts them.
    ordered = np.where(known, scores, np.float32(-1))
    some, has_positive, has_prediction = known.any(axis=1), positive.any(axis=1), predicted.any(axis=1)
    num_positive, num_predicted, hits = positive.sum(axis=1), predicted.sum(axis=1), (positive & predicted).sum(axis=1)
    highest = np.take_along_axis(positive, ordered.argmax(axis=1)[:, None], axis=1)[:, 0]
    squares = np.where(known, (scores.astype(np.float64) - positive) ** 2, 0).sum(axis=1)
    columns = (
        (np.where(some, _label_ranking(ordered, positive), 0), some),
        (~highest & has_positive, has_positive),
        (ratio(hits, num_predicted, empty=0), has_prediction),
        (ratio(hits, num_positive, empty=0), has_positive),
        (ratio(2 * hits, num_positive + num_predicted, empty=0), has_positive | has_prediction),
        (squares, known.sum(axis=1)),
    )
    return np.stack([one for pair in columns for one in pair], axis=1).astype(np.float64)


def _label_ranking(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns the label-ranking average precision of each image, float64 [n]; 1 without a positive."""
    ranks = scipy.stats.rankdata(-scores, method="max", axis=1)
    among = scipy.stats.rankdata(np.where(positive, -scores, np.inf), method="max", axis=1)
    num_positive = positive.sum(axis=1)
    total = np.where(positive, among / ranks, 0).sum(axis=1)
    return ratio(total, num_positive.astype(np.float64), empty=1.0)


def ratio(part: np.ndarray, whole: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """Returns the quotient, float64; where the whole is 0, another value."""
    result = np.full(np.broadcast_shapes(part.shape, whole.shape), empty, np.float64)
    return np.divide(part, whole, out=result, where=whole > 0)
