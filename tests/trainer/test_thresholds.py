"""The threshold of a class is the one with the best F1; with few images it is 0.5."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.example import UNKNOWN
from trainer import thresholds
from trainer.config import TrainConfig
from trainer.sources import Sources


@given(st.integers(0, 2**32), st.sampled_from([5, 1000]), st.booleans())
@settings(max_examples=25)
def test_no_threshold_has_a_much_better_f1(seed: int, num_scores: int, unknown: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((120, 2)) < 0.4).astype(np.uint8)
    scores = np.round(np.clip(rng.normal(0.3 + 0.3 * labels, 0.2), 0, 1) * num_scores) / num_scores
    if unknown:
        labels[rng.random((120, 2)) < 0.2] = UNKNOWN
    found = thresholds.tune(scores.astype(np.float32), labels)
    for i in range(2):
        known = labels[:, i] != UNKNOWN
        positive, column = labels[known, i] == 1, scores[known, i].astype(np.float32)
        best = max(sklearn.metrics.f1_score(positive, column >= one) for one in np.float32([0.2, 0.3, 0.4, 0.5, 0.6]))
        # A middle of two steps lies between them.
        near = [
            sklearn.metrics.f1_score(positive, column >= np.float32(found[i] + step)) for step in (-0.005, 0, 0.005)
        ]
        assert max(near) >= best - 0.01 - 1e-9


def test_it_is_the_middle_of_the_thresholds_that_are_as_good() -> None:
    labels = np.repeat(np.uint8([[1, 0], [0, 1]]), 30, axis=0)
    scores = np.where(labels, np.float32(0.8), np.float32(0.2))
    assert thresholds.tune(scores, labels) == pytest.approx((0.505, 0.505), abs=0.006)
    scores = np.where(labels, np.float32(0.3), np.float32(0.1))
    assert thresholds.tune(scores, labels) == pytest.approx((0.205, 0.205), abs=0.006)


def test_with_few_positives_or_negatives_it_is_the_half() -> None:
    labels = np.zeros((100, 3), np.uint8)
    labels[:19, 0] = labels[:81, 1] = labels[:20, 2] = 1
    scores = np.where(labels, np.float32(0.3), np.float32(0.1))
    found = thresholds.tune(scores, labels)
    assert found[:2] == (0.5, 0.5)
    assert 0.1 < found[2] < 0.3


def test_a_run_tunes_them_on_its_training_split(
    config: Callable[..., TrainConfig],
    sources: Sources,
    compiled: Callable[..., keras.Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = config(image_size=16, batch_size=20, cache="none")
    network = compiled(run, sources)
    assert thresholds.of_run(network, run, sources) == (0.5,) * 4  # Of 48 images.
    monkeypatch.setattr(thresholds, "_LEAST_IMAGES", 40)
    monkeypatch.setattr(thresholds, "_LEAST_LABELS", 5)
    found = thresholds.of_run(network, run, sources)
    assert all(0 < one < 1 for one in found)
    assert found != (0.5,) * 4
    softmax = dataclasses.replace(run, loss="categorical_crossentropy")
    assert thresholds.of_run(network, softmax, sources) == (0.5,) * 4
