"""Computes the contents of evaluation.json of `python -m trainer.evaluate`."""

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from trainer.evaluation import bootstrap, confusions, curves, leaks, worst
from trainer.evaluation.bootstrap import Interval, Intervals
from trainer.evaluation.figures import HEADLINE
from trainer.evaluation.predicting import Subject
from trainer.evaluation.slices import Slice
from trainer.input.listing import Listing
from trainer.metrics import Predictions

# Replicates for the intervals of a slice.
_SLICE_REPLICATES = 200
# Figures of a slice, and of the images without leaks.
SLICE_FIGURES = ("mean_average_precision", "f1_macro", "f1_micro", "hamming_loss")


def evaluate(
    subject: Subject,
    predictions: Predictions,
    listing: Listing,
    parts: Mapping[str, Sequence[Slice]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Returns all figures of a model on a split, as values of JSON. What is undefined is None.

    Args:
        subject: what is evaluated.
        predictions: for every image of the split.
        listing: of the same images, in the same order.
        parts: the slices of the split, by their kind.

    Raises:
        UserError: a list of a dataset is damaged.
    """
    run, data, classes = subject.run, subject.data, subject.data.classes
    num = len(predictions.labels)
    plan = bootstrap.plan(num, len(classes))
    found = bootstrap.intervals(predictions, subject.thresholds, plan)
    unknown = np.zeros(len(classes), np.int64) if predictions.known is None else (~predictions.known).sum(axis=0)
    return {
        "run": os.fspath(run.path),
        "datasets": [
            {
                "path": source.directory,
                "name": source.info.name,
                "version": source.info.version,
                "fingerprint": source.info.fingerprint,
            }
            for source in data.each
        ],
        "split": subject.split,
        "num_examples": num,
        "softmax": run.info.softmax,
        "classes_only_in_model": list(subject.only_model),
        "classes_only_in_data": list(subject.only_data),
        **({"unknown_labels": dict(zip(classes, unknown.tolist(), strict=True))} if unknown.any() else {}),
        "trained_on": _trained_on(subject),
        "bootstrap": {"level": bootstrap.LEVEL, **plan._asdict()},
        "headline": {name: interval._asdict() for name, interval in found.headline.items()},
        **_classes(predictions, subject, found),
        **confusions.find(predictions, subject.thresholds, classes),
        "leaks": _leaks(subject, predictions, listing),
        "slices": {
            by: [{"name": one.name, **_part(predictions[one.images], subject)} for one in each]
            for by, each in parts.items()
        },
        "worst": worst.find(subject, predictions, listing),
    }


def compare(first: Subject, second: Subject, of_first: Predictions, of_second: Predictions) -> dict[str, Any]:
    """Returns how much better or worse a second model is, on the same images.

    Args:
        first: the run that is evaluated.
        second: another run, on the same split and classes.
        of_first: its predictions.
        of_second: those of the other run.
    """
    plan = bootstrap.plan(len(of_first.labels), len(first.data.classes))
    found = bootstrap.differences(of_first, of_second, (first.thresholds, second.thresholds), plan)
    return {
        "run": os.fspath(second.run.path),
        "num_classes": len(first.data.classes),
        "classes_only_in_first_run": [
            name
            for name in first.run.info.classes
            if name not in second.run.info.classes and name not in first.only_model
        ],
        "trained_on": _trained_on(second),
        "headline": {
            name: {**interval._asdict(), "verdict": verdict(interval, less_is_better=HEADLINE[name])}
            for name, interval in found.headline.items()
        },
        "average_precision": {
            name: {**interval._asdict(), "verdict": verdict(interval)}
            for name, interval in zip(first.data.classes, found.average_precision, strict=True)
        },
    }


def verdict(interval: Interval, *, less_is_better: bool = False) -> str:
    """Returns whether a difference is `better`, `worse` or `noise`; `undefined` without an interval."""
    if interval.low is None or interval.high is None:
        return "undefined"
    if interval.low <= 0 <= interval.high:
        return "noise"
    return "better" if (interval.low > 0) != less_is_better else "worse"


def _trained_on(subject: Subject) -> list[str]:
    run = subject.run
    return leaks.trained_on(subject.data, subject.split, run.info.fingerprints, run.config.train_split)


def _classes(predictions: Predictions, subject: Subject, found: Intervals) -> dict[str, Any]:
    """Returns the figures of each class by its name, and the calibration of all together."""
    classes: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(subject.data.classes):
        known = np.ones(len(predictions.labels), bool) if predictions.known is None else predictions.known[:, i]
        positive, scores = predictions.labels[known, i] > 0, predictions.scores[known, i]
        threshold = subject.thresholds[i]
        classes[name] = {
            "positive": int(positive.sum()),
            "known": len(positive),
            "predicted": int((scores >= threshold).sum()),
            "threshold": round(float(threshold), 6),
            "average_precision": found.average_precision[i]._asdict(),
            "f1": found.f1[i]._asdict(),
            "precision": found.precision[i]._asdict(),
            "recall": found.recall[i]._asdict(),
            "precision_recall_curve": curves.precision_recall(positive, scores),
            "calibration": curves.calibration(positive, scores),
        }
    calibrations, counts = [one["calibration"] for one in classes.values()], [one["known"] for one in classes.values()]
    return {"classes": classes, "calibration": curves.all_calibrations(calibrations, counts)}


def _leaks(subject: Subject, predictions: Predictions, listing: Listing) -> dict[str, Any]:
    """Returns the images that other splits have too, and the figures without them."""
    leaked = leaks.duplicated(listing, subject.data, subject.split)
    if not len(leaked):
        return {"num_examples": 0, "filenames": [], "without": None}
    rest = np.delete(np.arange(len(predictions.labels)), leaked)
    return {
        "num_examples": len(leaked),
        "filenames": [listing.filenames[number] for number in leaked],
        "without": _part(predictions[rest], subject) if len(rest) else None,
    }


def _part(predictions: Predictions, subject: Subject) -> dict[str, Any]:
    """Returns the figures of some of the images."""
    plan = bootstrap.plan(len(predictions.labels), len(subject.data.classes), most=_SLICE_REPLICATES)
    found = bootstrap.intervals(predictions, subject.thresholds, plan).headline
    return {"num_examples": len(predictions.labels), **{name: found[name]._asdict() for name in SLICE_FIGURES}}
