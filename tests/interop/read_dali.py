"""NVIDIA DALI on the CPU: python read_dali.py DATASET SPLIT..."""

import sys
from pathlib import Path
from typing import Any

import nvidia.dali.tfrecord as tfrec
import show
from nvidia.dali import fn, pipeline_def, types

dataset = Path(sys.argv[1])
features = {
    "image": tfrec.FixedLenFeature((), tfrec.string, ""),
    "labels": tfrec.FixedLenFeature([5], tfrec.int64, 0),
    "filename": tfrec.FixedLenFeature((), tfrec.string, ""),
    "image/height": tfrec.FixedLenFeature((), tfrec.int64, 0),
    "image/width": tfrec.FixedLenFeature((), tfrec.int64, 0),
}


@pipeline_def(batch_size=1, num_threads=1, device_id=None)
def _pipeline(split: str) -> tuple[Any, ...]:
    shards, indexes = (sorted(map(str, dataset.glob(f"{folder}/*"))) for folder in (split, f"index/{split}"))
    read = fn.readers.tfrecord(path=shards, index_path=indexes, features=features, name="shards")
    pixels = fn.decoders.image(read["image"], device="cpu", output_type=types.RGB)
    return (*(read[key] for key in features), pixels)


for split in sys.argv[2:]:
    pipeline = _pipeline(split)
    pipeline.build()
    for _ in range(pipeline.epoch_size("shards")):
        image, labels, filename, height, width, pixels = (batch.at(0) for batch in pipeline.run())
        show.example(
            split,
            image=image.tobytes(),
            labels=labels,
            filename=filename.tobytes(),
            size=[int(height.item()), int(width.item())],
            shape=pixels.shape,
        )
