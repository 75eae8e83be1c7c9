"""PyPI tfrecord: python read_tfrecord.py DATASET SPLIT..."""

import sys
from pathlib import Path

import show
from tfrecord.reader import tfrecord_loader

dataset = Path(sys.argv[1])
features = {"image": "byte", "labels": "int", "filename": "byte"}


def _show(read: str, shard: Path, worker: tuple[int, int]) -> None:
    """Shows what a worker reads of a shard: the index gives it its part."""
    index = dataset / "index" / shard.relative_to(dataset).with_suffix(".tfindex")
    for one in tfrecord_loader(str(shard), str(index), features, shard=worker):
        show.example(read, image=one["image"], labels=one["labels"], filename=one["filename"])


for split in sys.argv[2:]:
    for shard in sorted((dataset / split).iterdir()):
        _show(split, shard, (0, 1))
        for worker in range(3):
            _show(f"{split} by three workers", shard, (worker, 3))
