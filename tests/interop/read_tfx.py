"""TFX: python read_tfx.py DATASET SPLIT...

The schema and the statistics are parsed by tensorflow-metadata. The parsing spec is derived from the schema by the
rules of tensorflow-transform's `schema_as_feature_spec`, whose wheels not every machine can install: a feature that is
always present and has a shape is of fixed length, all others are of any length.
"""

import sys
from pathlib import Path

import show
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

_DTYPES = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32, schema_pb2.BYTES: tf.string}


def _spec(feature: schema_pb2.Feature) -> tf.io.FixedLenFeature | tf.io.VarLenFeature:
    dtype = _DTYPES[feature.type]
    if feature.HasField("shape") and feature.presence.min_fraction == 1:
        return tf.io.FixedLenFeature([dim.size for dim in feature.shape.dim], dtype)
    return tf.io.VarLenFeature(dtype)


dataset = Path(sys.argv[1])
schema = text_format.Parse((dataset / "schema.pbtxt").read_text(), schema_pb2.Schema())
statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString((dataset / "statistics.pb").read_bytes())
spec = {feature.name: _spec(feature) for feature in schema.feature}

show.fact("spec", fixed={key: [one.shape, one.dtype.name] for key, one in spec.items()})
for entry in statistics.datasets:
    labels = next(feature for feature in entry.features if feature.path.step == ["labels"])
    known = [feature.num_stats.mean for feature in entry.features if feature.path.step == ["labels/known"]]
    show.fact(
        "statistics",
        split=entry.name,
        num_examples=entry.num_examples,
        mean_label=labels.num_stats.mean,
        mean_known=known[0] if known else None,
    )
for split in sys.argv[2:]:
    records = tf.data.TFRecordDataset(sorted(map(str, dataset.glob(f"{split}/*"))))
    for one in records.map(lambda record: tf.io.parse_single_example(record, spec)).as_numpy_iterator():
        show.example(split, image=one["image"], labels=one["labels"], filename=one["filename"], **show.known(one))
