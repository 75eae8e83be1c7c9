"""Scores of an image do not depend on its labels, and are those of scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import normalize

from schemas.example import UNKNOWN
from trainer.suspects import scores

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
    mapped = scores.kernel_map(features, (20,))
    roots = np.sqrt(features)
    units = normalize(roots - roots.mean(axis=0))
    distances = 2 - 2 * units @ units.T
    np.testing.assert_allclose(mapped @ mapped.T, rbf_kernel(units, gamma=1 / (0.7 * np.median(distances))), atol=2e-3)


def test_few_landmarks_approximate_the_kernel(blobs: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = blobs(300)
    exact = scores.kernel_map(features, (20,))
    monkeypatch.setattr(scores, "LANDMARKS", 100)
    monkeypatch.setattr(scores, "_BLOCK", 64)
    few = scores.kernel_map(features, (20,))
    assert few.shape[0] == 300
    assert few.shape[1] <= 100
    assert np.abs(few @ few.T - exact @ exact.T).mean() < 0.02


def test_all_layers_count_the_same(blobs: Callable[..., Made]) -> None:
    features, _ = blobs(60)
    side_by_side = np.hstack([features, 50 * features[:, :5]])
    mapped = scores.kernel_map(side_by_side, (20, 5))
    parts = [np.sqrt(part) - np.sqrt(part).mean(axis=0) for part in (side_by_side[:, :20], side_by_side[:, 20:])]
    units = np.hstack([normalize(part) for part in parts]) / np.sqrt(2)
    distances = 2 - 2 * units @ units.T
    np.testing.assert_allclose(mapped @ mapped.T, rbf_kernel(units, gamma=1 / (0.7 * np.median(distances))), atol=2e-3)


@pytest.mark.parametrize("groups", [np.arange(60), np.arange(60) // 3, np.array([0, 1] * 30)])
def test_scores_are_those_of_scikit_learn_without_the_group(
    blobs: Callable[..., Made], groups: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "_BLOCK", 25)
    features, labels = blobs(60)
    labels[:7, 1] = UNKNOWN
    mapped = scores.kernel_map(features, (20,))
    found = scores._scores(mapped, labels, groups)
    np.testing.assert_allclose(mapped.mean(axis=0), 0, atol=1e-6)
    kernel, known = (mapped @ mapped.T).astype(np.float64), labels != UNKNOWN
    mean = np.where(known, labels, 0).sum(axis=0) / known.sum(axis=0)
    targets = np.where(known, labels - mean, 0)
    for group in np.unique(groups):
        own, rest = groups == group, groups != group
        model = KernelRidge(alpha=1.0, kernel="precomputed").fit(kernel[np.ix_(rest, rest)], targets[rest])
        np.testing.assert_allclose(found[own], model.predict(kernel[np.ix_(own, rest)]) + mean, atol=1e-3)


def test_no_probability_follows_the_label_of_its_image_or_of_its_group(blobs: Callable[..., Made]) -> None:
    features, labels = blobs(400)
    groups = np.arange(400) // 2
    labels[:2, 1] = 1
    before = scores.probabilities(features, labels, groups=groups)
    labels[:2, 0] = 1 - labels[:2, 0]
    after = scores.probabilities(features, labels, groups=groups)
    # Two labels of 400 change the frequency and the coefficients.
    assert np.abs(before[:2] - after[:2]).max() < 0.03


def test_flipped_labels_are_the_least_probable_ones(blobs: Callable[..., Made]) -> None:
    features, labels = blobs(400)
    given, rng = labels.copy(), np.random.default_rng(1)
    wrong = rng.choice(labels.size, 60, replace=False)
    given.flat[wrong] ^= 1
    probabilities = scores.probabilities(features, given, groups=np.arange(400))
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
    probabilities = scores.probabilities(features, labels, groups=np.arange(50))
    assert probabilities.shape == labels.shape
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()
    np.testing.assert_allclose(probabilities[:, 0], 0)
    all_unknown = scores.probabilities(features, np.full_like(labels, UNKNOWN), groups=np.arange(50))
    np.testing.assert_allclose(all_unknown, 0.5)


def test_probabilities_of_a_softmax_add_up_to_one(blobs: Callable[..., Made]) -> None:
    features, _ = blobs(90)
    labels = np.eye(3, dtype=np.uint8)[np.arange(90) % 3]
    probabilities = scores.probabilities(features, labels, groups=np.arange(90), softmax=True)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_few_images_of_one_group(blobs: Callable[..., Made]) -> None:
    features, labels = blobs(3)
    assert np.isfinite(scores.probabilities(features, labels, groups=np.zeros(3, np.int64))).all()


@pytest.mark.parametrize("n", [0, 1])
def test_a_single_image_or_none_is_no_error(n: int) -> None:
    found = scores.probabilities(np.ones((n, 2), np.float32), np.ones((n, 3), np.uint8))
    np.testing.assert_array_equal(found, np.ones((n, 3)))


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_constant_features_give_the_frequency(share: float) -> None:
    labels = (np.random.default_rng(0).random((400, 1)) < share).astype(np.uint8)
    found = scores.probabilities(np.ones((400, 4), np.float32), labels)
    np.testing.assert_allclose(found, np.full((400, 1), labels.mean()), atol=0.01)


def test_no_label_is_found_in_its_own_score() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 2)) < (0.1, 0.7)).astype(np.uint8)
    found = scores.probabilities(rng.random((400, 4)).astype(np.float32), labels)
    np.testing.assert_allclose(found.mean(axis=0), (0.1, 0.7), atol=0.06)
    for label in range(2):
        assert 0.35 < roc_auc_score(labels[:, label], found[:, label]) < 0.65
