"""Apache Beam: python read_beam.py DATASET SPLIT...  The order of its elements is any."""

import sys

import apache_beam as beam
import show
import tensorflow as tf

dataset = sys.argv[1]


def _show(split: str, record: bytes) -> None:
    values = tf.train.Example.FromString(record).features.feature
    image, filename = (values[key].bytes_list.value[0] for key in ("image", "filename"))
    show.example(split, image=image, labels=values["labels"].int64_list.value, filename=filename)


for split in sys.argv[2:]:
    with beam.Pipeline("FnApiRunner") as pipeline:
        records = pipeline | beam.io.ReadFromTFRecord(f"{dataset}/{split}/*")
        records | beam.Map(lambda record, split=split: _show(split, record))
