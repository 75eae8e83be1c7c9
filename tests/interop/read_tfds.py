"""tensorflow-datasets: python read_tfds.py DATASET SPLIT..."""

import hashlib
import sys
from pathlib import Path

import show
import tensorflow as tf
import tensorflow_datasets as tfds

dataset = sys.argv[1]
name, data_dir = Path(dataset).parts[-2], str(Path(dataset).parents[1])
encoded = {"image": tfds.decode.SkipDecoding()}


def _show(read: str, examples: tf.data.Dataset) -> None:
    """Shows the examples in their order: a cycle of more than one file mixes those of large shards."""
    for one in examples.as_numpy_iterator():
        show.example(read, image=one["image"], labels=one["labels"], filename=one["filename"], **show.known(one))


builder = tfds.builder_from_directory(dataset)
show.fact(
    "info",
    label_names=builder.info.metadata["label_names"],
    supervised_keys=builder.info.supervised_keys,
    shard_lengths={split: info.shard_lengths for split, info in builder.info.splits.items()},
    num_bytes={split: info.num_bytes for split, info in builder.info.splits.items()},
)
in_order = tfds.ReadConfig(interleave_cycle_length=1)
for split in sys.argv[2:]:
    _show(split, builder.as_dataset(split=split, decoders=encoded, read_config=in_order))
    examples = tfds.load(name, data_dir=data_dir, split=split)
    show.fact("cardinality", split=split, cardinality=int(examples.cardinality()), length=len(examples))
    for one in examples.as_numpy_iterator():
        pixels = one["image"]
        is_decoded = not isinstance(pixels, bytes)  # They are bytes where the dataset has a GIF or WebP.
        show.fact(
            f"{split} decoded",
            filename=one["filename"].decode(),
            size=[int(one["image/height"]), int(one["image/width"])],
            shape=pixels.shape if is_decoded else None,
            pixels=hashlib.sha256(pixels.tobytes() if is_decoded else pixels).hexdigest(),
        )
    frame = tfds.as_dataframe(builder.as_dataset(split=split, decoders=encoded, read_config=in_order), builder.info)
    for row in frame.to_dict("records"):
        show.example(f"{split} as_dataframe", image=row["image"], labels=row["labels"], filename=row["filename"])
for half in ("train[:50%]", "train[50%:]"):
    _show(half, tfds.load(name, data_dir=data_dir, split=half, decoders=encoded, read_config=in_order))
supervised = tfds.load(name, data_dir=data_dir, split="train", as_supervised=True)
show.fact("supervised", labels=[labels.tolist() for _, labels in supervised.as_numpy_iterator()])
