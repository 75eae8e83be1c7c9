"""Intervals cover what they should, and two models are compared on the same images."""

import numpy as np
import pytest

from trainer.evaluation import bootstrap
from trainer.evaluation.bootstrap import Interval, Plan
from trainer.metrics import Predictions


def _drawn(n: int, seed: int, *, noise: float = 0.8, k: int = 3) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.random((n, k)) < 0.3
    logits = 2 * labels - 1 + rng.normal(0, noise, (n, k))
    return Predictions(labels=labels, scores=(1 / (1 + np.exp(-logits))).astype(np.float32))


_HALF = np.full(3, 0.5, np.float32)


def test_an_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    predictions = _drawn(400, 0)
    found = bootstrap.intervals(predictions, _HALF, Plan(1000, 400, 0)).headline["hamming_loss"]
    wrong = ((predictions.scores >= 0.5) != predictions.labels).mean(axis=1)
    assert found.value == pytest.approx(wrong.mean())
    half = 1.96 * wrong.std() / np.sqrt(400)
    assert found.low == pytest.approx(wrong.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(wrong.mean() + half, abs=0.1 * half)


def test_intervals_of_average_precision_cover_the_value_of_the_whole_population() -> None:
    population = _drawn(50_000, 1)
    truth = bootstrap.intervals(population, _HALF, Plan(1, 10, 0)).headline["mean_average_precision"].value
    covered = 0
    for seed in range(60):
        sample = population[np.random.default_rng(seed).choice(50_000, 150, replace=False)]
        low, high = bootstrap.intervals(sample, _HALF, Plan(200, 150, seed)).headline["mean_average_precision"][1:]
        covered += low <= truth <= high
    assert 50 <= covered <= 60  # 95 % of 60 are 57.


def test_weighing_fewer_images_gives_about_the_same_interval() -> None:
    predictions = _drawn(4000, 2)
    all_of_them = bootstrap.intervals(predictions, _HALF, Plan(500, 4000, 0)).headline["mean_average_precision"]
    some = bootstrap.intervals(predictions, _HALF, Plan(500, 400, 0)).headline["mean_average_precision"]
    assert some.value == all_of_them.value
    assert some.high - some.low == pytest.approx(all_of_them.high - all_of_them.low, rel=0.3)
    assert some.low < some.value < some.high


def test_the_same_seed_gives_the_same_intervals() -> None:
    first, again, other = (
        bootstrap.intervals(_drawn(50, 0), _HALF, Plan(100, 50, seed)).headline["f1_macro"] for seed in (4, 4, 5)
    )
    assert first == again != other


def test_a_model_is_no_better_than_itself() -> None:
    found = bootstrap.differences(_drawn(60, 0), _drawn(60, 0), (_HALF, _HALF), Plan(100, 60, 0))
    assert set(found.headline.values()) == {Interval(0, 0, 0)}


def test_a_difference_is_told_from_noise_by_pairs_of_images() -> None:
    first = _drawn(300, 0, noise=1.0)
    # A little better on each image; far less than images differ from each other.
    better = Predictions(labels=first.labels, scores=first.scores + np.float32(0.02) * (2 * first.labels - 1))
    alone = bootstrap.intervals(first, _HALF, Plan(300, 300, 0)).headline["brier"]
    difference = bootstrap.differences(first, better, (_HALF, _HALF), Plan(300, 300, 0)).headline["brier"]
    assert difference.high < 0
    assert difference.high - difference.low < 0.2 * (alone.high - alone.low)


def test_a_class_with_few_positives_has_no_interval() -> None:
    labels = np.zeros((50, 3), bool)
    labels[:25, 0] = labels[0, 1] = True
    scores = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    found = bootstrap.intervals(Predictions(labels=labels, scores=scores), _HALF, Plan(200, 50, 0)).average_precision
    assert None not in found[0]
    assert found[1].value is not None
    assert found[1][1:] == (None, None)
    assert found[2] == Interval(None, None, None)


def test_the_work_is_bounded_for_any_number_of_images_and_classes() -> None:
    assert bootstrap.plan(2000, 5) == Plan(1000, 2000, 0)
    for n, k in ((1, 1), (1_000_000, 1), (1_000_000, 100), (100_000, 1000), (10_000_000, 5000)):
        found = bootstrap.plan(n, k)
        assert found.replicates >= 200
        assert found.replicates * found.images <= 200_000_000
        assert found.replicates * found.images * k <= 4_000_000_000
    assert bootstrap.plan(1000, 5, most=100).replicates == 100
