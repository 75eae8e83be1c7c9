"""Descriptions of two tiny datasets, for the golden files: of one all labels are known, of the other not."""

import dataclasses

import pytest

from schemas.example import UNKNOWN
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Statistics


def _one(labels: tuple[int, int], height: int, width: int, size: int, has_unknown: bool = False) -> Statistics:
    return Statistics.of(
        labels=labels,
        image_format="jpeg",
        height=height,
        width=width,
        image_bytes=size,
        example_bytes=size + 100,
        has_unknown=has_unknown,
    )


@pytest.fixture(scope="session")
def info() -> DatasetInfo:
    """Returns three images of two classes, in three shards of two splits, with one rejected row."""
    train = (
        ShardInfo(path="train/train-00000-of-00002.tfrecord", num_examples=2, num_bytes=1200, sha256="a" * 64),
        ShardInfo(path="train/train-00001-of-00002.tfrecord", num_examples=1, num_bytes=700, sha256="b" * 64),
    )
    test = (ShardInfo(path="test/test-00000-of-00001.tfrecord", num_examples=1, num_bytes=500, sha256="c" * 64),)
    return DatasetInfo(
        name="tiny",
        version="1.2.3",
        classes=("desert", "바다"),
        splits=(
            SplitInfo(
                name="train",
                shards=train,
                statistics=_one((1, 0), 10, 20, 400) + _one((1, 1), 20, 20, 600) + _one((0, 0), 30, 50, 600),
            ),
            SplitInfo(name="test", shards=test, statistics=_one((1, 1), 5, 6, 400)),
        ),
        rejects={"bad_label": 1},
        unlisted=7,
    )


@pytest.fixture(scope="session")
def partly_known(info: DatasetInfo) -> DatasetInfo:
    """Returns the same dataset, but that three labels of its training split are not known."""
    train, test = info.splits
    labels = ((UNKNOWN, 0), (1, UNKNOWN), (0, UNKNOWN))
    first, second, third = (
        _one(one, *size, has_unknown=True)
        for one, size in zip(labels, ((10, 20, 400), (20, 20, 600), (30, 50, 600)), strict=True)
    )
    return dataclasses.replace(
        info,
        splits=(
            dataclasses.replace(train, statistics=first + second + third),
            dataclasses.replace(test, statistics=_one((1, 1), 5, 6, 400, has_unknown=True)),
        ),
    )
