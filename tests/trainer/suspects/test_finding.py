"""Labels that contradict their probabilities are suspects, each label once, the most probable ones first."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.example import UNKNOWN
from trainer.suspects import confident, finding
from trainer.suspects.finding import DUPLICATE, LABEL, NO_CLASS, SWAP, Change, Suspect


def _find(labels: list[list[int]], probabilities: list[list[float]], groups: list[int] | None = None, **more: bool):
    numbers = np.arange(len(labels)) if groups is None else np.array(groups)
    return finding.find(np.array(labels, np.uint8), np.array(probabilities), numbers, **more)


def test_thresholds_are_the_mean_probabilities_of_the_given_answers() -> None:
    labels = np.array([[1, 0, 0], [1, 0, 0], [0, UNKNOWN, 0], [UNKNOWN, 1, 0]], np.uint8)
    probabilities = np.array([[0.75, 0.5, 0.1], [0.25, 0.25, 0.1], [0.125, 0.9, 0.1], [1.0, 0.5, 0.1]])
    absent, present = confident.thresholds(labels, probabilities)
    np.testing.assert_allclose(present, [0.5, 0.5, np.nan])
    np.testing.assert_allclose(absent, [0.875, 0.625, 0.9])


def test_a_label_of_a_rare_class_is_doubted_though_no_probability_is_above_a_half() -> None:
    labels = np.array([[1], [1], [0], [0], [0]], np.uint8)
    probabilities = np.array([[0.3], [0.2], [0.28], [0.01], [0.01]])
    assert confident.doubted(labels, probabilities).tolist() == [[False], [False], [True], [False], [False]]


def test_a_wrong_label_of_each_kind_and_the_most_probable_one_first() -> None:
    labels = [[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]]
    probabilities = [[0.98, 0.1, 0.1], [0.9, 0.95, 0.1], [0.1, 0.05, 0.2], [0.9, 0.9, 0.1], [0.8, 0.1, 0.9]]
    assert _find(labels, probabilities) == [
        Suspect(1, (Change(1, 0, 1),), 0.95, LABEL),
        Suspect(2, (Change(1, 1, 0),), 0.95, NO_CLASS),
        Suspect(4, (Change(0, 0, 1),), 0.8, LABEL),
    ]
    # Confident learning doubts no label of this class, whose images have a mean probability of 0.93.
    probabilities[4][0] = 0.79
    assert len(_find(labels, probabilities)) == 2


def test_all_labels_of_an_image_of_no_class_are_one_suspect() -> None:
    labels = [[1, 1, 0], [1, 1, 1], [0, 0, 1]]
    probabilities = [[0.1, 0.2, 0.0], [0.9, 0.9, 0.9], [0.1, 0.1, 0.9]]
    assert _find(labels, probabilities) == [Suspect(0, (Change(0, 1, 0), Change(1, 1, 0)), 0.8, NO_CLASS)]


def test_with_one_class_an_image_without_it_is_an_image_like_others() -> None:
    assert _find([[1], [1], [0]], [[0.125], [0.9], [0.1]]) == [Suspect(0, (Change(0, 1, 0),), 0.875, LABEL)]


def test_of_a_softmax_another_class_is_suggested_instead() -> None:
    labels = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    probabilities = [[0.2, 0.75, 0.05], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5], [0.4, 0.3, 0.3]]
    assert _find(labels, probabilities, softmax=True) == [
        Suspect(0, (Change(0, 1, 0), Change(1, 0, 1)), 0.75, SWAP),
        Suspect(3, (Change(2, 1, 0), Change(0, 0, 1)), 0.4, SWAP),
    ]


def test_duplicates_with_different_labels_are_suspects_where_the_images_favour_the_other_label() -> None:
    labels = [[1, 0], [0, 0], [1, UNKNOWN], [1, 1]]
    probabilities = [[0.9, 0.1], [0.7, 0.1], [0.8, 0.9], [0.9, 0.9]]
    assert _find(labels, probabilities, groups=[0, 0, 0, 3]) == [
        Suspect(1, (Change(0, 0, 1),), pytest.approx(0.8), DUPLICATE, (0, 2))
    ]


@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 5))
def test_a_label_is_suspect_once_and_an_unknown_one_never(seed: int, softmax: bool, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 30), num_classes)
    labels = rng.integers(0, 3, shape).astype(np.uint8)
    probabilities: NDArray[np.float64] = rng.random(shape).round(1)
    found = finding.find(labels, probabilities, rng.integers(0, 20, len(labels)), softmax=softmax)
    cells = [(suspect.example, change.label) for suspect in found for change in suspect.changes]
    assert len(set(cells)) == len(cells)
    for suspect in found:
        assert 0 <= suspect.confidence <= 1
        for change in suspect.changes:
            assert labels[suspect.example, change.label] == change.given == 1 - change.suggested
    confidences = [suspect.confidence for suspect in found]
    assert confidences == sorted(confidences, reverse=True)
