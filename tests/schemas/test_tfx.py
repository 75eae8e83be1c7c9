"""The schema and the statistics, read back as TFX and TFDV read them."""

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from schemas import tfx
from schemas.metadata import DatasetInfo

_KEYS = ["image", "image/height", "image/width", "labels", "filename"]


@pytest.fixture
def schema(info: DatasetInfo) -> schema_pb2.Schema:
    return text_format.Parse(tfx.schema(info), schema_pb2.Schema())


@pytest.fixture
def statistics(info: DatasetInfo) -> statistics_pb2.DatasetFeatureStatisticsList:
    return statistics_pb2.DatasetFeatureStatisticsList.FromString(tfx.statistics(info))


def _feature(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, split: int, key: str
) -> statistics_pb2.FeatureNameStatistics:
    return next(feature for feature in statistics.datasets[split].features if feature.path.step == [key])


def test_schema_has_every_feature_with_its_type(schema: schema_pb2.Schema) -> None:
    integer, text = schema_pb2.INT, schema_pb2.BYTES
    types = dict(zip(_KEYS, (text, integer, integer, integer, text), strict=True))
    assert {feature.name: feature.type for feature in schema.feature} == types


def test_schema_makes_every_feature_of_fixed_length(schema: schema_pb2.Schema) -> None:
    for feature in schema.feature:
        assert feature.presence.min_fraction == 1.0
        assert feature.presence.min_count == 1
        assert feature.HasField("shape"), feature.name
        assert [dim.size for dim in feature.shape.dim] == ([2] if feature.name == "labels" else [])


def test_schema_has_the_domains(schema: schema_pb2.Schema) -> None:
    domains = {feature.name: feature.WhichOneof("domain_info") for feature in schema.feature}
    assert domains == {
        "image": "image_domain",
        "image/height": "int_domain",
        "image/width": "int_domain",
        "labels": "int_domain",
        "filename": None,
    }
    labels = next(feature for feature in schema.feature if feature.name == "labels").int_domain
    assert (labels.min, labels.max, labels.HasField("min"), labels.HasField("max")) == (0, 1, True, True)
    height = next(feature for feature in schema.feature if feature.name == "image/height").int_domain
    assert (height.min, height.HasField("max")) == (1, False)


def test_statistics_have_an_entry_for_each_split(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    assert [(entry.name, entry.num_examples) for entry in statistics.datasets] == [("train", 3), ("test", 1)]


def test_statistics_use_paths_for_all_features(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    for entry in statistics.datasets:
        assert {feature.WhichOneof("field_id") for feature in entry.features} == {"path"}
        assert [list(feature.path.step) for feature in entry.features] == [[key] for key in _KEYS]


def test_statistics_count_values(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    for key, length in zip(_KEYS, (1, 1, 1, 2, 1), strict=True):
        feature = _feature(statistics, 0, key)
        stats = feature.num_stats if feature.WhichOneof("stats") == "num_stats" else feature.bytes_stats
        common = stats.common_stats
        assert (common.num_non_missing, common.num_missing) == (3, 0)
        assert (common.min_num_values, common.max_num_values, common.avg_num_values) == (length, length, length)
        assert common.tot_num_values == 3 * length


def test_statistics_of_numbers(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    height = _feature(statistics, 0, "image/height").num_stats
    assert (height.mean, height.min, height.max) == (20.0, 10.0, 30.0)
    assert height.std_dev == pytest.approx((200 / 3) ** 0.5)
    width = _feature(statistics, 0, "image/width").num_stats
    assert (width.mean, width.min, width.max) == (30.0, 20.0, 50.0)


def test_statistics_of_labels_are_over_all_cells(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    labels = _feature(statistics, 0, "labels").num_stats  # 1 0, 1 1, 0 0
    assert (labels.mean, labels.std_dev, labels.min, labels.max) == (0.5, 0.5, 0.0, 1.0)
    all_ones = _feature(statistics, 1, "labels").num_stats
    assert (all_ones.mean, all_ones.std_dev, all_ones.min, all_ones.max) == (1.0, 0.0, 1.0, 1.0)


def test_statistics_of_image_bytes(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    image = _feature(statistics, 0, "image").bytes_stats
    assert (image.min_num_bytes, image.max_num_bytes) == (400.0, 600.0)
    assert image.avg_num_bytes == pytest.approx(1600 / 3)


def test_unknown_labels_are_a_second_vector(partly_known: DatasetInfo) -> None:
    schema = text_format.Parse(tfx.schema(partly_known), schema_pb2.Schema())
    labels, known = (one for one in schema.feature if one.name.startswith("labels"))
    assert known.name == "labels/known"
    known.name = labels.name
    assert known == labels
    statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(tfx.statistics(partly_known))
    found = _feature(statistics, 0, "labels").num_stats  # ? 0, 1 ?, 0 ?
    assert (found.mean, found.min, found.max) == (1 / 6, 0.0, 1.0)
    found = _feature(statistics, 0, "labels/known").num_stats
    assert (found.mean, found.std_dev, found.min, found.max) == (0.5, 0.5, 0.0, 1.0)
    found = _feature(statistics, 1, "labels/known").num_stats
    assert (found.mean, found.std_dev, found.min, found.max) == (1.0, 0.0, 1.0, 1.0)
    assert found.common_stats.tot_num_values == 2


def test_the_same_dataset_gives_the_same_bytes(info: DatasetInfo) -> None:
    assert tfx.statistics(info) == tfx.statistics(DatasetInfo.from_json(info.to_json()))
    assert tfx.schema(info) == tfx.schema(info)
