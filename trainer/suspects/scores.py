"""Computes a probability of each class for each image, by models that have not seen the labels of the image.

    features -> kernel map -> ridge regression, fold by fold -> scores -> logistic regression -> probabilities

A Gaussian kernel on the features finds more wrong labels than a linear head, and its regression has a closed form: all
folds and classes share one matrix (docs/suspects.md has the measurement). With more images than landmarks, the kernel
is approximated (Williams and Seeger 2001, Using the Nyström Method to Speed Up Kernel Machines).
"""

import numpy as np
import scipy.linalg
import scipy.special
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from multihot import signals
from schemas.example import UNKNOWN

# Landmarks of the kernel: the map of a million images takes 8 GB with as many.
LANDMARKS = 2048
_FOLDS = 10
# Added to the diagonal of the kernel, of which all values are at most 1.
_RIDGE = 1.0
# Images that are mapped at a time.
_BLOCK = 1 << 14
# Images by which the probabilities of a class are calibrated, at most.
_CALIBRATED = 100_000
_LEAST = 1e-6


def probabilities(
    features: NDArray[np.floating], labels: NDArray[np.uint8], groups: NDArray[np.int64], *, softmax: bool = False
) -> NDArray[np.float32]:
    """Returns a probability of each class for each image.

    Args:
        features: float [n, d], finite.
        labels: 0, 1 or UNKNOWN, uint8 [n, k].
        groups: number of the group of each image, int64 [n]: a group is in one fold.
        softmax: whether the probabilities of an image add up to 1.

    Returns:
        float32 [n, k]. Where all known labels of a class are the same, it is their frequency.
    """
    scores = _ridge(kernel_map(features), labels, _folds(groups))
    result = np.empty(labels.shape, np.float32)
    empty = (labels == 0).all(axis=1)
    for label in range(labels.shape[1]):
        signals.check()
        inputs = _inputs(scores, label)
        result[:, label] = _calibrated(inputs, labels[:, label])
        if empty.any() and labels.shape[1] > 1:
            is_absent = (np.delete(labels, label, axis=1) == 0).all(axis=1)
            result[empty, label] = _calibrated(_with_absence(inputs, is_absent), labels[:, label])[empty]
    return result / np.maximum(result.sum(axis=1, keepdims=True), _LEAST) if softmax else result


def kernel_map(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Returns features whose products are a Gaussian kernel of the given ones, float32 [n, at most LANDMARKS].

    The width of the kernel is the median distance of the features, as unit vectors of their square roots.
    """
    mean = _roots(features).mean(axis=0)
    chosen = np.random.default_rng(0).permutation(len(features))[:LANDMARKS]
    landmarks = _units(features[np.sort(chosen)], mean)
    distances = 2 - 2 * landmarks @ landmarks.T
    width = max(float(np.median(distances)), _LEAST)
    values, vectors = scipy.linalg.eigh(np.exp(-distances / width).astype(np.float64))
    kept = values > _LEAST * values.max()
    inverse = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
    mapped = np.empty((len(features), inverse.shape[1]), np.float32)
    for start in range(0, len(features), _BLOCK):
        block = _units(features[start : start + _BLOCK], mean)
        mapped[start : start + _BLOCK] = np.exp((2 * block @ landmarks.T - 2) / width) @ inverse
    return mapped


def _roots(features: NDArray[np.floating]) -> NDArray[np.float32]:
    return (np.sign(features) * np.sqrt(np.abs(features))).astype(np.float32)


def _units(features: NDArray[np.floating], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = _roots(features) - mean
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), _LEAST)


def _folds(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the number of the fold of each image: groups are dealt out in a random order."""
    names, numbers = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(0).permutation(len(names)) % _FOLDS)[numbers]


def _ridge(mapped: NDArray[np.float32], labels: NDArray[np.uint8], folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns a score for each image and class, by regressions on the other folds: float64 [n, k].

    An unknown label counts as the mean of its class, from which it pulls no image.
    """
    known = labels != UNKNOWN
    means = np.where(known, labels, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    targets = np.where(known, labels - means, 0).astype(np.float32)
    parts = [np.flatnonzero(folds == fold) for fold in range(_FOLDS)]
    squares, products = mapped.T @ mapped, mapped.T @ targets
    scores = np.empty(labels.shape)
    for part in parts:
        signals.check()
        if not len(part):
            continue
        own = mapped[part]
        matrix = (squares - own.T @ own).astype(np.float64)
        matrix[np.diag_indices_from(matrix)] += _RIDGE
        weights = scipy.linalg.solve(matrix, (products - own.T @ targets[part]).astype(np.float64), assume_a="pos")
        scores[part] = own @ weights + means
    return scores


def _inputs(scores: NDArray[np.float64], label: int) -> NDArray[np.float64]:
    """Returns what the probability of a class depends on, float64 [n, 1 or 3]: its score, and the highest other one."""
    own = scores[:, [label]]
    if scores.shape[1] == 1:
        return own
    highest = np.delete(scores, label, axis=1).max(axis=1, keepdims=True)
    return np.hstack([own, highest, own * highest])


def _with_absence(inputs: NDArray[np.float64], is_absent: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns inputs by which a probability also depends on whether an image has no other label, float64 [n, 7].

    It is used for images without any label alone. In images that have a label, a wrong one would speak for itself.
    """
    column = is_absent[:, None].astype(np.float64)
    return np.hstack([inputs, column, column * inputs])


def _calibrated(inputs: NDArray[np.float64], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns the probabilities of a class, float64 [n]: by so few coefficients that no label has a say in its own."""
    known = np.flatnonzero(labels != UNKNOWN)
    if len(known) > _CALIBRATED:
        known = np.random.default_rng(0).choice(known, _CALIBRATED, replace=False)
    if len(np.unique(labels[known])) < 2:
        return np.full(len(inputs), labels[known].mean() if len(known) else 0.5)
    deviation = np.maximum(inputs.std(axis=0), _LEAST)
    scaled = (inputs - inputs.mean(axis=0)) / deviation
    model = LogisticRegression(C=10.0, max_iter=500).fit(scaled[known], labels[known])
    return np.asarray(model.predict_proba(scaled)[:, 1])
