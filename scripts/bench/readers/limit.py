"""The limit: libjpeg-turbo by simplejpeg, and OpenCV, on a thread for each core; the encoded images are in memory.

An image is decoded no larger than needed (DCT scaling: at least the size that comes out, or that of the whole image of
which a crop still has that size), and resized into uint8 batches, as our pipeline makes them.
"""

import functools
import os
import random
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import simplejpeg
import tars
from serve import Request, serve

_Examples = list[tuple[bytes, np.ndarray]]

_CORES = len(os.sched_getaffinity(0))
# Batches on their way: a thread that is done finds another one.
_AHEAD = 2 * _CORES


def batches(request: Request) -> Iterator[tuple[Any, np.ndarray]]:
    """Yields batches; each is the work of one thread."""
    examples, number = _examples(request.folder), request.batch
    chunks = [examples[i : i + number] for i in range(0, len(examples), number)] * request.epochs
    work = functools.partial(_batch, request)
    pending: deque[Any] = deque()
    with ThreadPoolExecutor(_CORES) as executor:
        for chunk in chunks:
            pending.append(executor.submit(work, chunk))
            if len(pending) > _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@functools.cache
def _examples(folder: str) -> _Examples:
    cv2.setNumThreads(1)
    return list(tars.examples(folder))


def _batch(request: Request, examples: _Examples) -> tuple[Any, np.ndarray]:
    labels = np.stack([labels for _, labels in examples])
    batch = np.empty((len(examples), request.size, request.size, 3), np.uint8)
    one = _crop if request.crop else _whole
    for out, (image, _) in zip(batch, examples, strict=True):
        one(image, request.size, out)
    return batch, labels


def _whole(data: bytes, size: int, out: np.ndarray) -> None:
    tars.resized(simplejpeg.decode_jpeg(data, min_height=size, min_width=size), size, out)


def _crop(data: bytes, size: int, out: np.ndarray) -> None:
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    box = np.array(tars.random_box(height, width))
    least = (size * height / box[2], size * width / box[3])
    image = simplejpeg.decode_jpeg(data, min_height=round(least[0]), min_width=round(least[1]))
    top, left, height, width = (box * image.shape[0] / height).astype(int)
    tars.resized(image[top : top + height, left : left + width], size, out)
    if random.random() < 0.5:
        cv2.flip(out, 1, dst=out)


if __name__ == "__main__":
    serve(batches)
