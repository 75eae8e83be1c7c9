"""Computes confidence intervals by the bootstrap: how much the figures would differ on other images of the same kind.

Each replicate gives every image a weight from a Poisson distribution of mean 1: how often the image is drawn (Hanley
and MacGibbon 2006; for weights that add up to n it is the usual bootstrap). Two runs are compared with the same
weights, so that images that are hard for both add nothing to the interval of their difference.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer.evaluation.figures import HEADLINE, Figures, Weighable
from trainer.metrics import Predictions

LEVEL = 0.95
_MOST_REPLICATES, _LEAST_REPLICATES = 1000, 200
# Labels times replicates that are weighed: minutes. Beyond it there are fewer replicates, and then fewer images.
_MOST_WEIGHED = 4_000_000_000
# Images times replicates: bytes of the weights.
_MOST_WEIGHTS = 200_000_000
# Largest share of replicates in which a figure may be undefined, as that of a class with few positives is.
_MOST_UNDEFINED = 0.01


class Plan(NamedTuple):
    """How the intervals are computed.

    Attributes:
        replicates: number of sets of weights.
        images: number of images that are weighed. If they are fewer than there are, they are drawn at random, and
            intervals are narrowed by the root of their share (the m out of n bootstrap; Bickel, Götze, van Zwet 1997).
        seed: of both.
    """

    replicates: int
    images: int
    seed: int


class Interval(NamedTuple):
    """A figure, and the ends of its confidence interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


class Intervals(NamedTuple):
    """Figures with intervals, or differences of figures.

    Attributes:
        headline: by name.
        average_precision: of each class.
        precision: of each class.
        recall: of each class.
        f1: of each class.
    """

    headline: dict[str, Interval]
    average_precision: list[Interval]
    precision: list[Interval]
    recall: list[Interval]
    f1: list[Interval]


def plan(num_images: int, num_classes: int, seed: int = 0, most: int = _MOST_REPLICATES) -> Plan:
    """Returns how many replicates and images are weighed.

    Args:
        num_images: of the split.
        num_classes: of the evaluation.
        seed: of the weights.
        most: number of replicates for few images.
    """
    labels = max(1, num_images * num_classes)
    replicates = max(min(most, _LEAST_REPLICATES), min(most, _MOST_WEIGHED // labels))
    images = min(num_images, _MOST_WEIGHED // (replicates * max(1, num_classes)), _MOST_WEIGHTS // replicates)
    return Plan(replicates, max(1, images), seed)


def intervals(predictions: Predictions, thresholds: np.ndarray, plan: Plan) -> Intervals:
    """Returns all figures with their intervals."""
    values = _values(predictions, thresholds)
    centre, replicates = _replicates(predictions, thresholds, plan)
    return _around(values, centre, replicates, _narrowing(predictions, plan))


def differences(first: Predictions, second: Predictions, thresholds: Sequence[np.ndarray], plan: Plan) -> Intervals:
    """Returns how much higher each figure of the second predictions is, with intervals.

    Args:
        first: of one model.
        second: of another model, for the same images in the same order.
        thresholds: of both.
        plan: how the intervals are computed.
    """
    parts = []
    for predictions, each in zip((first, second), thresholds, strict=True):
        parts.append((_values(predictions, each), *_replicates(predictions, each, plan)))
    values, centre, replicates = (_minus(b, a) for a, b in zip(*parts, strict=True))
    return _around(values, centre, replicates, _narrowing(first, plan))


def _values(predictions: Predictions, thresholds: np.ndarray) -> Figures:
    return Weighable(predictions, thresholds)(np.ones((len(predictions.labels), 1), np.uint8))


def _replicates(predictions: Predictions, thresholds: np.ndarray, plan: Plan) -> tuple[Figures, Figures]:
    """Returns the figures of the images that are weighed, and those of all replicates."""
    rng = np.random.default_rng(plan.seed)
    num = len(predictions.labels)
    if plan.images < num:
        # In their order, which reads memory forwards.
        predictions = predictions[np.sort(rng.choice(num, plan.images, replace=False))]
    weighable = Weighable(predictions, thresholds, keep=True)
    # Draws of int64 for all replicates at once would take eight times the memory of the weights.
    weights = np.empty((plan.images, plan.replicates), np.uint8)
    for i in range(plan.replicates):
        weights[:, i] = rng.poisson(1.0, plan.images)
    return weighable(np.ones((plan.images, 1), np.uint8)), weighable(weights)


def _narrowing(predictions: Predictions, plan: Plan) -> float:
    return float(np.sqrt(plan.images / len(predictions.labels)))


def _minus(second: Figures, first: Figures) -> Figures:
    headline = {name: second.headline[name] - first.headline[name] for name in HEADLINE}
    return Figures(headline, *(b - a for a, b in zip(first[1:], second[1:], strict=True)))


def _around(values: Figures, centre: Figures, replicates: Figures, narrowing: float) -> Intervals:
    headline = {
        name: _interval(values.headline[name], centre.headline[name], replicates.headline[name], narrowing)
        for name in HEADLINE
    }
    of_classes = [
        [_interval(*columns, narrowing) for columns in zip(one.T, middle.T, each.T, strict=True)]
        for one, middle, each in zip(values[1:], centre[1:], replicates[1:], strict=True)
    ]
    return Intervals(headline, *of_classes)


def _interval(value: np.ndarray, centre: np.ndarray, replicates: np.ndarray, narrowing: float) -> Interval:
    """Returns a figure with the quantiles of its replicates.

    Args:
        value: of all images, [1].
        centre: of the images that are weighed, [1].
        replicates: [r].
        narrowing: factor on the distances from the centre.
    """
    if np.isnan(value[0]):
        return Interval(None, None, None)
    defined = replicates[~np.isnan(replicates)]
    if len(defined) < (1 - _MOST_UNDEFINED) * len(replicates) or np.isnan(centre[0]):
        return Interval(float(value[0]), None, None)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    ends = (value[0] + narrowing * (end - centre[0]) for end in (low, high))
    return Interval(float(value[0]), *map(float, ends))
