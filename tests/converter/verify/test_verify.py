"""Faults of a dataset are found and named, down to the byte; none is found in a sound one."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.verify import dataset_checks
from converter.verify.shard_checks import check_shard
from multihot.errors import UserError
from multihot.images import prove
from schemas import derived, example, layout, metadata
from schemas.example import Example
from schemas.metadata import DatasetInfo, ShardInfo
from schemas.tfrecord import ShardReader, ShardWriter

FIRST = "train/train-00000-of-00003.tfrecord"
SECOND = "train/train-00001-of-00003.tfrecord"


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """Returns a copy of `dataset` to damage."""
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def _found(folder: Path, **options: int | None) -> list[str]:
    return [str(problem) for problem in dataset_checks.verify(str(folder), metadata.load(str(folder)), **options)]


def _offsets(folder: Path, shard: str = FIRST) -> list[tuple[int, int]]:
    """Returns the offset and the size of each record."""
    lines = (folder / layout.shard_index(shard)).read_text().splitlines()
    return [(int(offset), int(size)) for offset, size in (line.split() for line in lines)]


def _flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def _write_info(folder: Path, info: DatasetInfo) -> None:
    (folder / layout.MANIFEST).write_text(info.to_json())
    for name, content in derived.files(info).items():
        (folder / name).write_bytes(content)


def _payloads(folder: Path, shard: str = FIRST) -> list[bytes]:
    with (folder / shard).open("rb") as file:
        return [payload for _, payload in ShardReader(file)]


def _rewrite(folder: Path, payloads: Iterable[bytes], shard: str = FIRST) -> None:
    """Puts other records into a shard, with an index and a manifest that know of them, but for the statistics."""
    with (folder / shard).open("wb") as file:
        writer = ShardWriter(file)
        for payload in payloads:
            writer.write(payload)
    (folder / layout.shard_index(shard)).write_text(writer.index)
    new = ShardInfo(path=shard, num_examples=writer.num_examples, num_bytes=writer.num_bytes, sha256=writer.sha256)
    info = metadata.load(str(folder))
    splits = [
        dataclasses.replace(split, shards=tuple(new if old.path == shard else old for old in split.shards))
        for split in info.splits
    ]
    _write_info(folder, dataclasses.replace(info, splits=tuple(splits)))


def _replace_first(folder: Path, change: Callable[[Example], Example]) -> None:
    """Rewrites the first record of the first shard."""
    first, *others = _payloads(folder)
    changed = change(example.decode(first, 5))
    _rewrite(folder, [example.encode(**changed._asdict()), *others])


@pytest.mark.parametrize("decode", [None, 0, 5], ids=["all", "none", "a sample"])
@pytest.mark.parametrize("num_threads", [1, 4])
def test_nothing_is_wrong_with_what_the_converter_wrote(dataset: Path, decode: int | None, num_threads: int) -> None:
    assert _found(dataset, decode=decode, num_threads=num_threads) == []


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        pytest.param(0, "the crc of the length is wrong; what follows cannot be read", id="length"),
        pytest.param(7, "the crc of the length is wrong; what follows cannot be read", id="length, last byte"),
        pytest.param(8, "the crc of the length is wrong; what follows cannot be read", id="crc of the length"),
        pytest.param(12, "the crc of the payload is wrong", id="payload"),
        pytest.param(-5, "the crc of the payload is wrong", id="payload, last byte"),
        pytest.param(-1, "the crc of the payload is wrong", id="crc of the payload"),
    ],
)
@pytest.mark.parametrize("record", [0, 1, -1], ids=["first record", "second record", "last record"])
def test_a_flipped_bit_is_found_where_it_is(copy: Path, record: int, place: int, sentence: str) -> None:
    offset, size = _offsets(copy)[record]
    old = hashlib.sha256((copy / FIRST).read_bytes()).hexdigest()
    _flip(copy / FIRST, offset + place % size)
    new = hashlib.sha256((copy / FIRST).read_bytes()).hexdigest()
    assert _found(copy) == [
        f"{FIRST} at byte {offset}: {sentence}",
        f"{FIRST}: its sha256 is {new}; the manifest says {old}",
    ]


def test_every_damaged_payload_of_a_shard_is_listed(copy: Path) -> None:
    offsets = [offset for offset, _ in _offsets(copy)]
    for offset in offsets:
        _flip(copy / FIRST, offset + 40)
    found = [
        problem for problem in dataset_checks.verify(str(copy), metadata.load(str(copy))) if problem.offset is not None
    ]
    assert [problem.offset for problem in found] == offsets


@given(data=st.data())
@settings(max_examples=50)
def test_no_bytes_of_a_shard_are_a_traceback(
    dataset: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = (dataset / FIRST).read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    damaged = content[:start] + data.draw(st.binary(max_size=50)) + content[end:]
    path = tmp_path_factory.getbasetemp() / "damaged.tfrecord"
    path.write_bytes(damaged)
    shard = metadata.load(str(dataset)).splits[0].shards[0]
    problems = check_shard(str(path), shard, 5, lambda _: True).problems
    assert bool(problems) == (damaged != content)


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=100)
def test_no_record_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, payload: bytes, as_image: bool) -> None:
    if as_image:
        payload = example.encode(image=b"\xff\xd8\xff" + payload, height=1, width=1, labels=(1,), filename="a")
    path = tmp_path_factory.getbasetemp() / "record.tfrecord"
    with path.open("wb") as file:
        writer = ShardWriter(file)
        writer.write(payload)
    shard = ShardInfo(path="a", num_examples=1, num_bytes=writer.num_bytes, sha256=writer.sha256)
    checked = check_shard(str(path), shard, 1, lambda _: True)
    assert [problem.offset for problem in checked.problems] == [0]
    assert not checked.complete


@pytest.mark.parametrize("cut", [1, 30, 4000])
def test_a_cut_shard_is_found(copy: Path, cut: int) -> None:
    content = (copy / FIRST).read_bytes()
    (copy / FIRST).write_bytes(content[:-cut])
    offset = max(offset for offset, _ in _offsets(copy) if offset < len(content) - cut)
    first, second = _found(copy)
    assert first.startswith(f"{FIRST} at byte {offset}: the file ends ")
    assert "its sha256 is" in second


def test_a_shard_that_is_cut_between_records_is_found(copy: Path) -> None:
    offset, _ = _offsets(copy)[-1]
    (copy / FIRST).write_bytes((copy / FIRST).read_bytes()[:offset])
    num = len(_offsets(copy))
    found = _found(copy)
    assert f"{FIRST}: its num_examples is {num - 1}; the manifest says {num}" in found
    assert f"{layout.shard_index(FIRST)}: does not have the content that follows from the shard" in found
    assert found[-1].startswith("manifest.json: the statistics of train are not those of its examples")


def test_a_record_that_stands_twice_is_found_even_where_all_numbers_fit(copy: Path) -> None:
    payloads = _payloads(copy)
    name = example.decode(payloads[0], 5).filename
    _rewrite(copy, [*payloads, payloads[0]])
    offset, _ = _offsets(copy)[-1]
    found = _found(copy)
    assert found[0] == f"{FIRST} at byte {offset}: {name!r} is also in {FIRST}"
    assert found[1].startswith("manifest.json: the statistics of train are not those of its examples: positives,")
    assert len(found) == 2


def test_an_image_in_two_splits_is_found(copy: Path) -> None:
    shard = "validation/validation-00000-of-00001.tfrecord"
    payload = _payloads(copy)[0]
    _rewrite(copy, [*_payloads(copy, shard), payload], shard)
    assert f"{example.decode(payload, 5).filename!r} is also in {FIRST}" in "\n".join(_found(copy))


def test_swapped_shards_are_found(copy: Path) -> None:
    for folder in (copy / "train", copy / "index/train"):
        first, second = sorted(folder.iterdir())[:2]
        first.rename(folder / "aside")
        second.rename(first)
        (folder / "aside").rename(second)
    found = [line.split(" is ")[0] for line in _found(copy) if "sha256" in line]
    assert found == [f"{FIRST}: its sha256", f"{SECOND}: its sha256"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (layout.shard_index(SECOND), "does not have the content that follows from the shard"),
        *(
            (name, "does not have the content that follows from the manifest")
            for name in ("dataset_info.json", "features.json")
        ),
        *(
            (name, "does not have the content that follows from the manifest")
            for name in ("metadata.json", "schema.pbtxt")
        ),
        ("statistics.pb", "does not have the content that follows from the manifest"),
    ],
)
def test_an_edited_file_is_found(copy: Path, name: str, sentence: str) -> None:
    _flip(copy / name, 5)
    assert _found(copy) == [f"{name}: {sentence}"]


@pytest.mark.parametrize(
    "name",
    [
        FIRST,
        layout.shard_index(FIRST),
        *("dataset_info.json", "features.json", "metadata.json", "schema.pbtxt", "statistics.pb"),
        *("rejects.csv", "unlisted.csv", "conversion.json"),
    ],
)
def test_a_missing_file_is_found(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert _found(copy) == [f"{name}: is missing"]


@pytest.mark.parametrize("name", ["train/notes.txt", ".DS_Store", "train/._a", "old/1.tfrecord", "\x1b[31m"])
def test_a_stray_file_is_found(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("hello")
    shown = name.replace("\x1b", r"\x1b")
    assert _found(copy) == [f"{shown}: does not belong to a dataset; some readers take every file of a folder"]


@pytest.mark.parametrize("name", ["made_from/train/0.json", "made_from/x"])
def test_what_a_dataset_may_have_is_fine(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_text("hello")
    assert _found(copy) == []


@pytest.mark.parametrize("name", ["rejects.csv", "unlisted.csv", "duplicates.csv"])
@pytest.mark.parametrize("content", [b"\xff", b'"never closed', b"filename\n1\n", b'reason\n"a"b\n'])
def test_a_damaged_list_is_found(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    (problem,) = _found(copy, decode=0)
    assert problem.startswith((f"{name}: cannot be read: ", f"{name}: it lists 1; the manifest says 0"))


def test_a_leak_that_the_manifest_does_not_know_is_found(copy: Path) -> None:
    (copy / "duplicates.csv").write_text("group,filename,split,kind\na,a,train,near\na,b,validation,near\n")
    (problem,) = _found(copy, decode=0)
    assert problem.startswith("duplicates.csv: it lists {'num_groups': 1, 'num_images': 2}; the manifest says ")


def _edit(folder: Path, change: Callable[[Any], object]) -> None:
    fields = json.loads((folder / "manifest.json").read_text())
    del fields["sha256"]
    change(fields)
    (folder / "manifest.json").write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(
            lambda fields: fields["splits"][0]["shards"][0].update(num_examples=1),
            f"{FIRST}: its num_examples is",
            id="examples of a shard",
        ),
        pytest.param(
            lambda fields: fields["splits"][0]["shards"][0].update(num_bytes=1),
            f"{FIRST}: its num_bytes is",
            id="bytes of a shard",
        ),
        pytest.param(
            lambda fields: fields["splits"][0]["statistics"]["positives"].append(1),
            "manifest.json: the statistics of train are not those of its examples: positives",
            id="positives of one class too many",
        ),
        pytest.param(
            lambda fields: fields["splits"][0]["statistics"]["height"].update(total=10**400),
            "manifest.json: has impossible numbers:",
            id="a number that is too large",
        ),
        pytest.param(
            lambda fields: fields["splits"][0]["statistics"]["height"].update(squares=-1),
            "manifest.json: has impossible numbers:",
            id="a negative variance",
        ),
        pytest.param(lambda fields: fields.update(name="other"), "dataset_info.json: does not have", id="name"),
        pytest.param(lambda fields: fields.update(name="\ud800"), "manifest.json: has impossible", id="surrogate"),
        pytest.param(lambda fields: fields.update(rejects={"bad_row": 3}), "rejects.csv: it lists {}; ", id="rejects"),
        pytest.param(lambda fields: fields.update(unlisted=7), "unlisted.csv: it lists 0; ", id="unlisted"),
    ],
)
def test_an_edited_manifest_is_found(copy: Path, change: Callable[[Any], object], sentence: str) -> None:
    _edit(copy, change)
    found = _found(copy, decode=0)
    assert any(line.startswith(sentence) for line in found), found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(lambda one: one._replace(labels=(0, 1, 3, 0, 0)), "labels must be 0 or 1. Received: 3", id="a 3"),
        pytest.param(
            lambda one: one._replace(labels=(0, 1)), "labels must have 5 values. Received: 2", id="number of labels"
        ),
        pytest.param(
            lambda one: one._replace(filename="../a.jpg"),
            "the filename must be relative, with '/' and without '..'. Received: '../a.jpg'",
            id="a name that leads out",
        ),
        pytest.param(
            lambda one: one._replace(height=7),
            "'{0.filename}' is {0.height} pixels high and {0.width} wide; its record says 7 and {0.width}",
            id="height",
        ),
        pytest.param(
            lambda one: one._replace(image=b"<html>"),
            "the image is of no format that is stored: starts with b'<html>'",
            id="no image",
        ),
    ],
)
def test_a_wrong_record_is_found_where_all_sums_of_bytes_fit(
    copy: Path, change: Callable[[Example], Example], sentence: str
) -> None:
    first = example.decode(_payloads(copy)[0], 5)
    _replace_first(copy, change)
    assert _found(copy) == [f"{FIRST} at byte 0: {sentence.format(first)}"]


def test_an_image_that_does_not_decode_is_found_unless_none_is_decoded(copy: Path) -> None:
    _replace_first(copy, lambda one: one._replace(image=one.image[: len(one.image) // 2]))
    decoded, not_decoded = _found(copy), _found(copy, decode=0)
    assert len(decoded) == 1
    assert decoded[0].startswith(f"{FIRST} at byte 0: ")
    assert "cannot be decoded" in decoded[0]
    assert [line.split(":")[1] for line in not_decoded] == [" the statistics of train are not those of its examples"]


def test_a_lack_of_memory_is_no_problem_of_the_dataset(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes, max_pixels: int) -> tuple[int, int]:
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr(prove, "size", fail)
    with pytest.raises(
        UserError, match=r"^'.+\.\w+': there is not enough memory to decode it \(Unable to allocate\)\."
    ):
        _found(dataset)
    assert _found(dataset, decode=0) == []


def test_flipped_labels_are_found_in_the_statistics(copy: Path) -> None:
    _replace_first(copy, lambda one: one._replace(labels=tuple(1 - label for label in one.labels)))
    assert _found(copy) == ["manifest.json: the statistics of train are not those of its examples: positives"]


def test_a_sample_is_about_as_large_as_asked_and_always_the_same() -> None:
    names = [f"{i}.jpg" for i in range(10_000)]
    chosen = [name for name in names if dataset_checks._is_chosen(name, 0.1)]
    assert len(chosen) == pytest.approx(1000, abs=120)  # Four standard deviations.
    assert [name for name in names if dataset_checks._is_chosen(name, 0.1)] == chosen
    assert {name for name in names if dataset_checks._is_chosen(name, 0.05)} < set(chosen)
    assert not any(dataset_checks._is_chosen(name, 0.0) for name in names)
    assert all(dataset_checks._is_chosen(name, 1.0) for name in names)


def _run(*args: str) -> tuple[int, str, str]:
    # Python's warning about a module that is imported twice becomes an error.
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "converter.verify", *args]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return process.returncode, process.stdout, process.stderr


@pytest.mark.slow
def test_command_line_ends_with_0_when_all_is_well(dataset: Path) -> None:
    well = "Checked 4 shards of 24 examples, images decoded: all. Found: all is well.\n"
    assert _run(str(dataset)) == (0, well, "")


def test_command_line_ends_with_1_when_something_is_wrong(copy: Path) -> None:
    (copy / "train/notes.txt").write_text("hello")
    status, stdout, stderr = _run(str(copy), "--decode=none")
    assert (status, stderr) == (1, "")
    assert stdout.splitlines() == [
        "train/notes.txt: does not belong to a dataset; some readers take every file of a folder",
        "Checked 4 shards of 24 examples, images decoded: none. Found: 1 problems.",
    ]


@pytest.mark.slow
def test_command_line_says_what_is_no_dataset(tmp_path: Path) -> None:
    status, stdout, stderr = _run(str(tmp_path))
    assert (status, stdout) == (1, "")
    assert stderr.startswith(f"error: {tmp_path} is not a dataset: it has no manifest.json.")
