"""Measures the computation of an evaluation, without a model: `python scripts/bench/evaluation.py IMAGES CLASSES`.

Scores and labels are drawn; three classes in a hundred are positive. It prints the seconds and the highest resident
memory, with that of the scores and labels themselves.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from multihot.quiet import quiet
from schemas.metadata import DatasetInfo

with quiet():
    from trainer.config import TrainConfig
    from trainer.evaluation import contents
    from trainer.evaluation.predicting import Subject
    from trainer.finished_run import FinishedRun
    from trainer.input.listing import Listing
    from trainer.metrics import Predictions
    from trainer.model_file import ModelInfo
    from trainer.sources import Source, Sources

_SHARE, _BLOCK = 0.03, 10_000


def main() -> None:
    """Prints a line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=int)
    parser.add_argument("classes", type=int)
    flags = parser.parse_args()
    n, k = flags.images, flags.classes
    predictions = _draw(n, k)
    before, start = _peak(), time.perf_counter()
    found = contents.evaluate(_subject(k), predictions, _listing(n))
    seconds = time.perf_counter() - start
    plan = found["bootstrap"]
    given = predictions.labels.nbytes + predictions.scores.nbytes
    print(
        f"{n:,} images, {k:,} classes: {seconds:.0f} s, {plan['replicates']} replicates of {plan['images']:,} images; "
        f"scores and labels {given / 1e9:.2f} GB, memory {before / 1e9:.2f} GB before, {_peak() / 1e9:.2f} GB at most"
    )


def _draw(n: int, k: int) -> Predictions:
    rng = np.random.default_rng(0)
    labels, scores = np.empty((n, k), bool), np.empty((n, k), np.float32)
    for start in range(0, n, _BLOCK):
        part = slice(start, min(start + _BLOCK, n))
        labels[part] = rng.random((part.stop - start, k)) < _SHARE
        noise = rng.standard_normal((part.stop - start, k), np.float32)
        scores[part] = 1 / (1 + np.exp(4 - 4 * labels[part] - noise))
    return Predictions(labels=labels, scores=scores)


def _subject(k: int) -> Subject:
    classes = tuple(f"class {i}" for i in range(k))
    info = ModelInfo(
        classes=classes,
        image_size=64,
        resize="stretch",
        decode="scaled",
        softmax=False,
        flip=False,
        thresholds=(0.5,) * k,
        fingerprints=(),
    )
    config = TrainConfig(data=("drawn",), output="none")
    source = Source(
        directory="drawn",
        info=DatasetInfo(name="drawn", version="1.0.0", classes=classes, splits=()),
        labels=tuple(range(k)),
    )
    run = FinishedRun(Path("none"), config, info)
    return Subject(run, config, Sources(classes=classes, each=(source,)), tuple(range(k)), (), ())


def _listing(n: int) -> Listing:
    return Listing([f"{i}.jpg" for i in range(n)], np.ones((n, 2), np.int32), np.zeros(n, np.int32))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
