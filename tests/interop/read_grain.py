"""Grain: python read_grain.py DATASET SPLIT..."""

import sys
from pathlib import Path

import grain
import show
import tensorflow as tf

dataset = sys.argv[1]
for split in sys.argv[2:]:
    for shard in sorted(map(str, Path(dataset, split).iterdir())):
        for record in grain.experimental.TFRecordIterDataset(shard):
            values = tf.train.Example.FromString(record).features.feature
            image, filename = (values[key].bytes_list.value[0] for key in ("image", "filename"))
            show.example(split, image=image, labels=values["labels"].int64_list.value, filename=filename)
