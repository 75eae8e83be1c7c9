"""Heads on features score each image without its label, as those of scikit-learn do."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from schemas.example import UNKNOWN
from trainer import out_of_fold


def _drawn(n: int = 120, d: int = 6, k: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d)).astype(np.float32) * rng.uniform(0.1, 10, d).astype(np.float32)
    logits = features / features.std(axis=0) @ rng.normal(size=(d, k)) * 2
    return features, (rng.random((n, k)) < 1 / (1 + np.exp(-logits))).astype(np.uint8)


def test_a_head_is_the_logistic_regression_of_scikit_learn() -> None:
    features, labels = _drawn()
    labels[:10, 1] = UNKNOWN
    groups = np.repeat(np.arange(2), 60)
    found = out_of_fold.probabilities(features, labels, groups=groups, num_folds=2, decay=0.05)
    for i in range(3):
        for inside in (groups == 0, groups == 1):
            known = ~inside & (labels[:, i] != UNKNOWN)
            scaler = StandardScaler().fit(features[~inside])
            head = LogisticRegression(C=1 / (0.05 * known.sum()), tol=1e-8, max_iter=1000)
            head.fit(scaler.transform(features[known]), labels[known, i])
            expected = head.predict_proba(scaler.transform(features[inside]))[:, 1]
            np.testing.assert_allclose(found[inside, i], expected, atol=2e-3)


def test_no_score_depends_on_the_label_of_its_image_or_of_its_group() -> None:
    features, labels = _drawn(40)
    groups = np.arange(40) // 2
    before = out_of_fold.probabilities(features, labels, groups=groups, seed=3)
    labels[:2] = 1 - labels[:2]
    after = out_of_fold.probabilities(features, labels, groups=groups, seed=3)
    np.testing.assert_array_equal(before[:2], after[:2])
    assert not np.array_equal(before[2:], after[2:])


def test_features_that_say_nothing_give_the_frequencies() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 2)) < (0.1, 0.7)).astype(np.uint8)
    found = out_of_fold.probabilities(np.ones((400, 4), np.float32), labels)
    np.testing.assert_allclose(found.mean(axis=0), (0.1, 0.7), atol=0.06)
    assert found.std(axis=0).max() < 0.03


def test_labels_that_are_all_the_same_or_all_unknown_are_no_error() -> None:
    features, labels = _drawn(50, k=3)
    labels[:, 0], labels[:, 1], labels[:, 2] = 0, 1, UNKNOWN
    found = out_of_fold.probabilities(features, labels)
    assert found.dtype == np.float32
    assert found[:, 0].max() < 0.1
    assert found[:, 1].min() > 0.9
    np.testing.assert_allclose(found[:, 2], 0.5, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_a_single_image_or_none_has_nothing_to_learn_from(n: int) -> None:
    found = out_of_fold.probabilities(np.ones((n, 2), np.float32), np.ones((n, 3), np.uint8))
    np.testing.assert_array_equal(found, np.full((n, 3), 0.5))
