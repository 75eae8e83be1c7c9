"""WebDataset and PyTorch's DataLoader: a worker for each core, OpenCV, tars of the same images."""

import os
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tars
import webdataset as wds
from serve import Request, serve
from torch.utils.data import DataLoader


def batches(request: Request) -> Iterator[tuple[Any, Any]]:
    """Yields batches; a worker has as many as its tars give, and so has a smaller one at the end."""
    cv2.setNumThreads(0)

    def prepare(image: bytes, labels: bytes) -> tuple[np.ndarray, np.ndarray]:
        values = np.array(labels.decode().strip("[]").split(","), np.uint8)
        return tars.decoded(image, request.size, request.crop), values

    examples = (
        wds.WebDataset(tars.paths(request.folder), shardshuffle=False, empty_check=False)
        .to_tuple("jpg", "json")
        .map(lambda one: prepare(*one))
        .batched(request.batch)
    )
    if request.epochs > 1:
        examples = examples.repeat(request.epochs)
    loader = DataLoader(examples, batch_size=None, num_workers=len(os.sched_getaffinity(0)), prefetch_factor=4)
    yield from loader


if __name__ == "__main__":
    serve(batches)
