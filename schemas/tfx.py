"""Writes the schema and the statistics that TFX and TFDV read, as messages of tensorflow-metadata."""

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import path_pb2, schema_pb2, statistics_pb2

from schemas import example
from schemas.metadata import DatasetInfo
from schemas.statistics import Moments, Statistics


def schema(info: DatasetInfo) -> str:
    """Returns schema.pbtxt. Every feature is required and has its exact shape, so that all are FixedLenFeature."""
    proto = schema_pb2.Schema()
    for feature in example.features(len(info.classes), info.has_unknown):
        field = proto.feature.add(name=feature.key)
        field.type = schema_pb2.INT if feature.dtype == "int64" else schema_pb2.BYTES
        field.presence.min_fraction = 1.0
        field.presence.min_count = 1
        # An empty shape is a scalar; no shape at all would be a feature of any length.
        field.shape.SetInParent()
        for size in feature.shape:
            field.shape.dim.add(size=size)
        if feature.key == example.IMAGE:
            field.image_domain.SetInParent()
        elif feature.key in (example.LABELS, example.KNOWN):
            field.int_domain.min, field.int_domain.max = 0, 1
        elif feature.dtype == "int64":
            field.int_domain.min = 1
    return text_format.MessageToString(proto)


def statistics(info: DatasetInfo) -> bytes:
    """Returns statistics.pb: a serialized DatasetFeatureStatisticsList with an entry for each split."""
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    for split in info.splits:
        entry = proto.datasets.add(name=split.name, num_examples=split.num_examples)
        for feature in example.features(len(info.classes), info.has_unknown):
            field = entry.features.add(path=path_pb2.Path(step=[feature.key]))
            length = feature.shape[0] if feature.shape else 1
            if feature.dtype == "int64":
                field.type = statistics_pb2.FeatureNameStatistics.INT
                _common(field.num_stats.common_stats, split.num_examples, length)
                _numeric(field.num_stats, _moments(feature.key, split.statistics))
            else:
                field.type = statistics_pb2.FeatureNameStatistics.BYTES
                _common(field.bytes_stats.common_stats, split.num_examples, length)
                if feature.key == example.IMAGE:
                    field.bytes_stats.avg_num_bytes = split.statistics.image_bytes.mean
                    field.bytes_stats.min_num_bytes = split.statistics.image_bytes.minimum
                    field.bytes_stats.max_num_bytes = split.statistics.image_bytes.maximum
    return proto.SerializeToString(deterministic=True)


def _moments(key: str, statistics: Statistics) -> Moments:
    if key == example.HEIGHT:
        return statistics.height
    if key == example.WIDTH:
        return statistics.width
    count = statistics.num_examples * len(statistics.positives)
    if key == example.LABELS:
        total = sum(statistics.positives)
    elif key == example.KNOWN:
        total = count - sum(statistics.unknown)
    else:
        raise KeyError(f"No statistics are kept of {key}: add them to schemas/statistics.py.")
    # The values are 0 or 1, so that their sum is also the sum of their squares.
    return Moments(count, total, total, int(total == count), int(total > 0))


def _common(field: statistics_pb2.CommonStatistics, num_examples: int, length: int) -> None:
    field.num_non_missing = num_examples
    field.min_num_values = field.max_num_values = length
    field.avg_num_values = float(length)
    field.tot_num_values = num_examples * length


def _numeric(field: statistics_pb2.NumericStatistics, moments: Moments) -> None:
    field.mean, field.std_dev = moments.mean, moments.standard_deviation
    field.min, field.max = float(moments.minimum), float(moments.maximum)
