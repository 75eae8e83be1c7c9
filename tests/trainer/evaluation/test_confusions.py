"""Pairs of classes are counted by hand."""

from typing import Any

import numpy as np
import pytest

from trainer.evaluation import confusions
from trainer.metrics import Predictions

_HALF = np.full(3, 0.5, np.float32)


def _find(
    labels: list[list[int]], predicted: list[list[int]], known: list[list[int]] | None = None
) -> dict[str, list[Any]]:
    predictions = Predictions(
        labels=np.array(labels, bool),
        scores=np.array(predicted, np.float32) * np.float32(0.8),
        known=None if known is None else np.array(known, bool),
    )
    return confusions.find(predictions, _HALF, ["sea", "sunset", "<b>"])


def test_what_is_predicted_instead_and_what_is_missed_together() -> None:
    found = _find(
        [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]],
        [[0, 1, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 1]],
    )
    assert found == {
        "predicted_instead": [
            {"missed": "sea", "predicted": "sunset", "images": 2, "of": 3},
            {"missed": "sea", "predicted": "<b>", "images": 1, "of": 3},
        ],
        "missed_together": [{"classes": ["sea", "sunset"], "images": 1, "of": 1}],
    }


def test_unknown_labels_are_neither_missed_nor_predicted_wrongly() -> None:
    found = _find([[1, 0, 0], [0, 1, 0]], [[0, 1, 0], [1, 0, 0]], [[1, 0, 1], [1, 0, 1]])
    assert found == {"predicted_instead": [], "missed_together": []}


def test_the_largest_pairs_of_thousands_of_classes_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusions, "_BLOCK", 5000)
    k = 2000
    labels = np.zeros((10, k), bool)
    labels[:, 7] = True
    scores = np.zeros((10, k), np.float32)
    scores[:6, 9] = scores[:, 1500] = 0.9
    found = confusions.find(
        Predictions(labels=labels, scores=scores), np.full(k, 0.5, np.float32), list(map(str, range(k)))
    )
    assert [(one["predicted"], one["images"]) for one in found["predicted_instead"]] == [("1500", 10), ("9", 6)]
