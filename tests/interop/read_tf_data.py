"""tf.data: python read_tf_data.py DATASET SPLIT..."""

import sys

import show
import tensorflow as tf

dataset = sys.argv[1]
features = {
    "image": tf.io.FixedLenFeature((), tf.string),
    "labels": tf.io.FixedLenFeature((5,), tf.int64),
    "filename": tf.io.FixedLenFeature((), tf.string),
}
for split in sys.argv[2:]:
    shards = tf.data.Dataset.list_files(f"{dataset}/{split}/*", shuffle=False)
    examples = tf.data.TFRecordDataset(shards).map(lambda record: tf.io.parse_single_example(record, features))
    for one in examples.as_numpy_iterator():
        show.example(split, image=one["image"], labels=one["labels"], filename=one["filename"])
