"""NVIDIA DALI on the CPU: a thread for each core, reading our shards by our indexes.

It decodes in full (its decoders scale no JPEG while they decode it), and of an image that is cropped the crop only.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import nvidia.dali.tfrecord as tfrec
from nvidia.dali import fn, pipeline_def, types
from serve import ASPECTS, MIN_AREA, Request, serve

_AHEAD = 4


def batches(request: Request) -> Iterator[tuple[Any, Any]]:
    """Yields batches; the last one is cut where the last epoch ends."""
    pipeline = pipeline_def(_outputs)(
        request,
        batch_size=request.batch,
        num_threads=len(os.sched_getaffinity(0)),
        device_id=None,
        prefetch_queue_depth=_AHEAD,
    )
    pipeline.build()
    left = request.num_images * request.epochs
    while left:
        images, labels = (np.asarray(out.as_tensor()) for out in pipeline.run())
        number = min(left, request.batch)
        yield images[:number], labels[:number]
        left -= number


def _outputs(request: Request) -> tuple[Any, Any]:
    folders = (Path(request.dataset, "train"), Path(request.dataset, "index", "train"))
    shards, indexes = (sorted(str(path) for path in folder.iterdir()) for folder in folders)
    features = {
        "image": tfrec.FixedLenFeature((), tfrec.string, ""),
        "labels": tfrec.FixedLenFeature([request.num_classes], tfrec.int64, 0),
    }
    read = fn.readers.tfrecord(path=shards, index_path=indexes, features=features)
    if request.crop:
        images = fn.decoders.image_random_crop(
            read["image"],
            device="cpu",
            output_type=types.RGB,
            random_area=[MIN_AREA, 1.0],
            random_aspect_ratio=list(ASPECTS),
        )
    else:
        images = fn.decoders.image(read["image"], device="cpu", output_type=types.RGB)
    images = fn.resize(images, resize_x=request.size, resize_y=request.size)
    if request.crop:
        images = fn.flip(images, horizontal=fn.random.coin_flip())
    return images, read["labels"]


if __name__ == "__main__":
    serve(batches)
