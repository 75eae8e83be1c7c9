"""Finds labels that contradict the probabilities of their images: confident learning.

Northcutt, Jiang, Chuang (2021), Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70
(https://arxiv.org/abs/1911.00068), in its form for many labels: each class is a question of its own, with the answers 0
and 1. The threshold of an answer is the mean probability of it over the images that have it. An image whose label is
the other answer, and whose probability reaches the threshold, is a suspect.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Thresholds(NamedTuple):
    """The probability of each answer from which on an image counts as having it: float64 [k]; NaN if no image has it.

    Attributes:
        absent: of 0.
        present: of 1.
    """

    absent: NDArray[np.float64]
    present: NDArray[np.float64]


def thresholds(labels: NDArray[np.uint8], probabilities: NDArray[np.floating]) -> Thresholds:
    """Returns the thresholds of all classes.

    Args:
        labels: 0, 1 or UNKNOWN, uint8 [n, k].
        probabilities: of 1, by models that have not seen the label, float [n, k].
    """
    return Thresholds(
        _mean(1 - probabilities, labels == 0),
        _mean(probabilities, labels == 1),
    )


def _mean(values: NDArray[np.floating], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    numbers = where.sum(axis=0)
    sums = np.where(where, values, 0).sum(axis=0, dtype=np.float64)
    return np.divide(sums, numbers, out=np.full(len(numbers), np.nan), where=numbers > 0)


def doubted(labels: NDArray[np.uint8], probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Returns which labels are suspects, bool [n, k]: the other answer is at least as probable as its threshold.

    If both answers are, the more probable one counts. Unknown labels are no suspects.

    Args:
        labels: 0, 1 or UNKNOWN, uint8 [n, k].
        probabilities: of 1, by models that have not seen the label, float [n, k].
    """
    # Comparisons with NaN are false: no answer is suggested that no image of the class has.
    absent, present = thresholds(labels, probabilities)
    is_absent, is_present = 1 - probabilities >= absent, probabilities >= present
    more = probabilities > 0.5
    return ((labels == 1) & is_absent & ~(is_present & more)) | ((labels == 0) & is_present & ~(is_absent & ~more))
