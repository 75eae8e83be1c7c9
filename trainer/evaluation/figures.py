"""Computes the figures of an evaluation for weighted images, for many sets of weights at a time.

With the weight 1 of every image they are the figures themselves; with random weights they are those of a bootstrap
sample (bootstrap.py), in which an image occurs as often as its weight says.

    scores of a class -> level of each score: how many of the scores of positives are at most as high
    levels [n], weights [n, r] -> weight at each level [L, r] -> precision at each level -> average precision [r]

The labels of all classes together (micro) have levels of their own, which are a part of those of each class.

A figure that is a mean over images comes from a value of each image. All are those of scikit-learn with
`sample_weight`, on the known labels, with `zero_division=nan`: what is undefined is NaN, and no part of an average.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse

from multihot import signals
from trainer.evaluation import of_images
from trainer.evaluation.of_images import ratio
from trainer.metrics import Predictions

# Figures of an evaluation, and whether less of them is better.
HEADLINE: Mapping[str, bool] = {
    "mean_average_precision": False,
    "average_precision_micro": False,
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
# Levels of the scores of all classes together, for the figures and for those of replicates. Beyond them, scores between
# two levels count as one score. The levels are chosen among as many scores of positives.
_LEVELS, _KEPT_LEVELS, _DRAWN_LEVELS = 1 << 16, 1 << 10, 1 << 22


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


class _Places(NamedTuple):
    """The levels of the scores of a class.

    Attributes:
        places: level of each score, int32 [n]: how many levels are at most as high.
        num_levels: L.
        used: levels of all classes together that this class has, ascending, int64 [u].
        first: the first level of the class in each of them, int64 [u].
    """

    places: np.ndarray
    num_levels: int
    used: np.ndarray
    first: np.ndarray


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
        self._parts = of_images.parts(predictions, thresholds)
        self._kept: dict[int, _Places] = {}
        columns = [self._column(i) for i in range(len(thresholds))]
        self._levels = [np.unique(scores[positive]) for scores, positive, _ in columns]
        self._pooled = _pooled(self._levels, _KEPT_LEVELS if keep else _LEVELS)

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
        pooled = [np.zeros((len(self._pooled) + 1, r)) for _ in range(2)]
        for i in range(k):
            scores, positive, known = self._column(i)
            flags = np.stack([known, positive, (scores >= self._thresholds[i]) & known])
            flags = np.concatenate([flags, flags[1:2] & flags[2:3]])
            for all_of, one in zip(counts, flags.astype(np.float64) @ weights, strict=True):
                all_of[:, i] = one
            places, num_levels, used, first = self._places(i)
            at_levels = [_at_levels(places, flags, num_levels, weights) for flags in (known, positive)]
            precisions[:, i] = _average_precision(*at_levels)
            for all_of, one in zip(pooled, at_levels, strict=True):
                all_of[used] += np.add.reduceat(one, first, axis=0)
        # Without a negative, the average precision is 1 whatever the scores.
        precisions[counts.positive == counts.known] = np.nan
        totals = [one.sum(axis=1) for one in (counts.positive, counts.known)]
        of_all = np.where(np.equal(*totals), np.nan, _average_precision(*pooled))
        return _figures(precisions, counts, of_all, self._parts, weights)

    def _column(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the scores of a class, float32 [n], and which of its labels are positive, and known, bool [n]."""
        labels, scores, known = self._predictions.labels, self._predictions.scores, self._predictions.known
        is_known = np.ones(len(labels), bool) if known is None else known[:, i] > 0
        return scores[:, i], (labels[:, i] > 0) & is_known, is_known

    def _places(self, i: int) -> _Places:
        """Returns the levels of the scores of a class."""
        found = self._kept.get(i)
        if found is None:
            scores = self._predictions.scores[:, i]
            # There are no more levels than images, however many levels the scores of all classes have.
            used = np.unique(np.searchsorted(self._pooled, scores, side="right"))
            ends = self._pooled[used[used > 0] - 1]
            levels = np.union1d(self._levels[i], ends)
            first = np.append(np.zeros(int((used == 0).sum()), np.int64), np.searchsorted(levels, ends) + 1)
            places = np.searchsorted(levels, scores, side="right").astype(np.int32)
            found = _Places(places, len(levels), used, first)
            if self._keep:
                self._kept[i] = found
        return found


def _pooled(levels: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Returns levels for the scores of all classes together, float32 [at most `most`]."""
    step = 1 + sum(map(len, levels)) // _DRAWN_LEVELS
    found = np.unique(np.concatenate([np.empty(0, np.float32), *(one[::step] for one in levels)]))
    return found[np.linspace(0, len(found) - 1, most).astype(np.int64)] if len(found) > most else found


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
    total = np.sum(positive_at_levels[::-1] * ratio(hits, found, empty=0.0), axis=0)
    return ratio(total, hits[-1])


def _figures(
    precisions: np.ndarray, counts: _Counts, pooled: np.ndarray, parts: np.ndarray, weights: np.ndarray
) -> Figures:
    precision, recall, f1 = _at_thresholds(counts.positive, counts.predicted, counts.hits)
    totals = _Counts(*(one.sum(axis=1) for one in counts))
    micro_precision, micro_recall, micro_f1 = _at_thresholds(totals.positive, totals.predicted, totals.hits)
    sums = parts.T @ weights
    of_samples = dict(zip(of_images.NAMES, ratio(sums[::2], sums[1::2]), strict=True))
    headline = {
        "mean_average_precision": _mean(precisions),
        "average_precision_micro": pooled,
        "f1_macro": _mean(f1),
        "f1_micro": micro_f1,
        "precision_macro": _mean(precision),
        "precision_micro": micro_precision,
        "recall_macro": _mean(recall),
        "recall_micro": micro_recall,
        "hamming_loss": ratio(totals.positive + totals.predicted - 2 * totals.hits, totals.known),
        **of_samples,
    }
    return Figures({name: headline[name] for name in HEADLINE}, precisions, precision, recall, f1)


def _at_thresholds(
    positive: np.ndarray, predicted: np.ndarray, hits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns precision, recall and F1; all are undefined without a positive, the first also without a prediction."""
    has_positive = np.where(positive > 0, 1.0, np.nan)
    return (
        ratio(hits, predicted) * has_positive,
        ratio(hits, positive),
        ratio(2 * hits, positive + predicted) * has_positive,
    )


def _mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes of which a value is defined, float64 [r]."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1).astype(np.float64))
