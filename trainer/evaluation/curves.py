"""Computes the precision-recall curve and the calibration of a class, with a bounded number of points."""

from typing import Any

import numpy as np

# Levels of recall at which a curve has a point.
_LEVELS = 101
NUM_BINS = 10
_DIGITS = 6


def precision_recall(positive: np.ndarray, scores: np.ndarray) -> dict[str, list[float]] | None:
    """Returns points of the precision-recall curve, from the highest threshold to the lowest.

    Args:
        positive: bool [n], whose label is known.
        scores: float32 [n].

    Returns:
        `threshold`, `precision` and `recall` of points of scikit-learn's curve: for each of 101 levels of recall, the
        highest threshold that reaches it. None without a positive.
    """
    if not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    # Images of one score are predicted together.
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    hits = np.cumsum(positive[order])[ends]
    # Recall is compared as a whole number of images.
    wanted = np.ceil(np.linspace(0, 1, _LEVELS) * hits[-1] - 1e-9)
    chosen = np.unique(np.searchsorted(hits, np.maximum(wanted, 1)))
    return {
        "threshold": _rounded(ranked[ends[chosen]]),
        "precision": _rounded(hits[chosen] / (ends[chosen] + 1)),
        "recall": _rounded(hits[chosen] / hits[-1]),
    }


def calibration(positive: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Returns how well scores say how often a label is right.

    Args:
        positive: bool [n], whose label is known.
        scores: float32 [n], from 0 to 1.

    Returns:
        `bins`: for each of ten ranges of scores, as wide as each other, the number of its scores, their mean, and the
        share of positives; ranges without a score are left out.
        `expected_calibration_error`: the mean distance of the two, weighted by the number of scores. None without a
        label.
        `brier`: the mean squared distance of a score and its label (Brier 1950). None without a label.
    """
    num = len(scores)
    if not num:
        return {"bins": [], "expected_calibration_error": None, "brier": None}
    places = np.minimum((scores * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    counts, hits = (np.bincount(places, each, NUM_BINS) for each in (None, positive))
    means = np.bincount(places, scores, NUM_BINS) / np.maximum(counts, 1)
    shares = hits / np.maximum(counts, 1)
    return {
        "bins": [
            {
                "from": i / NUM_BINS,
                "number": int(counts[i]),
                "mean_score": float(means[i]),
                "positive": float(shares[i]),
            }
            for i in range(NUM_BINS)
            if counts[i]
        ],
        "expected_calibration_error": float(np.sum(counts * np.abs(means - shares)) / num),
        "brier": float(np.mean((scores.astype(np.float64) - positive) ** 2)),
    }


def all_calibrations(calibrations: list[dict[str, Any]], counts: list[int]) -> dict[str, Any]:
    """Returns the calibration of all classes together, from that of each.

    Args:
        calibrations: of each class.
        counts: number of known labels of each class.
    """
    bins = []
    for i in range(NUM_BINS):
        same = [one for each in calibrations for one in each["bins"] if one["from"] == i / NUM_BINS]
        number = sum(one["number"] for one in same)
        if number:
            means = {key: sum(one[key] * one["number"] for one in same) / number for key in ("mean_score", "positive")}
            bins.append({"from": i / NUM_BINS, "number": number, **means})
    total = sum(counts)
    if not total:
        return {"bins": [], "expected_calibration_error": None, "brier": None}
    error = sum(one["number"] * abs(one["mean_score"] - one["positive"]) for one in bins) / total
    squares = sum(each["brier"] * count for each, count in zip(calibrations, counts, strict=True) if count)
    return {"bins": bins, "expected_calibration_error": error, "brier": squares / total}


def _rounded(values: np.ndarray) -> list[float]:
    return np.round(values.astype(np.float64), _DIGITS).tolist()
