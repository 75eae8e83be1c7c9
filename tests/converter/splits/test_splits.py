"""Splits that do not leak: images that belong together are in one of them, and those that do not are told."""

import csv
import io
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from converter.job import pipeline
from converter.options import ConvertOptions
from converter.parsing import parse_splits
from converter.splits import assignment
from schemas import metadata
from schemas.metadata import DatasetInfo

ReadShards = Callable[[Path, DatasetInfo, str], list[Any]]

_KINDS = ("", " compressed", " small")
_SPLITS = parse_splits("train=0.5,dev=0.3,test=0.2")


def _photograph(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Returns soft shapes, which no two seeds have in common."""
    random = np.random.default_rng(seed)
    noise = Image.fromarray(random.integers(0, 256, (12, 18, 3), np.uint8))
    return noise.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def _save(path: Path, image: Image.Image, quality: int = 95) -> None:
    image.save(path, "JPEG", quality=quality)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with 60 images: 20 scenes, each once, once more compressed, and once smaller."""
    (tmp_path / "images").mkdir()
    rows = []
    for i in range(20):
        scene = _photograph(i)
        _save(tmp_path / f"images/{i}.jpg", scene)
        _save(tmp_path / f"images/{i} compressed.jpg", scene, quality=60)
        _save(tmp_path / f"images/{i} small.jpg", scene.resize((72, 48)))
        rows += [
            (name, i % 2, i % 3 // 2, f"place {i // 2}")
            for name in (f"{i}.jpg", f"{i} compressed.jpg", f"{i} small.jpg")
        ]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "sea", "trees", "place"), *rows])
    return tmp_path


def _convert(folder: Path, **given: Any) -> tuple[DatasetInfo, Path]:
    paths = {"csv": f"{folder}/labels.csv", "images": f"{folder}/images", "output": f"{folder}/out"}
    options = ConvertOptions(**{**paths, "label_columns": ("sea", "trees"), "splits": _SPLITS, **given})
    info = pipeline.convert(options)
    assert info
    return info, Path(options.dataset)


def _membership(folder: Path, read_shards: ReadShards) -> dict[str, str]:
    info = metadata.load(str(folder))
    return {stored.filename: split.name for split in info.splits for stored in read_shards(folder, info, split.name)}


def _duplicates(dataset: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((dataset / "duplicates.csv").read_text())))


def test_duplicates_across_splits_are_told(folder: Path, read_shards: ReadShards) -> None:
    (folder / "images/0 small.jpg").write_bytes((folder / "images/0.jpg").read_bytes())
    info, dataset = _convert(folder)
    membership = _membership(dataset, read_shards)
    rows = _duplicates(dataset)
    assert {row["filename"]: row["split"] for row in rows} == membership
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row["group"], set()).add(row["filename"])
    assert groups == {f"{i} compressed.jpg": {f"{i}{kind}.jpg" for kind in _KINDS} for i in range(20)}
    assert {row["filename"] for row in rows if row["kind"] == "exact"} == {"0.jpg", "0 small.jpg"}
    leaking = [names for names in groups.values() if len({membership[name] for name in names}) > 1]
    assert len(leaking) > 5
    assert info.leaks == {"num_groups": len(leaking), "num_images": 3 * len(leaking)}


def test_near_duplicates_are_kept_together(folder: Path, read_shards: ReadShards) -> None:
    info, dataset = _convert(folder, group_near_duplicates=True)
    membership = _membership(dataset, read_shards)
    assert len(membership) == 60
    for i in range(20):
        # Where the first of the group would be by itself.
        expected = assignment.split(f"{i} compressed.jpg", _SPLITS)
        assert {membership[f"{i}{kind}.jpg"] for kind in _KINDS} == {expected}
    assert info.leaks == {"num_groups": 0, "num_images": 0}
    assert len(_duplicates(dataset)) == 60


def test_groups_of_a_column_are_kept_together(folder: Path, read_shards: ReadShards) -> None:
    info, dataset = _convert(folder, group_column="place")
    membership = _membership(dataset, read_shards)
    for i in range(20):
        assert membership[f"{i}.jpg"] == membership[f"{i} small.jpg"] == assignment.split(f"place {i // 2}", _SPLITS)
    assert info.leaks == {"num_groups": 0, "num_images": 0}


def test_groups_of_a_column_and_near_duplicates_make_larger_groups(folder: Path, read_shards: ReadShards) -> None:
    # The last scene of each place is also the first of the next one: all are connected.
    for i in range(1, 19, 2):
        (folder / f"images/{i + 1}.jpg").write_bytes((folder / f"images/{i}.jpg").read_bytes())
    _, dataset = _convert(folder, group_column="place", group_near_duplicates=True)
    assert set(_membership(dataset, read_shards).values()) == {assignment.split("place 0", _SPLITS)}


def test_images_that_cannot_be_read_do_not_keep_others_from_being_grouped(folder: Path) -> None:
    (folder / "images/3.jpg").write_bytes(b"<html>")
    info, dataset = _convert(folder, group_near_duplicates=True, max_rejects=1)
    assert info.rejects == {"not_an_image": 1}
    assert len(_duplicates(dataset)) == 59


def test_plain_images_are_duplicates_only_when_they_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    colours = ["red", "green", "blue", "white", "black", "gray", "red"]
    for i, colour in enumerate(colours):
        _save(tmp_path / f"images/{i}.jpg", Image.new("RGB", (32, 32), colour))
    (tmp_path / "labels.csv").write_text("\n".join(["file,sea,trees", *(f"{i}.jpg,1,0" for i in range(7))]))
    _, dataset = _convert(tmp_path)
    assert [(row["filename"], row["kind"]) for row in _duplicates(dataset)] == [("0.jpg", "exact"), ("6.jpg", "exact")]


def test_stratified_splits_have_their_share_of_every_label(folder: Path, read_shards: ReadShards) -> None:
    info, dataset = _convert(folder, split_method="stratified")
    shares: Mapping[str, Fraction] = dict(_SPLITS)
    for split in info.splits:
        assert abs(split.num_examples - 60 * shares[split.name]) <= 1
        for positives, total in zip(split.statistics.positives, info.statistics.positives, strict=True):
            assert abs(positives - total * shares[split.name]) <= 1
    before = _membership(dataset, read_shards)
    # The order of the rows does not matter; that there are others may.
    header, *rows = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join([header, *reversed(rows)]))
    _, again = _convert(folder, split_method="stratified", output=f"{folder}/again")
    assert _membership(again, read_shards) == before
