"""The threshold of a class is the one with the best F1; with few images it is 0.5."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from schemas.example import UNKNOWN
from trainer import thresholds
from trainer.config import TrainConfig
from trainer.sources import Sources


@given(st.integers(0, 2**32), st.sampled_from([5, 1000]), st.booleans())
def test_no_threshold_has_a_better_f1(seed: int, num_scores: int, unknown: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((120, 2)) < 0.4).astype(np.uint8)
    scores = np.round(np.clip(rng.normal(0.3 + 0.3 * labels, 0.2), 0, 1) * num_scores) / num_scores
    if unknown:
        labels[rng.random((120, 2)) < 0.2] = UNKNOWN
    found = thresholds.tune(scores.astype(np.float32), labels)
    for i in range(2):
        known = labels[:, i] != UNKNOWN
        positive, column = labels[known, i] == 1, scores[known, i].astype(np.float32)
        precision, recall, _ = sklearn.metrics.precision_recall_curve(positive, column)
        best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        assert sklearn.metrics.f1_score(positive, column >= np.float32(found[i])) == pytest.approx(best)


def test_with_few_positives_or_negatives_it_is_the_half() -> None:
    labels = np.zeros((100, 3), np.uint8)
    labels[:19, 0] = labels[:81, 1] = labels[:20, 2] = 1
    scores = np.linspace(0.9, 0.1, 100, dtype=np.float32)[:, None].repeat(3, axis=1)
    # The scores of the images that are the last and the first on both sides are 0.7465 and 0.7384.
    assert thresholds.tune(scores, labels) == (0.5, 0.5, 0.7424)


def test_a_run_tunes_them_on_its_training_split(
    config: Callable[..., TrainConfig],
    sources: Sources,
    compiled: Callable[..., keras.Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = config(image_size=16, batch_size=20, cache="none")
    network = compiled(settings, sources)
    assert thresholds.of_run(network, settings, sources) == (0.5,) * 4  # Of 48 images.
    monkeypatch.setattr(thresholds, "_LEAST_IMAGES", 40)
    monkeypatch.setattr(thresholds, "_LEAST_LABELS", 5)
    found = thresholds.of_run(network, settings, sources)
    assert all(0 < one < 1 for one in found)
    assert found != (0.5,) * 4
    softmax = dataclasses.replace(settings, loss="categorical_crossentropy")
    assert thresholds.of_run(network, softmax, sources) == (0.5,) * 4
