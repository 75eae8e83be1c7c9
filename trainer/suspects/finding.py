"""Finds suspects of all kinds in labels and probabilities.

label      the label contradicts the probability of its class (confident.py)
swap       of a softmax: the class of the image, and the one that it probably has
no_class   all labels of the image contradict the probabilities, and no other class is suggested
duplicate  the image is nearly the same as others, and they do not have the same label; of a softmax it is a swap
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.suspects import confident

LABEL, SWAP, NO_CLASS, DUPLICATE = "label", "swap", "no_class", "duplicate"


class Change(NamedTuple):
    """A label of an image that may be wrong.

    Attributes:
        label: number of the class.
        given: the label, 0 or 1.
        suggested: the other one.
    """

    label: int
    given: int
    suggested: int


class Suspect(NamedTuple):
    """Labels of an image that may be wrong, and are corrected together.

    Attributes:
        example: number of the image.
        changes: its labels; where a class is suggested, it is the last one.
        confidence: probability of the suggested labels, 0 to 1; that of the least probable one.
        kind: one of the kinds above.
        others: numbers of the images that it is a duplicate of.
    """

    example: int
    changes: tuple[Change, ...]
    confidence: float
    kind: str
    others: tuple[int, ...] = ()


# Probability of the other answer from which on a label is suspect, though confident learning asks for more. With 0.5,
# half of all suspects were right labels: docs/suspects.md.
_SURE = 0.8
# Suspects that are kept, the most probable ones: a million images of a thousand classes have millions.
_MOST = 100_000


def find(
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.floating],
    groups: NDArray[np.int64],
    *,
    softmax: bool = False,
) -> list[Suspect]:
    """Returns all suspects, the most probable one first. A label is in one of them at most; unknown labels are in none.

    A label is suspect if confident learning doubts it, or if the other answer has a probability of 0.8 or more.

    Args:
        labels: 0, 1 or UNKNOWN, uint8 [n, k].
        probabilities: of 1, by models that have not seen the label, float [n, k].
        groups: number of the group of duplicates of each image, int64 [n].
        softmax: whether an image has one class. Another class is then suggested in place of the one it has.
    """
    doubted = confident.doubted(labels, probabilities) | _improbable(labels, probabilities)
    if softmax:
        found = _swaps(labels, probabilities, doubted)
    else:
        found = _duplicates(labels, probabilities, groups, doubted)
        if labels.shape[1] > 1:
            found += _of_no_class(labels, probabilities, doubted)
    found += _labels(labels, probabilities, doubted)
    return sorted(found, key=lambda suspect: (-suspect.confidence, suspect.example, suspect.changes))[:_MOST]


def _improbable(labels: NDArray[np.uint8], probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    return ((labels == 1) & (1 - probabilities >= _SURE)) | ((labels == 0) & (probabilities >= _SURE))


def _labels(
    labels: NDArray[np.uint8], probabilities: NDArray[np.floating], doubted: NDArray[np.bool_]
) -> list[Suspect]:
    examples, columns = np.nonzero(doubted)
    given = labels[examples, columns]
    of_one = probabilities[examples, columns]
    confidence = np.where(given == 1, 1 - of_one, of_one)
    best = np.argsort(-confidence, kind="stable")[:_MOST]
    return [
        Suspect(example, (Change(label, answer, 1 - answer),), sure, LABEL)
        for example, label, answer, sure in zip(
            examples[best].tolist(),
            columns[best].tolist(),
            given[best].tolist(),
            confidence[best].tolist(),
            strict=True,
        )
    ]


def _of_no_class(
    labels: NDArray[np.uint8], probabilities: NDArray[np.floating], doubted: NDArray[np.bool_]
) -> list[Suspect]:
    """Returns the images whose labels are all doubted and to which no class is suggested; they are not doubted then."""
    has = labels == 1
    lost = has.any(axis=1) & (doubted | ~has).all(axis=1) & ~(doubted & ~has).any(axis=1)
    found = []
    for example in np.flatnonzero(lost).tolist():
        columns = np.flatnonzero(has[example]).tolist()
        doubted[example] = False
        changes = tuple(Change(label, 1, 0) for label in columns)
        found.append(Suspect(example, changes, 1 - float(probabilities[example, columns].max()), NO_CLASS))
    return found


def _swaps(labels: NDArray[np.uint8], probabilities: NDArray[np.floating], doubted: NDArray[np.bool_]) -> list[Suspect]:
    """Returns the images of one class to which another one is suggested; they are not doubted then."""
    found = []
    has_one = ((labels == 1).sum(axis=1) == 1) & (labels <= 1).all(axis=1)
    likely = probabilities.argmax(axis=1)
    for example in np.flatnonzero(has_one).tolist():
        given, suggested = int(labels[example].argmax()), int(likely[example])
        doubted[example] = False
        if given != suggested:
            changes = (Change(given, 1, 0), Change(suggested, 0, 1))
            found.append(Suspect(example, changes, float(probabilities[example, suggested]), SWAP))
    return found


def _duplicates(
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.floating],
    groups: NDArray[np.int64],
    doubted: NDArray[np.bool_],
) -> list[Suspect]:
    """Returns the labels that differ from those of duplicates, where the mean probability favours the latter.

    They are not doubted then.
    """
    found: list[Suspect] = []
    sizes = np.unique(groups, return_counts=True)[1]
    order = np.argsort(groups, kind="stable")
    for members in (np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1]) if len(part) > 1):
        own = labels[members]
        for label in np.flatnonzero((own == 0).any(axis=0) & (own == 1).any(axis=0)).tolist():
            mean = float(probabilities[members, label].mean())
            favoured = int(mean > 0.5)
            others = tuple(members[own[:, label] == favoured].tolist())
            wrong = members[own[:, label] == 1 - favoured]
            doubted[wrong, label] = False
            change = Change(label, 1 - favoured, favoured)
            found.extend(
                Suspect(example, (change,), max(mean, 1 - mean), DUPLICATE, others) for example in wrong.tolist()
            )
    return found
