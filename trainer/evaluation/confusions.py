"""Counts which classes are predicted instead of a missed one, and which are missed together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from trainer.metrics import Predictions

# Pairs of classes that are listed.
_MOST_PAIRS = 30
# Labels that are compared at a time.
_BLOCK = 1 << 22


def find(predictions: Predictions, thresholds: np.ndarray, classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Returns the pairs of classes that occur most often.

    Unknown labels are neither missed nor predicted wrongly.

    Args:
        predictions: of n images and k classes.
        thresholds: float32 [k].
        classes: their names.

    Returns:
        `predicted_instead`: pairs of a class that was missed and another that was predicted wrongly in the same image:
        the number of such images, and of all that miss the first class. `missed_together`: pairs of classes that both
        were missed in an image, with the number of such images, and of images that have both.
    """
    k, n = len(classes), len(predictions.labels)
    # Sparse: with thousands of classes, few pairs ever occur.
    instead, together, both = (scipy.sparse.csr_array((k, k), dtype=np.int64) for _ in range(3))
    num_missed = np.zeros(k, np.int64)
    size = max(1, _BLOCK // max(1, k))
    for start in range(0, n, size):
        some = predictions[start : start + size]
        known = np.ones(some.scores.shape, bool) if some.known is None else some.known > 0
        labels, predicted = (some.labels > 0) & known, some.scores >= thresholds
        missed, wrong, positive = (
            scipy.sparse.csr_array(each.astype(np.int64))
            for each in (labels & ~predicted, ~labels & known & predicted, labels)
        )
        num_missed += missed.sum(axis=0)
        instead, together = instead + missed.T @ wrong, together + missed.T @ missed
        both = both + positive.T @ positive
    return {
        "predicted_instead": [
            {"missed": classes[i], "predicted": classes[j], "images": count, "of": int(num_missed[i])}
            for i, j, count in _largest(instead)
        ],
        "missed_together": [
            {"classes": [classes[i], classes[j]], "images": count, "of": int(both[i, j])}
            for i, j, count in _largest(scipy.sparse.triu(together, k=1))
        ],
    }


def _largest(counts: scipy.sparse.sparray) -> list[tuple[int, int, int]]:
    """Returns row, column and value of the largest elements, in the order of the classes where they are the same."""
    found = scipy.sparse.coo_array(counts)
    rows, columns = found.coords
    order = np.lexsort((columns, rows, -found.data))[:_MOST_PAIRS]
    return [(int(rows[i]), int(columns[i]), int(found.data[i])) for i in order if found.data[i]]
