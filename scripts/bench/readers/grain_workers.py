"""Grain on ArrayRecord: a worker for each core, OpenCV. The files are made of the same images when they are missing."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import grain
import numpy as np
import tars
from array_record.python.array_record_module import ArrayRecordWriter
from serve import Request, serve

_FILES = 8


class Prepare(grain.transforms.Map):
    """A record, labels before the encoded image, to an image uint8 [size, size, 3] and labels uint8 [k]."""

    def __init__(self, request: Request):
        self._request = request

    def map(self, element: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Returns the image and the labels."""
        cv2.setNumThreads(0)
        image, labels = element[self._request.num_classes :], element[: self._request.num_classes]
        return tars.decoded(image, self._request.size, self._request.crop), np.frombuffer(labels, np.uint8)


def batches(request: Request) -> Iterator[tuple[Any, Any]]:
    """Yields batches."""
    source = grain.sources.ArrayRecordDataSource(_arrays(request.folder))
    dataset = grain.MapDataset.source(source).repeat(request.epochs).map(Prepare(request))
    # By default a worker has sixteen threads, which at two cores is half as fast.
    one_thread = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
    batched = dataset.to_iter_dataset(one_thread).batch(request.batch)
    workers = grain.multiprocessing.MultiprocessingOptions(num_workers=len(os.sched_getaffinity(0)))
    yield from batched.mp_prefetch(workers)


def _arrays(folder: str) -> list[str]:
    made = Path(folder, "arrays")
    paths = [str(made / f"{i}.array_record") for i in range(_FILES)]
    if not made.exists():
        made.mkdir()
        # Groups of one record: what random access needs.
        writers = [ArrayRecordWriter(path, "group_size:1") for path in paths]
        for i, (image, labels) in enumerate(tars.examples(folder)):
            writers[i % _FILES].write(labels.tobytes() + image)
        for writer in writers:
            writer.close()
    return paths


if __name__ == "__main__":
    serve(batches)
