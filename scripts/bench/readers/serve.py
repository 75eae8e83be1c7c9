"""Holds the code that all readers share: they get a line on stdin for each round, and answer by one on stdout.

A reader is a program `NAME.py` with a function from a Request to batches. It stays alive between rounds, so that rounds
of all readers alternate and none pays for its imports; between rounds it has no iterator, and nothing runs.

It is all that they share: some run in environments that have the reader and nothing of ours.
"""

import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

Batches = Iterable[tuple[Any, Any]]  # images [batch, size, size, 3], labels [batch, k], as the reader has them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One round.

    Attributes:
        dataset: folder of the dataset; its split `train` is read.
        folder: where the same images are as files, in tars, and, once made, as ArrayRecord: see same_images.py.
        num_images: in the split.
        num_classes: length of a label vector.
        pipeline: which one, of a reader with several.
        size: of the images that come out, pixels.
        crop: whether a random part of each image is cut out and half of them are mirrored.
        batch: images in a batch.
        epochs: passes, in one iterator; the first is not measured if there are several.
        cached: whether decoded images are kept between epochs and rounds.
        whole_epochs: whether every epoch has an iterator of its own, and all of its time counts.
        check: whether to tell what comes out, instead of how fast.
    """

    dataset: str
    folder: str
    num_images: int
    num_classes: int
    pipeline: str = ""
    size: int = 32
    crop: bool = False
    batch: int = 32
    epochs: int = 1
    cached: bool = False
    whole_epochs: bool = False
    check: bool = False


# Smallest share of an image that a crop keeps, and limits of its width by its height: as in trainer/input/cropping.py.
MIN_AREA = 0.3
ASPECTS = (3 / 4, 4 / 3)


def serve(batches: Callable[[Request], Batches]) -> None:
    """Answers requests until there are no more."""
    # Output of libraries goes elsewhere.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            request = Request(**json.loads(line))
            print(json.dumps(_answer(request, batches)), file=answers, flush=True)


def _answer(request: Request, batches: Callable[[Request], Batches]) -> dict[str, Any]:
    if request.check:
        return _check(batches(request))
    if request.whole_epochs:
        return _measure_whole(request, batches(dataclasses.replace(request, epochs=1)))
    return _measure(request, batches(request))


def _check(batches: Batches) -> dict[str, Any]:
    """Returns what comes out: number of images, of each class, shape and kind of a batch, mean pixel from 0 to 1."""
    images, positives, pixels, first = 0, np.zeros(0), 0.0, np.zeros(0)
    for batch, labels in batches:
        first = first if images else np.asarray(batch)
        scale = 255 if np.asarray(batch).max() > 2 else 1
        pixels += float(np.asarray(batch).mean()) / scale * len(labels)
        # Mixup leaves an image more than half of its label.
        positives = (np.asarray(labels) > 0.5).sum(0) + (positives if images else 0)
        images += len(labels)
    return {
        "images": images,
        "positives": [int(count) for count in positives],
        "shape": first.shape,
        "dtype": first.dtype.name,
        "mean_pixel": pixels / images,
    }


def _measure(request: Request, batches: Batches) -> dict[str, Any]:
    """Reads all batches.

    Returns:
        Seconds until the first batch; images and seconds of the steady rate, which begins after the first epoch if
        there are several: a pipeline that shuffles what it has decoded has decoded a whole epoch by its first batch,
        and all that follows in that epoch would seem to be free. CPU seconds of all.
    """
    total = request.num_images * request.epochs
    cpu, start = _cpu_seconds(), time.perf_counter()
    iterator = iter(batches)
    images = _read(iterator, 1)
    first = time.perf_counter()
    if request.epochs > 1:
        images += _read(iterator, request.num_images - images)
    before, steady = images, time.perf_counter()
    images += _read(iterator, total - images)
    end = time.perf_counter()
    # Workers are counted when they have ended.
    del iterator, batches
    return {
        "images": images,
        "first_batch_seconds": first - start,
        "steady_images": images - before,
        "steady_seconds": end - steady,
        "cpu_seconds": _cpu_seconds() - cpu,
    }


def _measure_whole(request: Request, batches: Batches) -> dict[str, Any]:
    """Reads all batches as Keras does: in each epoch anew. Returns the same as `_measure`."""
    # Of a reader that had to be started again, the cache is empty.
    _read(iter(batches), request.num_images)
    cpu, start, images, first = _cpu_seconds(), time.perf_counter(), 0, 0.0
    for _ in range(request.epochs):
        begin = time.perf_counter()
        iterator = iter(batches)
        images += _read(iterator, 1)
        first += time.perf_counter() - begin
        images += _read(iterator, request.num_images)
    seconds = time.perf_counter() - start
    return {
        "images": images,
        "first_batch_seconds": first / request.epochs,
        "steady_images": images,
        "steady_seconds": seconds,
        "cpu_seconds": _cpu_seconds() - cpu,
    }


def _read(iterator: Iterator[tuple[Any, Any]], images: int) -> int:
    """Reads batches until there are so many images, or no more; returns how many there were."""
    seen = 0
    while seen < images:
        batch = next(iterator, None)
        if batch is None:
            break
        seen += len(batch[1])
    return seen


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
