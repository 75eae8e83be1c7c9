"""A shard is a function of its rows and their files: not of their order, nor of the number of threads."""

import contextlib
import dataclasses
import hashlib
import io
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from converter.rejects import Reason, Reject
from converter.shards import writing
from converter.shards.writing import ShardResult, Source
from converter.splits import assignment
from converter.table.row import Row
from multihot import storage
from multihot.images import prove
from multihot.images.prove import Preparation
from schemas import example
from schemas.metadata import ShardInfo
from schemas.statistics import Statistics

Draw = Callable[..., bytes]

_AS_IT_IS = prove.Preparation(max_pixels=10**6)


@pytest.fixture
def sources(scenes: Path, labels_of: Mapping[str, tuple[int, ...]]) -> list[Source]:
    """Returns a row and a file for each image of `scenes`."""
    files = {file.name: file for file in storage.list_files(str(scenes / "images"))}
    return [
        Source(Row("a.csv", line, name, bytes(labels), "train", name), files[name])
        for line, (name, labels) in enumerate(labels_of.items(), start=2)
    ]


def _write(
    folder: Path,
    sources: list[Source],
    num_threads: int = 2,
    preparation: prove.Preparation = _AS_IT_IS,
    has_unknown: bool = False,
    check: Callable[[], None] = lambda: None,
) -> ShardResult:
    folder.mkdir(parents=True, exist_ok=True)
    written = writing.write_shard(
        str(folder),
        published=f"{folder}/published",
        split="train",
        index=1,
        num_shards=3,
        sources=iter(sources),
        num_threads=num_threads,
        preparation=preparation,
        has_unknown=has_unknown,
        check=check,
    )
    # Each attempt has a name of its own.
    return dataclasses.replace(written, attempt="")


def _files(folder: Path) -> dict[str, bytes]:
    """Returns the files of a shard by their path in the dataset, without the name of the attempt."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {re.sub(r"attempts/(train)(-[-\w]+)/[0-9a-f]{32}", r"\1/\1\2", name): data for name, data in found.items()}


def _shard(folder: Path) -> str:
    (path,) = folder.glob("attempts/train-00001-of-00003/*.tfrecord")
    return str(path)


def _bad(folder: Path, name: str, content: bytes, line: int) -> Source:
    (folder / name).write_bytes(content)
    return Source(
        Row("a.csv", line, name, b"\1\0\0\0\0", "train", name), storage.File(name, str(folder / name), len(content))
    )


def test_writes_a_shard_and_its_index_and_nothing_else(tmp_path: Path, sources: list[Source]) -> None:
    result = _write(tmp_path, sources)
    files = _files(tmp_path)
    shard, index = "train/train-00001-of-00003.tfrecord", "index/train/train-00001-of-00003.tfindex"
    assert files.keys() == {shard, index, "made_from/train/train-00001-of-00003.json"}
    assert result.shard == ShardInfo(
        path=shard,
        num_examples=24,
        num_bytes=len(files[shard]) - 24 * 16,
        sha256=hashlib.sha256(files[shard]).hexdigest(),
    )
    assert (result.split, result.index, result.rejects) == ("train", 1, ())


def test_holds_every_image_as_it_is_in_the_order_of_positions(tmp_path: Path, sources: list[Source]) -> None:
    _write(tmp_path, sources)
    records = tf.data.TFRecordDataset(_shard(tmp_path)).as_numpy_iterator()
    ordered = sorted(sources, key=lambda source: assignment.position(source.row.filename))
    assert [source.row.filename for source in ordered] != [source.row.filename for source in sources]
    for record, source in zip(records, ordered, strict=True):
        data = Path(source.file.path).read_bytes()
        size = prove.prepare(data, _AS_IT_IS)
        assert record == example.encode(
            image=data, height=size.height, width=size.width, labels=source.row.labels, filename=source.row.filename
        )


def test_index_finds_every_record(tmp_path: Path, sources: list[Source]) -> None:
    _write(tmp_path, sources)
    files = _files(tmp_path)
    shard = files["train/train-00001-of-00003.tfrecord"]
    names = []
    for line in files["index/train/train-00001-of-00003.tfindex"].decode().splitlines():
        offset, size = map(int, line.split())
        parsed = tf.train.Example.FromString(shard[offset + 12 : offset + size - 4])
        names.append(parsed.features.feature["filename"].bytes_list.value[0].decode())
    assert sorted(names) == sorted(source.row.filename for source in sources)


def test_counts_what_it_wrote(tmp_path: Path, sources: list[Source], labels_of: Mapping[str, tuple[int, ...]]) -> None:
    statistics = _write(tmp_path, sources).provenance.statistics
    assert statistics.num_examples == 24
    assert statistics.formats == {"bmp": 1, "gif": 1, "jpeg": 19, "png": 2, "webp": 1}
    assert statistics.positives == tuple(map(sum, zip(*labels_of.values(), strict=True)))
    assert (statistics.width.minimum, statistics.width.maximum) == (24, 24 + 3 * 23)
    assert (statistics.height.minimum, statistics.height.maximum) == (64 - 23, 64)
    assert statistics.image_bytes.total == sum(source.file.size for source in sources)


@pytest.mark.parametrize("num_threads", [1, 3, 16])
def test_the_same_bytes_for_any_order_and_number_of_threads(
    tmp_path: Path, sources: list[Source], num_threads: int
) -> None:
    expected = _write(tmp_path / "a", sources)
    random.Random(num_threads).shuffle(sources)
    assert _write(tmp_path / "b", sources, num_threads) == expected
    assert _files(tmp_path / "a") == _files(tmp_path / "b")


def test_what_is_encoded_anew_is_stored_counted_and_the_same_on_any_number_of_threads(
    tmp_path: Path, images: Path, sources: list[Source], draw: Draw
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = [_bad(images, f"turned{i}.jpg", draw(i, width=30 + i, exif=exif), 40 + i) for i in range(6)]
    preparation = Preparation(max_pixels=10**6, resize_shorter=33)
    results = [_write(tmp_path / str(n), [*turned, *sources], n, preparation) for n in (1, 3)]
    assert results[0] == results[1]
    assert _files(tmp_path / "1") == _files(tmp_path / "3")
    statistics = results[0].provenance.statistics
    assert (statistics.num_examples, statistics.oriented) == (30, 6)
    # Of `scenes` these are the ones more than 33 wide and high; those that are turned are 32 pixels high.
    assert statistics.resized == sum(min(24 + 3 * i, 64 - i) > 33 for i in range(24)) == 20
    assert (statistics.width.minimum, statistics.height.minimum) == (24, 30)
    assert max(statistics.width.minimum, statistics.height.minimum) <= 33
    assert statistics.formats == {"jpeg": 26, "png": 4}
    records = tf.data.TFRecordDataset(_shard(tmp_path / "1")).as_numpy_iterator()
    stored = [tf.train.Example.FromString(record).features.feature for record in records]
    assert statistics.image_bytes.total == sum(len(one["image"].bytes_list.value[0]) for one in stored)
    for one in stored:
        with Image.open(io.BytesIO(one["image"].bytes_list.value[0])) as image:
            size = (one["image/width"].int64_list.value[0], one["image/height"].int64_list.value[0])
            assert image.size == size


def test_bad_images_are_rejected_and_the_others_written(
    tmp_path: Path, images: Path, sources: list[Source], draw: Draw
) -> None:
    bad = [
        _bad(images, "cut.jpg", draw()[:-100], 30),
        _bad(images, "page.jpg", b"<html>", 31),
        _bad(images, "scan.jpg", draw(file_format="TIFF"), 32),
        Source(
            Row("a.csv", 33, "gone.jpg", b"\0" * 5, "train", "gone.jpg"),
            storage.File("gone.jpg", str(images / "gone.jpg"), 9),
        ),
    ]
    result = _write(tmp_path / "with", [bad[0], *sources[:10], *bad[1:], *sources[10:]])
    without = _write(tmp_path / "without", sources)
    files, expected = _files(tmp_path / "with"), _files(tmp_path / "without")
    made_from = "made_from/train/train-00001-of-00003.json"
    assert files.pop(made_from) != expected.pop(made_from)
    assert files == expected
    assert (result.shard, result.provenance.statistics) == (without.shard, without.provenance.statistics)
    rejects = {reject.filename: reject for reject in result.rejects}
    assert {name: (reject.line, reject.reason) for name, reject in rejects.items()} == {
        "cut.jpg": (30, Reason.CORRUPT_IMAGE),
        "page.jpg": (31, Reason.NOT_AN_IMAGE),
        "scan.jpg": (32, Reason.UNSUPPORTED_FORMAT),
        "gone.jpg": (33, Reason.MISSING_FILE),
    }
    assert rejects["gone.jpg"].detail == "the file was there when the folder was listed, and is gone"


def test_a_shard_without_a_good_image_leaves_no_empty_file(tmp_path: Path, images: Path) -> None:
    bad = [_bad(images, f"{i}.jpg", b"text", line=i) for i in range(2, 5)]
    result = _write(tmp_path / "out", bad)
    assert _files(tmp_path / "out").keys() == {"made_from/train/train-00001-of-00003.json"}
    assert (result.shard, result.provenance.statistics) == (None, Statistics(positives=(0,) * 5))
    assert result.rejects == tuple(
        Reject("a.csv", i, f"{i}.jpg", Reason.NOT_AN_IMAGE, "starts with b'text'")
        for i in sorted(range(2, 5), key=lambda i: assignment.position(f"{i}.jpg"))
    )


def test_a_shard_that_is_read_back_as_something_else_does_not_count(
    tmp_path: Path, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    create = storage.create

    @contextlib.contextmanager
    def failing_disk(path: str, below: str) -> Iterator[Any]:
        with create(path, below) as file:
            yield file
        if path.endswith(".tfrecord"):
            data = Path(path).read_bytes()
            Path(path).write_bytes(data[:99] + b"?" + data[100:])

    monkeypatch.setattr(storage, "create", failing_disk)
    with pytest.raises(OSError, match="does not read back as it was written"):
        _write(tmp_path, sources)
    monkeypatch.undo()
    assert not (tmp_path / "made_from").exists()
    assert not _write(tmp_path, sources).reused


def test_a_defect_while_reading_leaves_no_file(
    tmp_path: Path, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(data: bytes, preparation: prove.Preparation) -> None:
        raise RuntimeError(len(data))

    monkeypatch.setattr(prove, "prepare", fail)
    with pytest.raises(RuntimeError):
        _write(tmp_path, sources)
    assert _files(tmp_path) == {}


@pytest.mark.parametrize("when", ["before the shard", "before the index"])
def test_a_late_attempt_does_not_make_a_folder_again_that_was_deleted(
    when: str, tmp_path: Path, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write = tmp_path / "incomplete", storage.write

    def deleted_before(*given: Any, **named: Any) -> None:
        monkeypatch.setattr(storage, "write", write)
        shutil.rmtree(folder)
        write(*given, **named)

    if when == "before the index":
        monkeypatch.setattr(storage, "write", deleted_before)
    with pytest.raises(FileNotFoundError):
        _write(folder, sources, check=lambda: shutil.rmtree(folder) if when == "before the shard" else None)
    assert not folder.exists()


def test_a_shard_is_reused_only_for_the_same_preparation(tmp_path: Path, sources: list[Source]) -> None:
    others = [Preparation(max_pixels=10**6, resize_shorter=33), Preparation(max_pixels=10**6 + 1)]
    for other in (_AS_IT_IS, *others):
        assert not _write(tmp_path, sources, preparation=other).reused
        assert _write(tmp_path, sources, preparation=other).reused


def test_a_shard_is_reused_only_with_the_same_features(tmp_path: Path, sources: list[Source]) -> None:
    for has_unknown in (False, True):
        assert not _write(tmp_path, sources, has_unknown=has_unknown).reused
        assert _write(tmp_path, sources, has_unknown=has_unknown).reused


def test_an_unknown_label_is_written_only_where_a_feature_says_so(tmp_path: Path, sources: list[Source]) -> None:
    (row, file), *others = sources
    unknown = [Source(row._replace(labels=bytes([example.UNKNOWN]) * 5), file), *others]
    assert _write(tmp_path, unknown, has_unknown=True).provenance.statistics.unknown == (1,) * 5
    with pytest.raises(ValueError, match="has an unknown label"):
        _write(tmp_path / "plain", unknown)
