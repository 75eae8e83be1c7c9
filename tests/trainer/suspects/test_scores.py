"""Scores of an image do not depend on its labels, and are those of scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import cosine_similarity, rbf_kernel
from sklearn.preprocessing import normalize

from schemas.example import UNKNOWN
from trainer.suspects import neighbours, scores

Made = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def blobs() -> Callable[..., Made]:
    """Returns the function that draws features and labels: each class is a direction of the features."""

    def draw(num: int = 200, num_classes: int = 3, seed: int = 0) -> Made:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, (num, num_classes)).astype(np.uint8)
        features = labels @ rng.random((num_classes, 20)) + 0.1 * rng.random((num, 20))
        return features.astype(np.float32), labels

    return draw


def test_the_map_is_a_gaussian_kernel_on_unit_vectors(blobs: Callable[..., Made]) -> None:
    features, _ = blobs(60)
    mapped = scores.kernel_map(features)
    roots = np.sqrt(features)
    units = normalize(roots - roots.mean(axis=0))
    distances = 2 - 2 * units @ units.T
    np.testing.assert_allclose(mapped @ mapped.T, rbf_kernel(units, gamma=1 / np.median(distances)), atol=2e-3)


def test_few_landmarks_approximate_the_kernel(blobs: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = blobs(300)
    exact = scores.kernel_map(features)
    monkeypatch.setattr(scores, "LANDMARKS", 100)
    monkeypatch.setattr(scores, "_BLOCK", 64)
    few = scores.kernel_map(features)
    assert few.shape[0] == 300
    assert few.shape[1] <= 100
    assert np.abs(few @ few.T - exact @ exact.T).mean() < 0.02


def test_scores_are_those_of_scikit_learn_on_the_other_folds(blobs: Callable[..., Made]) -> None:
    features, labels = blobs()
    mapped, folds = scores.kernel_map(features), scores._folds(np.arange(200))
    found = scores._ridge(mapped, labels, folds)
    kernel, mean = (mapped @ mapped.T).astype(np.float64), labels.mean(axis=0)
    for fold in range(10):
        own, rest = folds == fold, folds != fold
        model = KernelRidge(alpha=1.0, kernel="precomputed").fit(kernel[np.ix_(rest, rest)], labels[rest] - mean)
        np.testing.assert_allclose(found[own], model.predict(kernel[np.ix_(own, rest)]) + mean, atol=1e-3)


def test_groups_are_in_one_fold_and_folds_are_of_one_size() -> None:
    folds = scores._folds(np.arange(1000) // 4)
    assert (folds.reshape(-1, 4) == folds[::4, None]).all()
    assert set(np.bincount(folds)) == {100}


def test_flipped_labels_are_the_least_probable_ones(blobs: Callable[..., Made]) -> None:
    features, labels = blobs(400)
    given, rng = labels.copy(), np.random.default_rng(1)
    wrong = rng.choice(labels.size, 60, replace=False)
    given.flat[wrong] ^= 1
    probabilities = scores.probabilities(features, given, np.arange(400))
    of_given = np.where(given == 1, probabilities, 1 - probabilities)
    found = np.argsort(of_given, axis=None)[:60]
    assert len(set(found) & set(wrong)) >= 57


@pytest.mark.parametrize("num_classes", [1, 2, 5])
def test_classes_without_positives_and_unknown_labels_have_probabilities(
    blobs: Callable[..., Made], num_classes: int
) -> None:
    features, labels = blobs(50, num_classes)
    labels[:, 0] = 0
    labels[::3, -1] = UNKNOWN
    probabilities = scores.probabilities(features, labels, np.arange(50))
    assert probabilities.shape == labels.shape
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()
    np.testing.assert_allclose(probabilities[:, 0], 0)
    all_unknown = scores.probabilities(features, np.full_like(labels, UNKNOWN), np.arange(50))
    np.testing.assert_allclose(all_unknown, 0.5)


def test_probabilities_of_a_softmax_add_up_to_one(blobs: Callable[..., Made]) -> None:
    features, _ = blobs(90)
    labels = np.eye(3, dtype=np.uint8)[np.arange(90) % 3]
    probabilities = scores.probabilities(features, labels, np.arange(90), softmax=True)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_fewer_images_than_folds(blobs: Callable[..., Made]) -> None:
    features, labels = blobs(3)
    assert np.isfinite(scores.probabilities(features, labels, np.zeros(3, np.int64))).all()


def test_the_nearest_images_are_those_of_the_highest_cosine(
    blobs: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, _ = blobs(100)
    monkeypatch.setattr(neighbours, "_BLOCK", 30)
    cosines = cosine_similarity(features)
    np.fill_diagonal(cosines, -2)
    of = np.array([7, 99, 0])
    found = neighbours.nearest(features, of, 5)
    np.testing.assert_allclose(
        np.take_along_axis(cosines[of], found, 1), -np.sort(-cosines[of], axis=1)[:, :5], rtol=1e-5
    )
    assert neighbours.nearest(features[:3], np.array([1]), 50).tolist() in ([[0, 2]], [[2, 0]])
    assert neighbours.nearest(features[:1], np.array([0]), 50).shape == (1, 0)
