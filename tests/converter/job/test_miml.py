"""The real data set: 2000 images in five classes, with both kinds of CSV."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trees
from converter.job import pipeline
from converter.options import ConvertOptions
from schemas.metadata import DatasetInfo

_CLASSES = ("desert", "mountains", "sea", "sunset", "trees")


def _convert(miml: Path, output: Path, table: str) -> DatasetInfo:
    info = pipeline.convert(
        ConvertOptions(
            csv=f"{miml}/{table}", images=f"{miml}/images", output=str(output), name="miml", classes=_CLASSES
        )
    )
    assert info is not None
    return info


@pytest.fixture(scope="module")
def converted(miml: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DatasetInfo, Path]:
    output = tmp_path_factory.mktemp("miml")
    return _convert(miml, output, "miml_labels_1.csv"), output / "miml/1.0.0"


def test_all_images_are_kept(converted: tuple[DatasetInfo, Path]) -> None:
    info, _ = converted
    assert (info.num_examples, info.rejects, info.unlisted) == (2000, {}, 0)
    assert info.classes == _CLASSES
    assert [split.name for split in info.splits] == ["train", "validation"]
    assert info.split("train").num_examples == pytest.approx(1600, abs=72)  # Four standard deviations.


def test_every_byte_and_label_is_that_of_the_source(
    converted: tuple[DatasetInfo, Path], miml: Path, read_shards: Callable[..., list[Any]]
) -> None:
    info, folder = converted
    with (miml / "miml_labels_1.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header[1:]) == _CLASSES
    labels = {name: tuple(map(int, cells)) for name, *cells in rows}
    stored = [one for split in info.splits for one in read_shards(folder, info, split.name)]
    assert sorted(one.filename for one in stored) == sorted(labels)
    assert info.statistics.positives == tuple(map(sum, zip(*labels.values(), strict=True)))
    for one in stored:
        assert one.image == (miml / "images" / one.filename).read_bytes(), one.filename
        assert one.labels == labels[one.filename], one.filename


def test_both_tables_give_the_same_dataset(converted: tuple[DatasetInfo, Path], miml: Path, tmp_path: Path) -> None:
    info, folder = converted
    assert _convert(miml, tmp_path, "miml_labels_2.csv") == info
    other = trees.data(tmp_path / "miml/1.0.0")
    for name, content in trees.data(folder).items():
        assert other[name] == content, name
