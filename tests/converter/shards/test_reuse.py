"""A conversion that is run again writes only the shards in which something has changed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from converter.job import pipeline
from converter.options import ConvertOptions
from converter.shards import provenance
from multihot.errors import UserError
from schemas import metadata

Draw = Callable[..., bytes]

_NAMES = [f"{i}.jpg" for i in range(40)]


class Work(NamedTuple):
    """A folder of images with its CSV, and conversions of it."""

    folder: Path

    def label(self, **changes: str) -> None:
        """Writes the CSV; `changes` replace rows, by the number of the image."""
        rows = [changes.get(f"_{i}", f"{name},{i % 2},{i % 3 % 2}") for i, name in enumerate(_NAMES)]
        (self.folder / "labels.csv").write_text("\n".join(["file,sea,trees", *filter(None, rows)]) + "\n")

    def convert(self, **given: Any) -> tuple[int, int]:
        """Returns how many shards were written, and how many kept."""
        options = self.options(**given)
        pipeline.convert(options)
        shards = json.loads(Path(options.dataset, "conversion.json").read_text())["shards"]
        return shards["written"], shards["reused"]

    def options(self, **given: Any) -> ConvertOptions:
        paths = {"csv": f"{self.folder}/labels.csv", "images": f"{self.folder}/images", "output": f"{self.folder}/out"}
        return ConvertOptions(
            **{**paths, "num_shards": {"train": 4, "validation": 2}, "overwrite": True, "max_rejects": 40, **given}
        )

    def input(self) -> dict[str, bytes]:
        """Returns the CSV and the images."""
        paths = [self.folder / "labels.csv", *(self.folder / "images").iterdir()]
        return {path.name: path.read_bytes() for path in paths}

    def data(self, **given: Any) -> dict[str, bytes]:
        """Returns the files of the dataset but for those that name times."""
        folder = Path(self.options(**given).dataset)
        files = (path for path in folder.rglob("*") if path.is_file())
        named = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        return {name: data for name, data in named.items() if name != "conversion.json" and "made_from" not in name}

    def shard_of(self, name: str) -> str:
        """Returns the path of the shard that holds an image."""
        for path, data in self.data().items():
            if path.endswith(".tfrecord") and bytes([len(name)]) + name.encode() in data:
                return path
        raise AssertionError(name)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> Work:
    """Returns forty images that were converted once, to six shards: to be copied, never to be changed."""
    work = Work(tmp_path_factory.mktemp("converted"))
    (work.folder / "images").mkdir()
    for i, name in enumerate(_NAMES):
        (work.folder / "images" / name).write_bytes(draw(i))
    work.label()
    assert work.convert() == (6, 0)
    return work


@pytest.fixture
def work(converted: Work, tmp_path: Path) -> Iterator[Work]:
    """Returns a copy of `converted`, with the times of its files."""
    shutil.copytree(converted.folder, tmp_path, dirs_exist_ok=True)
    work = Work(tmp_path)
    yield work
    # Whatever was kept: the same as from scratch, which `converted` is as long as its input is the same.
    if work.input() == converted.input():
        assert work.data() == converted.data()
    else:
        work.convert(output=f"{tmp_path}/scratch")
        assert work.data() == work.data(output=f"{tmp_path}/scratch")
    assert [path.name for path in (tmp_path / "out/dataset").iterdir()] == ["1.0.0"]


def test_nothing_changed(work: Work) -> None:
    assert work.convert() == (0, 6)


def test_rows_in_another_order_change_no_shard(work: Work) -> None:
    header, *rows = (work.folder / "labels.csv").read_text().splitlines()
    (work.folder / "labels.csv").write_text("\n".join([header, "", *reversed(rows)]))
    assert work.convert() == (0, 6)


def test_a_changed_label_changes_one_shard(work: Work) -> None:
    work.label(_7="7.jpg,0,1")
    assert work.convert() == (1, 5)


def test_a_changed_image_changes_one_shard(work: Work, draw: Draw) -> None:
    (work.folder / "images/7.jpg").write_bytes(draw(100))
    assert work.convert() == (1, 5)


def test_an_image_that_has_the_same_size_and_another_time_is_read_again(work: Work) -> None:
    path = work.folder / "images/7.jpg"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert work.convert() == (1, 5)


@pytest.mark.slow
def test_a_deleted_row_changes_one_shard(work: Work) -> None:
    work.label(_7="")
    assert work.convert() == (1, 5)


@pytest.mark.slow
def test_another_number_of_shards_changes_all_of_its_split(work: Work) -> None:
    assert work.convert(num_shards={"train": 5, "validation": 2}) == (5, 2)
    work.convert()


@pytest.mark.parametrize(
    "damage", ["flip", pytest.param("cut", marks=pytest.mark.slow), pytest.param("delete", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("ending", ["shard", "index"])
def test_a_damaged_shard_is_made_anew(work: Work, ending: str, damage: str) -> None:
    folder = Path(work.options().dataset)
    shard = folder / work.shard_of("7.jpg")
    path = shard if ending == "shard" else folder / "index" / shard.relative_to(folder).with_suffix(".tfindex")
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(data[:-5] if damage == "cut" else data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert work.convert() == (1, 5)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        *(pytest.param(text, marks=pytest.mark.slow) for text in ("", "{}", "[]", '{"digest": 1, "shard": 2}')),
    ],
)
def test_a_damaged_note_of_what_a_shard_was_made_from_only_costs_time(work: Work, text: str) -> None:
    note = next(Path(work.options().dataset, "made_from", "train").iterdir())
    note.write_text(text)
    assert work.convert() == (1, 5)


@pytest.mark.slow
def test_three_images_that_are_mended_change_only_their_shards(work: Work) -> None:
    mended = ["3.jpg", "7.jpg", "21.jpg"]
    shards = len({work.shard_of(name) for name in mended})
    good = [(work.folder / "images" / name).read_bytes() for name in mended]
    for name in mended:
        (work.folder / "images" / name).write_bytes(b"<html>")
    assert work.convert() == (shards, 6 - shards)
    info = metadata.load(work.options().dataset)
    assert (info.num_examples, info.rejects) == (37, {"not_an_image": 3})
    assert work.convert() == (0, 6)
    for name, data in zip(mended, good, strict=True):
        (work.folder / "images" / name).write_bytes(data)
    assert work.convert() == (shards, 6 - shards)
    assert metadata.load(work.options().dataset).num_examples == 40


def test_rejected_images_are_tried_again_though_nothing_tells_that_they_changed(work: Work) -> None:
    path = work.folder / "images/7.jpg"
    data, time = path.read_bytes(), path.stat().st_mtime_ns + 1
    path.write_bytes(b"x" * len(data))
    os.utime(path, ns=(time, time))
    assert work.convert() == (1, 5)
    path.write_bytes(data)
    os.utime(path, ns=(time, time))
    assert work.convert() == (1, 5)


@pytest.mark.slow
def test_lines_of_rejects_are_those_of_the_new_csv(work: Work) -> None:
    (work.folder / "images/7.jpg").write_bytes(b"<html>")
    assert work.convert() == (1, 5)
    header, *rows = (work.folder / "labels.csv").read_text().splitlines()
    (work.folder / "labels.csv").write_text("\n".join([header, "", "", *rows]))
    assert work.convert() == (0, 6)
    assert "11,7.jpg,not_an_image" in work.data()["rejects.csv"].decode()


@pytest.mark.slow
def test_what_a_refused_conversion_wrote_is_kept_for_the_next(work: Work) -> None:
    before = work.data()
    for i in (7, 8):
        (work.folder / f"images/{i}.jpg").write_bytes(b"<html>")
    with pytest.raises(UserError, match="2 of 40 rows were rejected"):
        work.convert(max_rejects=0)
    assert work.data() == before
    assert work.convert() == (0, 6)


@pytest.mark.slow
def test_shards_that_others_left_empty_are_found_again(work: Work) -> None:
    """A shard whose images are all bad is not written, and those after it get other numbers than were planned."""
    members = [n for n in _NAMES if work.shard_of(n) == work.shard_of("7.jpg")]
    times = {}
    for name in members:
        path = work.folder / "images" / name
        times[name] = path.read_bytes()
        path.write_bytes(b"<html>")
    assert work.convert() == (1, 5)
    assert len(metadata.load(work.options().dataset).split("train").shards) == 3
    assert work.convert() == (0, 6)
    for name, data in times.items():
        (work.folder / "images" / name).write_bytes(data)
    assert work.convert() == (1, 5)


def test_a_note_that_names_a_file_outside_of_the_dataset_is_not_believed(work: Work) -> None:
    dataset = Path(work.options().dataset)
    planned = "train/train-00000-of-00004.tfrecord"
    note = dataset / "made_from" / planned.replace(".tfrecord", ".json")
    fields = json.loads(note.read_text())
    del fields["sha256"]
    # The same bytes, where the shard could be taken from.
    (work.folder / "secret.tfrecord").write_bytes((dataset / planned).read_bytes())
    fields["shard"]["path"] = "../../../secret.tfrecord"
    text = json.dumps(fields, ensure_ascii=False)
    note.write_text(f'{text[:-1]}, "sha256": "{hashlib.sha256(text.encode()).hexdigest()}"}}\n')
    assert provenance.Provenance.read(str(dataset), planned) is None
    assert work.convert() == (1, 5)
