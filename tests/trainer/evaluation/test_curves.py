"""Curves and calibration are those of scikit-learn, with a bounded number of points."""

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics

from trainer.evaluation import curves


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [1, 7, 5000])
def test_every_point_is_one_of_the_curve_of_scikit_learn(n: int, ties: bool) -> None:
    rng = np.random.default_rng(n)
    positive, scores = rng.random(n) < 0.3, rng.random(n).astype(np.float32)
    positive[0] = True
    if ties:
        scores = np.round(scores * 8) / np.float32(8)
    found = curves.precision_recall(positive, scores)
    assert found is not None
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(positive, scores)
    all_of_them = np.round(np.stack([precision[:-1], recall[:-1], thresholds], axis=1).astype(float), 6)
    points = set(map(tuple, all_of_them.tolist()))
    assert set(zip(found["precision"], found["recall"], found["threshold"], strict=True)) <= points
    assert len(found["recall"]) <= 101
    assert found["recall"][-1] == 1
    # The area between the points is that of the curve.
    steps = np.diff([0, *found["recall"]])
    assert steps.max() <= max(0.011, recall.max() if ties else 1 / positive.sum() + 1e-6)


def test_without_a_positive_there_is_no_curve() -> None:
    assert curves.precision_recall(np.zeros(3, bool), np.ones(3, np.float32)) is None


def test_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(3000).astype(np.float32)
    positive = rng.random(3000) < scores**2
    found = curves.calibration(positive, scores)
    shares, means = sklearn.calibration.calibration_curve(positive, scores, n_bins=10)
    np.testing.assert_allclose([one["positive"] for one in found["bins"]], shares, atol=1e-6)
    np.testing.assert_allclose([one["mean_score"] for one in found["bins"]], means, atol=1e-6)
    assert found["brier"] == pytest.approx(sklearn.metrics.brier_score_loss(positive, scores))
    numbers = np.array([one["number"] for one in found["bins"]])
    assert found["expected_calibration_error"] == pytest.approx(np.sum(numbers * abs(shares - means)) / 3000, abs=1e-6)


def test_scores_of_0_and_1_are_in_the_outer_bins() -> None:
    found = curves.calibration(np.array([False, True]), np.array([0, 1], np.float32))
    assert [(one["from"], one["number"], one["positive"]) for one in found["bins"]] == [(0.0, 1, 0.0), (0.9, 1, 1.0)]
    assert found["expected_calibration_error"] == found["brier"] == 0


def test_all_classes_together_are_all_labels_together() -> None:
    rng = np.random.default_rng(1)
    columns = [(rng.random(n) < 0.4, rng.random(n).astype(np.float32)) for n in (40, 0, 90)]
    found = curves.all_calibrations([curves.calibration(*one) for one in columns], [len(one[0]) for one in columns])
    expected = curves.calibration(*(np.concatenate(each) for each in zip(*columns, strict=True)))
    assert found["brier"] == pytest.approx(expected["brier"])
    assert found["expected_calibration_error"] == pytest.approx(expected["expected_calibration_error"])
    assert [one["number"] for one in found["bins"]] == [one["number"] for one in expected["bins"]]
    assert curves.all_calibrations([curves.calibration(*columns[1])], [0])["brier"] is None
