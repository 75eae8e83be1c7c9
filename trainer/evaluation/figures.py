"""Computes the figures of an evaluation for weighted images, for many sets of weights at a time.

With the weight 1 of every image they are the figures themselves; with random weights they are those of a bootstrap
sample (bootstrap.py), in which an image occurs as often as its weight says.

    scores of a class -> level of each score: how many of the scores of positives are at most as high
    levels [n], weights [n, r] -> weight at each level [L, r] -> precision at each level -> average precision [r]

A figure that is a mean over images comes from a value of each image. All are those of scikit-learn with
`sample_weight`, on the known labels, with `zero_division=nan`: what is undefined is NaN, and no part of an average.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.stats

from multihot import signals
from trainer.metrics import Predictions

# Figures of an evaluation, and whether less of them is better.
HEADLINE: Mapping[str, bool] = {
    "mean_average_precision": False,
    "label_ranking_average_precision": False,
    "f1_macro": False,
    "f1_micro": False,
    "f1_samples": False,
    "precision_macro": False,
    "precision_micro": False,
    "precision_samples": False,
    "recall_macro": False,
    "recall_micro": False,
    "recall_samples": False,
    "one_error": True,
    "hamming_loss": True,
    "brier": True,
}
# Elements of the arrays that a step makes at a time.
_BLOCK = 1 << 22


class Figures(NamedTuple):
    """The figures for r sets of weights; NaN where one is undefined.

    Attributes:
        headline: float64 [r] by name.
        average_precision: of each class, float64 [r, k].
        precision: at the threshold of the class, float64 [r, k].
        recall: float64 [r, k].
        f1: float64 [r, k].
    """

    headline: dict[str, np.ndarray]
    average_precision: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


class _Counts(NamedTuple):
    """Weights of labels of each class, float64 [r, k]: known, positive, predicted, and both of these."""

    known: np.ndarray
    positive: np.ndarray
    predicted: np.ndarray
    hits: np.ndarray


class Weighable:
    """Predictions, prepared to be weighed."""

    def __init__(self, predictions: Predictions, thresholds: np.ndarray, *, keep: bool = False) -> None:
        """Prepares.

        Args:
            predictions: of n images and k classes.
            thresholds: float32 [k], from which scores on a class is predicted.
            keep: whether the levels of all scores are kept, 4 bytes for each, to be weighed more than once.
        """
        self._predictions, self._thresholds, self._keep = predictions, thresholds, keep
        self._of_images = _of_images(predictions, thresholds)
        self._kept: dict[int, np.ndarray] = {}
        columns = [self._column(i) for i in range(len(thresholds))]
        self._levels = [np.unique(scores[positive]) for scores, positive, _ in columns]

    def __call__(self, weights: np.ndarray) -> Figures:
        """Returns the figures for weights [n, r], whole numbers."""
        found = [self._weigh(weights[:, part].astype(np.float64)) for part in _parts(weights)]
        headline = {name: np.concatenate([one.headline[name] for one in found]) for name in HEADLINE}
        return Figures(headline, *(np.concatenate(each) for each in zip(*(one[1:] for one in found), strict=True)))

    def _weigh(self, weights: np.ndarray) -> Figures:
        """Returns the figures for weights float64 [n, r]."""
        signals.check()
        k, r = len(self._thresholds), weights.shape[1]
        precisions = np.full((r, k), np.nan)
        counts = _Counts(*(np.zeros((r, k)) for _ in _Counts._fields))
        for i in range(k):
            scores, positive, known = self._column(i)
            flags = np.stack([known, positive, (scores >= self._thresholds[i]) & known])
            flags = np.concatenate([flags, flags[1:2] & flags[2:3]])
            for all_of, one in zip(counts, flags.astype(np.float64) @ weights, strict=True):
                all_of[:, i] = one
            places = self._places(i)
            precisions[:, i] = _average_precision(
                *(_at_levels(places, flags, len(self._levels[i]), weights) for flags in (known, positive))
            )
        # Without a negative, the average precision is 1 whatever the scores.
        precisions[counts.positive == counts.known] = np.nan
        return _figures(precisions, counts, self._of_images, weights)

    def _column(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the scores of a class, float32 [n], and which of its labels are positive, and known, bool [n]."""
        labels, scores, known = self._predictions.labels, self._predictions.scores, self._predictions.known
        is_known = np.ones(len(labels), bool) if known is None else known[:, i] > 0
        return scores[:, i], (labels[:, i] > 0) & is_known, is_known

    def _places(self, i: int) -> np.ndarray:
        """Returns the level of each score of a class, int32 [n]: how many levels of positives are at most as high."""
        places = self._kept.get(i)
        if places is None:
            places = np.searchsorted(self._levels[i], self._predictions.scores[:, i], side="right").astype(np.int32)
            if self._keep:
                self._kept[i] = places
        return places


def _at_levels(places: np.ndarray, flags: np.ndarray, num_levels: int, weights: np.ndarray) -> np.ndarray:
    """Returns the weight of the images with a flag at each level, the lowest first, [L + 1, r].

    Args:
        places: level of each image, int32 [n].
        flags: bool [n].
        num_levels: L.
        weights: float64 [n, r].
    """
    here = np.flatnonzero(flags)
    if len(here) < len(flags):
        places, weights = places[here], weights[here]
    # A column has one element, in the row of its level: the product adds up the weights of each level.
    shape = (num_levels + 1, len(places))
    return scipy.sparse.csc_array((np.ones(len(places)), places, np.arange(len(places) + 1)), shape) @ weights


def _parts(weights: np.ndarray) -> Iterator[slice]:
    size = max(1, _BLOCK // max(1, len(weights)))
    yield from (slice(start, start + size) for start in range(0, weights.shape[1], size))


def _average_precision(at_levels: np.ndarray, positive_at_levels: np.ndarray) -> np.ndarray:
    """Returns the mean of the precisions at the levels of all positives, float64 [r]; NaN without a positive.

    Args:
        at_levels: weight of the labels at each level, the lowest first, [L + 1, r].
        positive_at_levels: of the positive ones among them.
    """
    hits = np.cumsum(positive_at_levels[::-1], axis=0)
    found = np.cumsum(at_levels[::-1], axis=0)
    total = np.sum(positive_at_levels[::-1] * _ratio(hits, found, empty=0.0), axis=0)
    return _ratio(total, hits[-1])


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """Returns the quotient; where the whole is 0, another value."""
    result = np.full(np.broadcast_shapes(part.shape, whole.shape), empty, np.float64)
    return np.divide(part, whole, out=result, where=whole > 0)


def _figures(precisions: np.ndarray, counts: _Counts, of_images: np.ndarray, weights: np.ndarray) -> Figures:
    precision, recall, f1 = _at_thresholds(counts.positive, counts.predicted, counts.hits)
    totals = _Counts(*(one.sum(axis=1) for one in counts))
    micro_precision, micro_recall, micro_f1 = _at_thresholds(totals.positive, totals.predicted, totals.hits)
    sums = of_images.T @ weights
    of_samples = dict(zip(_IMAGE_FIGURES, _ratio(sums[::2], sums[1::2]), strict=True))
    headline = {
        "mean_average_precision": _mean(precisions),
        "f1_macro": _mean(f1),
        "f1_micro": micro_f1,
        "precision_macro": _mean(precision),
        "precision_micro": micro_precision,
        "recall_macro": _mean(recall),
        "recall_micro": micro_recall,
        "hamming_loss": _ratio(totals.positive + totals.predicted - 2 * totals.hits, totals.known),
        **of_samples,
    }
    return Figures({name: headline[name] for name in HEADLINE}, precisions, precision, recall, f1)


def _at_thresholds(
    positive: np.ndarray, predicted: np.ndarray, hits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns precision, recall and F1; all are undefined without a positive, the first also without a prediction."""
    has_positive = np.where(positive > 0, 1.0, np.nan)
    return (
        _ratio(hits, predicted) * has_positive,
        _ratio(hits, positive),
        _ratio(2 * hits, positive + predicted) * has_positive,
    )


def _mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes of which a value is defined, float64 [r]."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


# The figures that are means over images.
_IMAGE_FIGURES = (
    "label_ranking_average_precision",
    "one_error",
    "precision_samples",
    "recall_samples",
    "f1_samples",
    "brier",
)


def _of_images(predictions: Predictions, thresholds: np.ndarray) -> np.ndarray:
    """Returns what each image adds to the figures that are means over images.

    Returns:
        float64 [n, 2 * 6]: for each of these figures a numerator and a denominator. The figure is the quotient of their
            sums.
    """
    n, k = predictions.scores.shape
    size = max(1, _BLOCK // max(1, k))
    blocks = [_of_block(predictions[i : i + size], thresholds) for i in range(0, n, size)]
    return np.concatenate([np.empty((0, 2 * len(_IMAGE_FIGURES))), *blocks])


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
        (_ratio(hits, num_predicted, empty=0), has_prediction),
        (_ratio(hits, num_positive, empty=0), has_positive),
        (_ratio(2 * hits, num_positive + num_predicted, empty=0), has_positive | has_prediction),
        (squares, known.sum(axis=1)),
    )
    return np.stack([one for pair in columns for one in pair], axis=1).astype(np.float64)


def _label_ranking(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns the label-ranking average precision of each image, float64 [n]; 1 without a positive."""
    ranks = scipy.stats.rankdata(-scores, method="max", axis=1)
    among = scipy.stats.rankdata(np.where(positive, -scores, np.inf), method="max", axis=1)
    num_positive = positive.sum(axis=1)
    total = np.where(positive, among / ranks, 0).sum(axis=1)
    return _ratio(total, num_positive.astype(np.float64), empty=1.0)
