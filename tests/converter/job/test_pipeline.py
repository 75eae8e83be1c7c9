"""Conversions from end to end, on the runner that is the default."""

import csv
import errno
import hashlib
import io
import json
import os
import random
import re
import shutil
import unicodedata
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

import trees
from converter.job import publishing
from converter.parsing import DEFAULT_SPLITS, parse_splits
from converter.splits import assignment
from multihot import storage
from multihot.errors import UserError
from schemas import metadata, tfds, tfx
from schemas.metadata import DatasetInfo

Convert = Callable[..., DatasetInfo]
Draw = Callable[..., bytes]
WriteCsv = Callable[..., Path]
ReadShards = Callable[[Path, DatasetInfo, str], list[Any]]
Labels = Mapping[str, tuple[int, ...]]

_CLASSES = ("desert", "mountains", "sea", "sunset", "trees")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _read_all(folder: Path, read_shards: ReadShards) -> dict[str, list[Any]]:
    info = metadata.load(str(folder))
    return {split.name: read_shards(folder, info, split.name) for split in info.splits}


def _membership(folder: Path, read_shards: ReadShards) -> dict[str, str]:
    splits = _read_all(folder, read_shards)
    return {stored.filename: split for split, examples in splits.items() for stored in examples}


def test_layout_of_a_dataset(dataset: Path) -> None:
    assert sorted(_files(dataset)) == [
        "conversion.json",
        "dataset_info.json",
        "duplicates.csv",
        "features.json",
        "index/train/train-00000-of-00003.tfindex",
        "index/train/train-00001-of-00003.tfindex",
        "index/train/train-00002-of-00003.tfindex",
        "index/validation/validation-00000-of-00001.tfindex",
        "made_from/train/train-00000-of-00003.json",
        "made_from/train/train-00001-of-00003.json",
        "made_from/train/train-00002-of-00003.json",
        "made_from/validation/validation-00000-of-00001.json",
        "manifest.json",
        "metadata.json",
        "rejects.csv",
        "report.html",
        "schema.pbtxt",
        "statistics.pb",
        "train/train-00000-of-00003.tfrecord",
        "train/train-00001-of-00003.tfrecord",
        "train/train-00002-of-00003.tfrecord",
        "unlisted.csv",
        "validation/validation-00000-of-00001.tfrecord",
    ]
    assert [path.name for path in dataset.parent.iterdir()] == ["1.0.0"]


def test_every_image_is_stored_as_it_is(
    dataset: Path, scenes: Path, labels_of: Labels, read_shards: ReadShards
) -> None:
    stored = [one for examples in _read_all(dataset, read_shards).values() for one in examples]
    assert sorted(one.filename for one in stored) == sorted(labels_of)
    for one in stored:
        data = (scenes / "images" / one.filename).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            assert (one.width, one.height) == image.size
        assert one.image == data
        assert one.labels == labels_of[one.filename]


def test_images_stand_where_their_names_say(dataset: Path, labels_of: Labels, read_shards: ReadShards) -> None:
    splits = parse_splits(DEFAULT_SPLITS)
    for split, examples in _read_all(dataset, read_shards).items():
        names = [name for name in labels_of if assignment.split(name, splits) == split]
        assert [one.filename for one in examples] == sorted(names, key=assignment.position)


def test_the_manifest_says_what_is_on_disk(dataset: Path) -> None:
    info = metadata.load(str(dataset))
    assert (info.name, info.version, info.classes, info.rejects) == ("scenes", "1.0.0", _CLASSES, {})
    assert [(split.name, len(split.shards)) for split in info.splits] == [("train", 3), ("validation", 1)]
    assert info.num_examples == 24
    for split in info.splits:
        assert split.statistics.num_examples == split.num_examples
        for shard in split.shards:
            content = (dataset / shard.path).read_bytes()
            index = (dataset / "index" / shard.path.replace(".tfrecord", ".tfindex")).read_text()
            assert shard.sha256 == hashlib.sha256(content).hexdigest()
            assert shard.num_examples == len(index.splitlines())
            assert shard.num_bytes == len(content) - 16 * shard.num_examples


def test_the_other_metadata_agree_with_the_manifest(dataset: Path) -> None:
    info = metadata.load(str(dataset))
    for name, text in tfds.files(info).items():
        assert (dataset / name).read_text(encoding="utf-8") == text
    assert (dataset / "schema.pbtxt").read_text(encoding="utf-8") == tfx.schema(info)
    assert (dataset / "statistics.pb").read_bytes() == tfx.statistics(info)
    assert (dataset / "rejects.csv").read_text() == "csv,line,filename,reason,detail\n"


def test_only_one_file_says_when_and_where_it_was_made(dataset: Path, scenes: Path) -> None:
    conversion = json.loads((dataset / "conversion.json").read_text())
    assert conversion["csv"] == f"{scenes}/labels.csv"
    assert conversion["images"] == f"{scenes}/images"
    assert conversion["started"] <= conversion["finished"]
    assert conversion["splits"] == {"train": "4/5", "validation": "1/5"}
    for name, content in trees.data(dataset).items():
        assert str(scenes).encode() not in content, name
        assert conversion["started"][:10].encode() not in content, name


def test_returns_what_it_wrote(convert: Convert, tmp_path: Path) -> None:
    assert convert() == metadata.load(f"{tmp_path}/out/scenes/1.0.0")


def test_both_kinds_of_csv_give_the_same_dataset(convert: Convert, scenes: Path, tmp_path: Path, dataset: Path) -> None:
    convert(csv=scenes / "names.csv", classes=_CLASSES, num_shards={"train": 3, "validation": 1})
    assert trees.data(tmp_path / "out/scenes/1.0.0") == trees.data(dataset)


def test_order_of_rows_and_number_of_threads_do_not_matter(
    convert: Convert, scenes: Path, tmp_path: Path, dataset: Path, write_csv: WriteCsv
) -> None:
    header, *rows = csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines())
    random.Random(0).shuffle(rows)
    path = write_csv(tmp_path / "shuffled.csv", [header, *rows], delimiter=";", lineterminator="\r\n")
    convert(csv=path, num_threads=7, num_shards={"train": 3, "validation": 1})
    assert trees.data(tmp_path / "out/scenes/1.0.0") == trees.data(dataset)


def test_a_csv_in_parts_gives_the_same_dataset(
    convert: Convert, scenes: Path, tmp_path: Path, dataset: Path, write_csv: WriteCsv
) -> None:
    header, *rows = csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines())
    for i in range(3):
        part = [header, *rows[i::3]] if i else [[row[-1], *row[:-1]] for row in [header, *rows[i::3]]]
        (tmp_path / "parts").mkdir(exist_ok=True)
        write_csv(tmp_path / "parts" / f"{9 - i}.csv", part)
    convert(csv=tmp_path / "parts" / "*.csv", num_shards={"train": 3, "validation": 1})
    assert trees.data(tmp_path / "out/scenes/1.0.0") == trees.data(dataset)


def test_parquet_gives_the_same_dataset(convert: Convert, scenes: Path, tmp_path: Path, dataset: Path) -> None:
    header, *rows = csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines())
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    pq.write_table(
        pa.table({name: [int(c) for c in cells] if name in _CLASSES else cells for name, cells in columns.items()}),
        tmp_path / "a.parquet",
    )
    convert(csv=tmp_path / "a.parquet", num_shards={"train": 3, "validation": 1})
    assert trees.data(tmp_path / "out/scenes/1.0.0") == trees.data(dataset)


def test_order_of_columns_does_not_matter_when_classes_are_given(
    convert: Convert, scenes: Path, tmp_path: Path, dataset: Path, write_csv: WriteCsv
) -> None:
    rows = [row[::-1] for row in csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines())]
    path = write_csv(tmp_path / "reversed.csv", rows)
    convert(csv=path, filename_column="file", classes=_CLASSES, num_shards={"train": 3, "validation": 1})
    assert trees.data(tmp_path / "out/scenes/1.0.0") == trees.data(dataset)


def test_added_rows_move_no_image(
    convert: Convert, scenes: Path, tmp_path: Path, dataset: Path, read_shards: ReadShards, write_csv: WriteCsv
) -> None:
    rows = list(csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines()))
    convert(csv=write_csv(tmp_path / "some.csv", rows[:14]))
    before = _membership(tmp_path / "out/scenes/1.0.0", read_shards)
    after = _membership(dataset, read_shards)
    assert len(before) == 13
    assert {name: after[name] for name in before} == before


def test_splits_of_a_column(
    convert: Convert, scenes: Path, tmp_path: Path, read_shards: ReadShards, write_csv: WriteCsv
) -> None:
    rows = list(csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines()))
    parts = ["part", *("zebra" if i % 3 else "alpha" for i in range(24))]
    path = write_csv(tmp_path / "parts.csv", [[*row, part] for row, part in zip(rows, parts, strict=True)])
    info = convert(csv=path, split_column="part")
    assert [(split.name, split.num_examples) for split in info.splits] == [("alpha", 8), ("zebra", 16)]
    assert info.classes == _CLASSES
    membership = _membership(tmp_path / "out/scenes/1.0.0", read_shards)
    assert membership == {row[0]: part for row, part in zip(rows[1:], parts[1:], strict=True)}


def test_splits_stand_in_the_order_of_the_flag(convert: Convert) -> None:
    info = convert(splits=parse_splits("zebra=0.4,alpha=0.6"))
    assert [split.name for split in info.splits] == ["zebra", "alpha"]
    assert info.num_examples == 24


def test_a_split_without_an_image_is_left_out(convert: Convert, tmp_path: Path) -> None:
    info = convert(splits=(("train", 1 - Fraction(1, 10**9)), ("tiny", Fraction(1, 10**9))))
    assert [split.name for split in info.splits] == ["train"]
    assert not (tmp_path / "out/scenes/1.0.0/tiny").exists()


@pytest.mark.parametrize(
    ("options", "shards"),
    [
        pytest.param({}, {"train": 1, "validation": 1}, id="few images", marks=pytest.mark.slow),
        pytest.param(
            {"num_shards": {"": 2}}, {"train": 2, "validation": 2}, id="a number for all splits", marks=pytest.mark.slow
        ),
        pytest.param({"num_shards": {"train": 4}}, {"train": 4, "validation": 1}, id="a number for one split"),
    ],
)
def test_number_of_shards(convert: Convert, options: dict[str, Any], shards: dict[str, int]) -> None:
    assert {split.name: len(split.shards) for split in convert(**options).splits} == shards


def test_shards_of_a_size(convert: Convert, scenes: Path, labels_of: Labels) -> None:
    total = sum((scenes / "images" / name).stat().st_size for name in labels_of)
    info = convert(shard_bytes=total // 4, splits=(("all", Fraction(1)),))
    # A quarter of all bytes makes four or five shards, of which the number stands in each name.
    (split,) = info.splits
    assert len(split.shards) in {4, 5}
    assert [shard.path for shard in split.shards] == [
        f"all/all-{i:05d}-of-{len(split.shards):05d}.tfrecord" for i in range(len(split.shards))
    ]


def test_more_shards_than_images_leave_no_gap_and_no_empty_shard(
    convert: Convert, tmp_path: Path, read_shards: ReadShards, labels_of: Labels
) -> None:
    info = convert(num_shards={"": 100})
    shards = [shard for split in info.splits for shard in split.shards]
    assert all(shard.num_examples for shard in shards)
    for split in info.splits:
        of = len(split.shards)
        assert [shard.path for shard in split.shards] == [
            f"{split.name}/{split.name}-{i:05d}-of-{of:05d}.tfrecord" for i in range(of)
        ]
    files = _files(tmp_path / "out/scenes/1.0.0")
    assert sorted(name for name in files if name.endswith(".tfrecord")) == sorted(shard.path for shard in shards)
    assert len([name for name in files if name.endswith(".tfindex")]) == len(shards)
    assert _membership(tmp_path / "out/scenes/1.0.0", read_shards).keys() == labels_of.keys()


def test_a_name_is_found_however_it_is_spelled(convert: Convert, tmp_path: Path, images: Path, draw: Draw) -> None:
    decomposed = unicodedata.normalize("NFD", "été/바다.jpg")
    for name in (decomposed, "a b.JPG"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes(draw())
    (tmp_path / "labels.csv").write_text("file,x,y\n.\\été\\바다.jpg,1,0\n a b.JPG ,0,1\n", encoding="utf-8")
    info = convert(csv=tmp_path / "labels.csv", images=images)
    assert (info.num_examples, info.rejects, info.unlisted) == (2, {}, 0)


def test_a_row_that_may_mean_two_files_of_one_name_is_rejected(
    convert: Convert, tmp_path: Path, images: Path, draw: Draw
) -> None:
    for form in ("NFC", "NFD"):
        (images / unicodedata.normalize(form, "été.jpg")).write_bytes(draw(len(form)))
    if len(list(images.iterdir())) < 2:
        pytest.skip("this file system takes both for one")
    (images / "a.jpg").write_bytes(draw())
    (tmp_path / "labels.csv").write_text("file,x,y\nété.jpg,1,0\na.jpg,1,0\n", encoding="utf-8")
    info = convert(csv=tmp_path / "labels.csv", images=images, max_rejects=1)
    assert (info.num_examples, info.rejects, info.unlisted) == (1, {"ambiguous_name": 1}, 0)


def test_rows_that_disagree_are_rejected_in_every_order(
    convert: Convert, scenes: Path, tmp_path: Path, write_csv: WriteCsv
) -> None:
    header, *rows = csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines())
    rows.append([rows[0][0], *("1" if label == "0" else "0" for label in rows[0][1:])])
    for version, order in (("1.0.0", rows), ("2.0.0", rows[::-1])):
        info = convert(csv=write_csv(tmp_path / "twice.csv", [header, *order]), version=version, max_rejects=2)
        assert (info.num_examples, info.rejects) == (23, {"conflicting_rows": 2})
    shards = [
        {name: content for name, content in trees.data(tmp_path / "out/scenes" / version).items() if "train" in name}
        for version in ("1.0.0", "2.0.0")
    ]
    assert shards[0] == shards[1]


def test_files_that_no_row_names_are_counted(
    convert: Convert, scenes: Path, tmp_path: Path, write_csv: WriteCsv
) -> None:
    rows = list(csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines()))
    assert convert().unlisted == 0
    assert convert(csv=write_csv(tmp_path / "some.csv", rows[:20]), version="1.0.1").unlisted == 5


def test_files_that_no_row_can_name_are_counted(convert: Convert, tmp_path: Path, images: Path, draw: Draw) -> None:
    (tmp_path / "labels.csv").write_text("file,a\n1.jpg,1\n")
    (images / "1.jpg").write_bytes(draw())
    try:
        (images / os.fsdecode(b"\xff.jpg")).write_bytes(draw())
    except OSError:
        pytest.skip("this file system knows no such names")
    assert convert(csv=tmp_path / "labels.csv", images=images).unlisted == 1
    assert (tmp_path / "out/scenes/1.0.0/unlisted.csv").read_text() == "filename\n\\udcff.jpg\n"


def test_a_dataset_in_the_folder_of_images_is_none_of_them(
    convert: Convert, tmp_path: Path, images: Path, draw: Draw
) -> None:
    (images / "1.jpg").write_bytes(draw())
    (images / "labels.csv").write_text("file,a\n1.jpg,1\n")
    left = images / "out/scenes/1.0.0.incomplete/train"
    left.mkdir(parents=True)
    (left / "train-00000-of-00001.tfrecord").write_bytes(b"of a run that was killed")
    (tmp_path / "link").symlink_to(images)
    given = {"csv": images / "labels.csv", "images": tmp_path / "link", "output": images / "out"}
    assert [convert(**given, overwrite=overwrite).unlisted for overwrite in (False, True)] == [0, 0]


@pytest.mark.parametrize("ending", ["", ".incomplete", ".replaced"])
@pytest.mark.parametrize(
    ("images", "labels"),
    [(".", "../../../labels.csv"), ("images", "../../../labels.csv"), ("../../../images", "labels.csv")],
)
def test_nothing_is_read_from_where_it_would_be_deleted(
    convert: Convert, tmp_path: Path, draw: Draw, ending: str, images: str, labels: str
) -> None:
    folder = tmp_path / f"out/scenes/1.0.0{ending}"
    folder.mkdir(parents=True)
    (folder / images).mkdir(exist_ok=True)
    (folder / images / "1.jpg").write_bytes(draw())
    (folder / labels).write_text("file,a\n1.jpg,1\n")
    before = _files(tmp_path)
    with pytest.raises(UserError, match=r"is in .*, which is replaced or deleted. Choose another --output"):
        convert(csv=folder / labels, images=folder / images, overwrite=True)
    assert _files(tmp_path) == before


@pytest.mark.parametrize(
    "overwrite",
    [
        pytest.param(False, id="without --overwrite"),
        pytest.param(True, id="with --overwrite", marks=pytest.mark.slow),
    ],
)
def test_two_conversions_do_not_mix(convert: Convert, tmp_path: Path, overwrite: bool) -> None:
    with publishing.locked(f"{tmp_path}/out/scenes"):
        with pytest.raises(UserError, match=rf"^Another conversion is running in {tmp_path}/out/scenes\. Wait"):
            convert(overwrite=overwrite)
        assert _files(tmp_path) == {}
        convert(name="others")
    convert(overwrite=overwrite)
    assert sorted(path.name for path in (tmp_path / "out/scenes").iterdir()) == ["1.0.0"]


def test_a_dataset_is_not_overwritten(convert: Convert, tmp_path: Path) -> None:
    convert()
    before = _files(tmp_path)
    with pytest.raises(UserError, match=r"scenes/1\.0\.0 is a dataset already.*--overwrite"):
        convert(num_shards={"": 2})
    assert _files(tmp_path) == before


def test_overwrite_replaces_a_dataset(convert: Convert, tmp_path: Path) -> None:
    convert(num_shards={"": 4})
    convert(overwrite=True)
    shards = sorted(name for name in _files(tmp_path) if name.endswith(".tfrecord"))
    assert shards == [
        "out/scenes/1.0.0/train/train-00000-of-00001.tfrecord",
        "out/scenes/1.0.0/validation/validation-00000-of-00001.tfrecord",
    ]
    assert [path.name for path in (tmp_path / "out/scenes").iterdir()] == ["1.0.0"]


def test_other_versions_are_left_alone(convert: Convert, tmp_path: Path) -> None:
    convert()
    before = _files(tmp_path / "out/scenes/1.0.0")
    convert(version="1.1.0", num_shards={"": 2})
    assert _files(tmp_path / "out/scenes/1.0.0") == before
    assert {path.name for path in (tmp_path / "out/scenes").iterdir()} == {"1.0.0", "1.1.0"}


def test_what_an_earlier_run_left_is_cleared_away(convert: Convert, tmp_path: Path) -> None:
    left = tmp_path / "out/scenes/1.0.0.incomplete"
    (left / "train").mkdir(parents=True)
    (left / "train/train-00000-of-00001.tfrecord").write_bytes(b"half")
    (left / "failure.json").write_text('{"message": "an old failure"}')
    convert()
    assert [path.name for path in (tmp_path / "out/scenes").iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
    ("overwrite", "fails"),
    [
        pytest.param(False, "attempts/train-00000-of-00001/.*tfrecord", id="a shard"),
        pytest.param(
            True, "attempts/validation-00000-of-00001/.*tfindex", id="an index, in an overwrite", marks=pytest.mark.slow
        ),
        pytest.param(False, "schema.pbtxt", id="metadata", marks=pytest.mark.slow),
        pytest.param(True, "manifest.json", id="the manifest, in an overwrite", marks=pytest.mark.slow),
    ],
)
def test_a_file_that_cannot_be_written_leaves_what_was_there(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool, fails: str
) -> None:
    if overwrite:
        convert(num_shards={"": 2})
    before = _files(tmp_path)
    create = storage.create

    def full(path: str, below: str = "") -> Any:
        if re.search(f"{fails}$", path):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return create(path, below)

    monkeypatch.setattr(storage, "create", full)
    with pytest.raises(OSError, match=f"No space left on device: .*{fails}"):
        convert(overwrite=overwrite)
    after = _files(tmp_path)
    assert {name: content for name, content in after.items() if ".incomplete/" not in name} == before
    assert "out/scenes/1.0.0.incomplete/manifest.json" not in after
    # And the same again finishes the work.
    monkeypatch.undo()
    convert(overwrite=overwrite)
    assert [path.name for path in (tmp_path / "out/scenes").iterdir()] == ["1.0.0"]


def test_an_image_that_is_cut_while_it_is_read_never_reaches_a_shard(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels_of: Labels, read_shards: ReadShards
) -> None:
    read = storage.read
    monkeypatch.setattr(
        storage, "read", lambda path, *most: read(path, *most)[: -50 if path.endswith("/7.jpg") else None]
    )
    info = convert(max_rejects=1)
    assert info.rejects == {"corrupt_image": 1}
    assert _membership(tmp_path / "out/scenes/1.0.0", read_shards).keys() == labels_of.keys() - {"7.jpg"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"csv": "missing.csv"}, "Cannot read .*missing.csv", id="no CSV"),
        pytest.param({"images": "missing"}, "--images: there is no folder .*missing", id="no folder of images"),
        pytest.param({"images": "labels.csv"}, "labels.csv", id="a file for the folder of images"),
    ],
)
def test_input_that_is_not_there(
    convert: Convert, scenes: Path, tmp_path: Path, given: dict[str, str], message: str
) -> None:
    with pytest.raises((UserError, OSError), match=message):
        convert(**{key: scenes / name for key, name in given.items()})
    assert not (tmp_path / "out/scenes/1.0.0").exists()


def test_an_output_that_cannot_be_written(convert: Convert, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=str(tmp_path / "file")):
        convert(output=tmp_path / "file")


def test_what_is_wrong_far_down_in_the_csv_is_said_in_one_sentence(
    convert: Convert, scenes: Path, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text((scenes / "labels.csv").read_text(encoding="utf-8") + '"30.jpg,1,0,0,0,0\n', encoding="utf-8")
    with pytest.raises(UserError) as caught:
        convert(csv=path)
    assert str(caught.value) == f"{path} line 26: a quoted cell that starts here is never closed."
    assert not (tmp_path / "out/scenes/1.0.0").exists()


@pytest.mark.parametrize("overwrite", [False, True], ids=["without --overwrite", "with --overwrite"])
def test_a_folder_that_is_no_dataset_is_not_touched(convert: Convert, tmp_path: Path, overwrite: bool) -> None:
    folder = tmp_path / "out" / "scenes" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="exists and is not a dataset of multihot"):
        convert(overwrite=overwrite)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_a_csv_of_blank_rows_is_said_to_be(convert: Convert, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,desert,sea\n\n,,\n")
    with pytest.raises(UserError, match="has only blank rows"):
        convert(csv=path)


@pytest.mark.parametrize("flag", ["csv", "images", "output"])
def test_a_store_without_a_client_is_one_sentence(convert: Convert, flag: str) -> None:
    with pytest.raises(UserError, match=r"^There is no client for nosuch:// here. Stores are gs://, s3://, az://$"):
        convert(**{flag: "nosuch://bucket/x"})


@pytest.mark.parametrize("flag", ["csv", "images", "output"])
def test_a_path_that_is_not_utf_8_is_one_sentence(convert: Convert, flag: str) -> None:
    with pytest.raises(UserError, match=r"^A path must be UTF-8.* Received: 'a/\\udcff'$"):
        convert(**{flag: os.fsdecode(b"a/\xff")})


def test_a_dataset_with_a_damaged_manifest_can_be_overwritten(convert: Convert, tmp_path: Path) -> None:
    info = convert()
    manifest = tmp_path / "out" / "scenes" / "1.0.0" / "manifest.json"
    manifest.write_text("{")
    assert convert(overwrite=True) == info
    assert manifest.read_text() == info.to_json()


def test_a_manifest_of_others_is_not_overwritten(convert: Convert, tmp_path: Path) -> None:
    manifest = tmp_path / "out" / "scenes" / "1.0.0" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"name": "A web site"}')
    with pytest.raises(UserError, match=r"manifest\.json is not a manifest of multihot. Choose another --output"):
        convert(overwrite=True)
    assert list(tmp_path.rglob("1.0.0/*")) == [manifest]


def test_images_are_resized_as_asked_and_the_manifest_says_so(
    convert: Convert, read_shards: ReadShards, tmp_path: Path
) -> None:
    plain = convert(output=tmp_path / "plain")
    assert (plain.resize_shorter, plain.jpeg_quality, plain.statistics.resized) == (0, 0, 0)
    info = convert(resize_shorter=33)
    assert (info.resize_shorter, info.jpeg_quality) == (33, 95)
    assert (info.statistics.oriented, info.statistics.resized) == (0, 20)
    for split in info.splits:
        for one in read_shards(tmp_path / "out/scenes/1.0.0", info, split.name):
            assert min(one.height, one.width) <= 33
            assert tf.io.decode_image(one.image).shape == (one.height, one.width, 3)


def test_images_above_the_limit_are_rejected(convert: Convert) -> None:
    info = convert(max_pixels=48 * 40, max_rejects=24)
    # The widths and heights of `scenes`.
    too_large = sum((24 + 3 * i) * (64 - i) > 48 * 40 for i in range(24))
    assert 0 < too_large < 24
    assert info.rejects == {"too_large": too_large}


def test_a_row_that_names_a_file_of_40_gb_is_rejected_unread(convert: Convert, scenes: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(scenes / "images", tmp_path / "images"))
    with (images / "huge.jpg").open("wb") as file:
        file.truncate(40_000_000_000)  # Of which the disk holds nothing.
    csv = tmp_path / "labels.csv"
    csv.write_text((scenes / "labels.csv").read_text(encoding="utf-8") + "huge.jpg,1,0,0,0,0\n", encoding="utf-8")
    info = convert(csv=csv, images=images, max_rejects=1)
    assert info.rejects == {"too_large": 1}
    rejects = (tmp_path / "out/scenes/1.0.0/rejects.csv").read_text()
    assert "the file has 40000.0 MB, and --max_image_mb=400 are allowed." in rejects
