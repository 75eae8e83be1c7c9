"""Computes for each image a probability of each class to which the label of the image contributes nothing.

    features -> kernel map -> ridge regression -> scores, each without its image -> logistic regression -> probabilities

A Gaussian kernel on the features finds more wrong labels than a linear head (docs/suspects.md has the measurement).
Its regression has a closed form, and so has the regression without one image, or without a group of them: no fold is
trained (Allen 1974, The Relationship between Variable Selection and Data Augmentation and a Method for Prediction).
With more images than landmarks, the kernel is approximated (Williams and Seeger 2001, Using the Nyström Method to
Speed Up Kernel Machines).

Features of a model that was trained on the same images are not independent of their labels: docs/suspects.md has how
much that matters.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from multihot import signals
from schemas.example import UNKNOWN

# Landmarks of the kernel: the map of a million images takes 8 GB with as many.
LANDMARKS = 2048
# Width of the kernel, as a part of the median of the squared distances. Measured: docs/suspects.md.
_WIDTH = 0.7
# Added to the diagonal of the kernel, of which all values are at most 1.
_RIDGE = 1.0
# Images that are mapped at a time.
_BLOCK = 1 << 12
# Images by which the probabilities of a class are calibrated, at most.
_CALIBRATED = 100_000
_LEAST = 1e-6
# Least standard deviation of scores by which they are divided: smaller ones come from rounding.
_LEAST_DEVIATION = 1e-5


def probabilities(
    features: NDArray[np.floating],
    labels: NDArray[np.uint8],
    *,
    widths: Sequence[int] = (),
    groups: NDArray[np.int64] | None = None,
    softmax: bool = False,
) -> NDArray[np.float32]:
    """Returns a probability of each class for each image.

    The label of an image has a part only in the frequency of its class and in the few coefficients of the calibration,
    which have those of all images.

    Args:
        features: float [n, d], finite.
        labels: 0, 1 or UNKNOWN, uint8 [n, k].
        widths: numbers of features of each layer, side by side; by default they are of one layer.
        groups: number of the group of each image, int64 [n], as those of near duplicates: images are scored without
            the labels of their group. By default each image is a group.
        softmax: whether the probabilities of an image add up to 1.

    Returns:
        float32 [n, k]. Where all known labels of a class are the same, it is their frequency; 0.5 where none is known.
    """
    if not len(labels):
        return np.empty(labels.shape, np.float32)
    mapped = kernel_map(features, widths or (features.shape[1],))
    scores = _scores(mapped, labels, np.arange(len(labels)) if groups is None else groups)
    del mapped
    result = np.empty(labels.shape, np.float32)
    empty, others = (labels == 0).all(axis=1), _highest(scores)
    numbers = (labels != 0).sum(axis=1)
    for label in range(labels.shape[1]):
        signals.check()
        inputs = _inputs(scores, label, others)
        result[:, label] = _calibrated(inputs, labels[:, label])
        if empty.any() and labels.shape[1] > 1:
            is_absent = numbers == (labels[:, label] != 0)
            result[empty, label] = _calibrated(_with_absence(inputs, is_absent), labels[:, label])[empty]
    return result / np.maximum(result.sum(axis=1, keepdims=True), _LEAST) if softmax else result


def kernel_map(features: NDArray[np.floating], widths: Sequence[int]) -> NDArray[np.float32]:
    """Returns features whose products are a Gaussian kernel of the given ones, float32 [n, at most LANDMARKS].

    The kernel is of unit vectors: the square roots of the features of a layer, less their mean. All layers count the
    same. Its width is 0.7 times the median of the squared distances.

    Args:
        features: float [n, d], of several layers side by side.
        widths: number of features of each layer.
    """
    means = sum(_roots(block).sum(axis=0, dtype=np.float64) for block in _blocks(features)) / len(features)
    chosen = np.random.default_rng(0).permutation(len(features))[:LANDMARKS]
    landmarks = _units(features[np.sort(chosen)], means, widths)
    distances = 2 - 2 * landmarks @ landmarks.T
    width = max(_WIDTH * float(np.median(distances)), _LEAST)
    values, vectors = scipy.linalg.eigh(np.exp(-distances / width).astype(np.float64))
    kept = values > _LEAST * values.max()
    inverse = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
    mapped = np.empty((len(features), inverse.shape[1]), np.float32)
    for block, target in zip(_blocks(features), _blocks(mapped), strict=True):
        signals.check()
        target[:] = np.exp((2 * _units(block, means, widths) @ landmarks.T - 2) / width) @ inverse
    return mapped


def _blocks(values: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    yield from (values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK))


def _roots(features: NDArray[np.floating]) -> NDArray[np.float32]:
    return (np.sign(features) * np.sqrt(np.abs(features))).astype(np.float32)


def _units(
    features: NDArray[np.floating], means: NDArray[np.float64] | float, widths: Sequence[int]
) -> NDArray[np.float32]:
    """Returns the unit vectors of each layer, scaled to unit vectors of all layers together."""
    centred = (_roots(features) - means).astype(np.float32)
    for layer in np.split(centred, np.cumsum(widths)[:-1], axis=1):
        layer /= np.maximum(np.linalg.norm(layer, axis=1, keepdims=True), _LEAST) * np.float32(np.sqrt(len(widths)))
    return centred


def _scores(mapped: NDArray[np.float32], labels: NDArray[np.uint8], groups: NDArray[np.int64]) -> NDArray[np.float32]:
    """Returns a score for each image and class, by the regression without the group of the image: float32 [n, k].

    An unknown label counts as the mean of its class, from which it pulls no image. The map is centred in place.
    """
    known = labels != UNKNOWN
    means = np.where(known, labels, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    targets = np.where(known, labels - means, 0).astype(np.float32)
    del known
    # Otherwise, features that say nothing would give the mean of the other images, which is lower for a 1 than for a 0,
    # and the calibration would find the label in it.
    mapped -= mapped.mean(axis=0, dtype=np.float64).astype(np.float32)
    matrix = (mapped.T @ mapped).astype(np.float64)
    matrix[np.diag_indices_from(matrix)] += _RIDGE
    root = scipy.linalg.cholesky(matrix, lower=True)
    weights = scipy.linalg.cho_solve((root, True), (mapped.T @ targets).astype(np.float64)).astype(np.float32)
    scores = np.empty(labels.shape, np.float32)
    for i, block in enumerate(_blocks(mapped)):
        signals.check()
        part = slice(i * _BLOCK, i * _BLOCK + len(block))
        own = scipy.linalg.solve_triangular(root, block.T.astype(np.float64), lower=True)
        # The error without an image is the one with it, divided by 1 - the weight of the image in its own score.
        errors = (targets[part] - block @ weights) / (1 - np.square(own).sum(axis=0))[:, None]
        scores[part] = targets[part] - errors + means
    for members in _several(groups):
        own = scipy.linalg.solve_triangular(root, mapped[members].T.astype(np.float64), lower=True)
        rest = np.eye(len(members)) - own.T @ own
        errors = scipy.linalg.solve(rest, targets[members] - mapped[members] @ weights, assume_a="pos")
        scores[members] = targets[members] - errors + means
    return scores


def _several(groups: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yields the images of each group of several."""
    sizes = np.unique(groups, return_counts=True)[1]
    parts = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    yield from (part for part in parts if len(part) > 1)


def _highest(scores: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns the class with the highest score of each image, int64 [n], and its two highest scores, float32 [n, 2]."""
    if scores.shape[1] == 1:
        return np.zeros(len(scores), np.int64), np.hstack([scores, scores])
    first = scores.argmax(axis=1)
    return first, np.partition(scores, -2, axis=1)[:, [-1, -2]]


def _inputs(
    scores: NDArray[np.float32], label: int, others: tuple[NDArray[np.int64], NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Returns what the probability of a class depends on, float64 [n, 1 or 3]: its score, and the highest other one."""
    own = scores[:, [label]].astype(np.float64)
    if scores.shape[1] == 1:
        return own
    first, highest = others
    other = np.where(first == label, highest[:, 1], highest[:, 0])[:, None].astype(np.float64)
    return np.hstack([own, other, own * other])


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
    deviation = np.maximum(inputs.std(axis=0), _LEAST_DEVIATION)
    scaled = (inputs - inputs.mean(axis=0)) / deviation
    model = LogisticRegression(C=10.0, max_iter=500).fit(scaled[known], labels[known])
    return np.asarray(model.predict_proba(scaled)[:, 1])
