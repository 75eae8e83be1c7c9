"""Computes scores for images whose own labels had no part in them: heads on the features of a model, fold by fold.

A head is a logistic regression for each class. Each fold is scored by heads that are trained on the other folds. The
features are computed once, so that all heads together take seconds. Features of a model that was trained on the same
images are not independent of their labels: docs/evaluating.md has how much that matters.
"""

from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.special

from multihot import signals
from schemas.example import UNKNOWN

NUM_FOLDS = 5
# Weight of the squared coefficients in the loss of a head, whose features have a standard deviation of 1. Measured:
# docs/evaluating.md.
DECAY = 0.3
# Bounds of L-BFGS: on its steps, and on the part by which a step makes the loss smaller, which is the last one then.
_MOST_STEPS, _TOLERANCE = 200, 1e-7
# Weight of the squared distance of the intercept from that of the frequency of the class: it stays finite where all
# labels are the same.
_PULL = 1e-4
# Least standard deviation of a feature that is divided by it.
_LEAST_DEVIATION = 1e-6


def probabilities(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    groups: Sequence[int] | np.ndarray | None = None,
    num_folds: int = NUM_FOLDS,
    decay: float = DECAY,
    seed: int = 0,
) -> np.ndarray:
    """Returns a probability of each class for each image, by heads that were trained without this image.

    Args:
        features: float [n, d], finite.
        labels: [n, k]: 0, 1 or UNKNOWN. A head is trained on the known labels of its class, and scores all images.
        groups: number of the group of each image, as those of near duplicates: a group is in one fold. By default each
            image is a group.
        num_folds: number of folds; no more than there are groups.
        decay: weight of the squared coefficients.
        seed: of the folds.

    Returns:
        float32 [n, k]. Where all labels to train on are the same, it is a constant near 0 or 1, and near 0.5 where none
        is known. With a single group, all of it is 0.5: there is nothing to train on.
    """
    folds = _folds(len(features), groups, num_folds, seed)
    result = np.full(labels.shape, 0.5, np.float32)
    for fold in range(folds.max(initial=0) + 1):
        signals.check()
        inside = folds == fold
        if inside.all():
            break
        result[inside] = _scores(features[~inside], labels[~inside], features[inside], decay)
    return result


def _folds(num: int, groups: Sequence[int] | np.ndarray | None, num_folds: int, seed: int) -> np.ndarray:
    """Returns the number of the fold of each image, int [n]: groups are dealt out in a random order."""
    _, numbers = np.unique(np.arange(num) if groups is None else np.asarray(groups), return_inverse=True)
    num_groups = numbers.max(initial=-1) + 1
    dealt = np.random.default_rng(seed).permutation(num_groups) % max(1, min(num_folds, num_groups))
    return dealt[numbers]


def _scores(features: np.ndarray, labels: np.ndarray, others: np.ndarray, decay: float) -> np.ndarray:
    """Trains a head for each class, all at once, and returns their probabilities for other images.

    The loss of a class is the mean cross-entropy over its known labels, plus half the decay times the squares of its
    coefficients; that of all classes is the sum, since they share no coefficient.
    """
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), _LEAST_DEVIATION)
    inputs = ((features - mean) / deviation).astype(np.float32)
    known = labels != UNKNOWN
    shares = (known / np.maximum(known.sum(axis=0), 1)).astype(np.float32)
    targets = np.where(known, labels, 0).astype(np.float32)
    shape = (inputs.shape[1] + 1, labels.shape[1])
    # The frequency of a class, as if it had occurred once more and been absent once more.
    start = np.zeros(shape)
    pulls = np.array([[decay]] * (len(start) - 1) + [[_PULL]])
    start[-1] = scipy.special.logit((targets.sum(axis=0) + 1) / (known.sum(axis=0) + 2))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logits = inputs @ weights[:-1].astype(np.float32) + weights[-1].astype(np.float32)
        # log(1 + exp(logit)) - target * logit, without overflow.
        value = float(np.sum(shares * (np.logaddexp(0, logits) - targets * logits), dtype=np.float64))
        slopes = shares * (scipy.special.expit(logits) - targets)
        slopes_of_all = np.vstack([inputs.T @ slopes, slopes.sum(axis=0)])
        penalty = pulls * (weights - start)
        return value + float(np.sum(penalty * (weights - start))) / 2, (slopes_of_all + penalty).ravel()

    found = scipy.optimize.minimize(
        loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _MOST_STEPS, "ftol": _TOLERANCE}
    ).x.reshape(shape)
    scaled = ((others - mean) / deviation).astype(np.float32)
    return scipy.special.expit(scaled @ found[:-1] + found[-1]).astype(np.float32)
