"""One looks into a dataset: the summary, some examples as a picture or as files, and one by its name."""

import csv
import dataclasses
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from converter.dataset import examples
from converter.dataset.examples import Located
from converter.dataset.summary import summary
from converter.inspect import gallery, selection
from converter.splits import assignment
from converter.table import filenames
from multihot import flags, storage
from multihot.errors import UsageError, UserError
from schemas import example, layout, metadata
from schemas.metadata import FORMAT_VERSION, DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Statistics
from schemas.tfrecord import ShardWriter

Labels = Mapping[str, tuple[int, ...]]
CLASSES = ("desert", "mountains", "sea", "sunset", "trees")
FIRST = "train/train-00000-of-00003.tfrecord"


@pytest.fixture(scope="module")
def info(dataset: Path) -> DatasetInfo:
    return metadata.load(str(dataset))


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """Returns a copy of `dataset` to damage."""
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def _made(folder: Path, splits: Mapping[str, list[str]], num_shards: int) -> DatasetInfo:
    """Writes a dataset of these names, in order, with a few bytes for each image."""
    found = []
    for split, names in splits.items():
        ordered = sorted(names, key=lambda name: (assignment.position(name), name))
        size = -(-len(ordered) // num_shards)
        shards = [ordered[i : i + size] for i in range(0, len(ordered), size)]
        infos = []
        for i, group in enumerate(shards):
            text = io.BytesIO()
            writer = ShardWriter(text)
            for name in group:
                image = b"\xff\xd8\xff" + name.encode()
                writer.write(example.encode(image=image, height=1, width=2, labels=[1], filename=name))
            path = layout.shard(split, i, len(shards))
            storage.write(f"{folder}/{path}", text.getvalue())
            storage.write(f"{folder}/{layout.shard_index(path)}", writer.index)
            infos.append(
                ShardInfo(path=path, num_examples=len(group), num_bytes=writer.num_bytes, sha256=writer.sha256)
            )
        found.append(SplitInfo(name=split, shards=tuple(infos), statistics=Statistics(positives=(0,))))
    return DatasetInfo(name="made", version="1.0.0", classes=("one",), splits=tuple(found))


def _main(*args: object) -> None:
    selection.main(flags.parse(selection.USAGE, ["inspect", *map(str, args)]))


def _located(folder: Path, info: DatasetInfo) -> list[Located]:
    return [one for split in info.splits for one in examples.read_split(str(folder), info, split.name)]


# By name.


def test_every_example_is_found_where_it_is(dataset: Path, info: DatasetInfo, labels_of: Labels) -> None:
    there = {one.example.filename: one for one in _located(dataset, info)}
    assert there.keys() == labels_of.keys()
    for name, expected in there.items():
        assert list(examples.find(str(dataset), info, name)) == [expected]
        assert expected.example.labels == labels_of[name]


@settings(max_examples=25)
@given(names=st.sets(st.text(min_size=1), min_size=1, max_size=40), num_shards=st.integers(1, 9), other=st.text())
def test_a_name_is_found_in_any_split_and_any_shards(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], num_shards: int, other: str
) -> None:
    names = {name.encode("utf-8", "replace").decode() for name in names}
    folder = tmp_path_factory.mktemp("made")
    split = {name: ("a", "b")[i % 2] for i, name in enumerate(sorted(names))}
    groups = {one: [name for name in names if split[name] == one] for one in ("a", "b")}
    made = _made(folder, {one: group for one, group in groups.items() if group}, num_shards)
    for name in names:
        assert [(one.split, one.example.filename) for one in examples.find(str(folder), made, name)] == [
            (split[name], name)
        ]
    if other not in names:
        assert not list(examples.find(str(folder), made, other.encode("utf-8", "replace").decode()))


def test_a_name_takes_few_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _made(tmp_path, {"train": [f"{i}.jpg" for i in range(4096)]}, 16)
    opened, read = [], []
    open_binary, read_at = storage.open_binary, examples.read_at

    def counted_open(path: str) -> Any:
        opened.append(path)
        return open_binary(path)

    def counted_read(*args: Any) -> Any:
        read.append(args)
        return read_at(*args)

    monkeypatch.setattr(storage, "open_binary", counted_open)
    monkeypatch.setattr(examples, "read_at", counted_read)
    numbers = []
    for name in [*(f"{i}.jpg" for i in range(0, 4096, 41)), "none.jpg"]:
        opened.clear()
        read.clear()
        assert len(list(examples.find(str(tmp_path), made, name))) == (name != "none.jpg")
        numbers.append(len(read))
        assert len(opened) <= 3 + 2
    # 16 shards of 256 records each. Halving them takes 4 to 5 first records and 8 to 9 of a shard.
    assert max(numbers) <= 10
    assert sum(numbers) / len(numbers) <= 7


def test_records_in_another_order_end_the_search(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(64)]
    made = _made(tmp_path, {"train": names}, 2)
    shard = made.splits[0].shards[0]
    swapped = dataclasses.replace(made.splits[0], shards=(shard, shard))
    hostile = dataclasses.replace(made, splits=(swapped,))
    assert sum(len(list(examples.find(str(tmp_path), hostile, name))) for name in names) <= 64


def test_a_name_that_stands_twice_is_found_twice(tmp_path: Path) -> None:
    made = _made(tmp_path, {"train": ["a.jpg", "b.jpg"], "test": ["b.jpg", "c.jpg"]}, 1)
    assert [one.split for one in examples.find(str(tmp_path), made, "b.jpg")] == ["train", "test"]


def test_all_that_is_known_of_an_example_is_printed(
    dataset: Path, info: DatasetInfo, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (one,) = (one for one in _located(dataset, info) if one.example.filename == "16.png")
    _main(dataset, "--filename=16.png")
    assert capsys.readouterr().out.splitlines() == [
        "filename        16.png",
        f"split           {one.split}",
        f"shard           {one.shard}",
        f"offset          {one.offset}",
        "labels          desert, trees",
        "width x height  72 x 48 pixels",
        f"image           png, {(scenes / 'images/16.png').stat().st_size} bytes",
    ]


def test_a_name_is_the_same_in_decomposed_characters(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _main(dataset, "--filename=e\u0301te\u0301 a\u0300 la mer.jpg")
    assert "été à la mer.jpg" in capsys.readouterr().out


def test_one_that_is_not_there_is_said_to_be_rejected_if_it_was(
    convert: Callable[..., Any], scenes: Path, write_csv: Any, tmp_path: Path
) -> None:
    table = write_csv(tmp_path / "labels.csv", [("file", "sea"), ("0.jpg", 1), ("lost.jpg", 0), ("1.jpg", 1)])
    convert(csv=table, max_rejects=1)
    folder = tmp_path / "out/scenes/1.0.0"
    with pytest.raises(UserError) as caught:
        _main(folder, "--filename=lost.jpg")
    assert str(caught.value) == (
        f"{folder} has no example 'lost.jpg'. It was rejected: {table} line 3: missing_file: no such file in the "
        "folder of images"
    )
    with pytest.raises(UserError, match=r"has no example '1\.JPG'\. Give the name with its folders"):
        _main(folder, "--filename=1.JPG")


def test_a_damaged_record_on_the_way_is_named(copy: Path, info: DatasetInfo) -> None:
    shard = copy / FIRST
    one = next(examples.read_split(str(copy), info, "train"))
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{shard} is damaged at byte 0: the crc of the payload is wrong"):
        list(examples.find(str(copy), info, one.example.filename))


def test_a_shard_that_ends_too_early_is_named(copy: Path, info: DatasetInfo) -> None:
    shard = copy / FIRST
    last = [one for one in examples.read_split(str(copy), info, "train") if one.shard == FIRST][-1]
    with shard.open("r+b") as file:
        file.truncate(100)
    with shard.open("rb") as file, pytest.raises(UserError, match=f"at byte {last.offset}: the file ends before"):
        examples.read_at(file, str(shard), last.offset, info)


def test_a_name_may_be_written_as_a_csv_may_have_it() -> None:
    assert filenames.normalized(" a\\b/./cafe\u0301.jpg ") == "a/b/caf\u00e9.jpg"


@pytest.mark.parametrize(
    "content", [pytest.param(b"\xff", id="no text"), pytest.param(b"a,b\n1,2\n", id="other columns")]
)
def test_a_damaged_list_of_rejects_is_named(copy: Path, content: bytes) -> None:
    (copy / layout.REJECTS).write_bytes(content)
    with pytest.raises(UserError, match=r"^rejects\.csv is damaged: "):
        _main(copy, "--filename=none.jpg")


@pytest.mark.parametrize("content", [b"", b"0 10\n", b"zero ten\n" * 6, b"0\n" * 6])
def test_a_damaged_index_is_named(copy: Path, info: DatasetInfo, content: bytes) -> None:
    one = next(examples.read_split(str(copy), info, "train"))
    index = copy / layout.shard_index(one.shard)
    index.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{index} is damaged"):
        list(examples.find(str(copy), info, one.example.filename))


# Those that fit.


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        pytest.param("", lambda labels: True, id="all"),
        pytest.param("sea", lambda labels: labels[2], id="a class"),
        pytest.param("sea,-trees", lambda labels: labels[2] and not labels[4], id="one and not another"),
        pytest.param(" -desert , -sea ", lambda labels: not labels[0] and not labels[2], id="neither"),
    ],
)
def test_examples_have_and_have_not_what_was_asked(
    dataset: Path, info: DatasetInfo, labels_of: Labels, where: str, fits: Callable[[tuple[int, ...]], bool]
) -> None:
    found = [one.example.filename for one in selection.select(str(dataset), info, where=where)]
    assert sorted(found) == sorted(name for name, labels in labels_of.items() if fits(labels))
    train = [one.split for one in selection.select(str(dataset), info, split="train", where=where)]
    assert set(train) == {"train"}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        pytest.param("lake", f"there is no class 'lake'. There are: {', '.join(CLASSES)}", id="no such class"),
        pytest.param(
            "sea,-sea", "'sea' cannot be both required and excluded. Received: 'sea,-sea'", id="a contradiction"
        ),
    ],
)
def test_what_cannot_fit_is_said(dataset: Path, info: DatasetInfo, where: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        next(selection.select(str(dataset), info, where=where))
    assert str(caught.value) == f"--where: {message}"


def test_a_class_with_a_minus_in_its_name_is_itself() -> None:
    assert selection._parse_where("-a", ("a", "-a")) == {1: 1}
    assert selection._parse_where("--a", ("a", "-a")) == {1: 0}


def test_a_class_with_a_comma_in_its_name_stands_in_quotes() -> None:
    classes = ("a,b", "a", 'c "d"')
    assert selection._parse_where('"a,b", "-a"', classes) == {0: 1, 1: 0}
    assert selection._parse_where('c "d", "-a,b"', classes) == {2: 1, 0: 0}
    with pytest.raises(UserError, match=r"^--where: .* double quotes\. Received: '\"a,b'$"):
        selection._parse_where('"a,b', classes)


def test_a_picture_shows_them_and_the_names_are_printed(
    dataset: Path, info: DatasetInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    _main(dataset, "--examples=13")
    *lines, last = capsys.readouterr().out.splitlines()
    there = [(one.split, one.example.filename) for one in _located(dataset, info)][:13]
    assert [tuple(line.split(": ")[0].split("  ")) for line in lines] == there
    picture = Path(last.removeprefix("Picture: "))
    with Image.open(picture) as image:
        width, height = image.size
    picture.unlink()
    # Six beside each other, three below each other.
    assert 1.5 < width / height < 2.2


def test_no_picture_is_made_of_too_many_or_of_none(dataset: Path) -> None:
    with pytest.raises(UserError, match=r"A picture holds up to 120 examples\. --output=FOLDER writes any number"):
        _main(dataset, "--examples=121")
    with pytest.raises(UserError, match="No example matches"):
        _main(dataset, "--examples=3", "--where=desert,mountains,sea,sunset,trees", "--split=validation")


# As files.


def test_what_was_written_converts_to_the_same_examples(
    dataset: Path, info: DatasetInfo, convert: Callable[..., DatasetInfo], read_shards: Any, tmp_path: Path
) -> None:
    _main(dataset, "--examples=1000", "--where=sea", f"--output={tmp_path}/files")
    again = convert(csv=tmp_path / "files/labels.csv", images=tmp_path / "files/images", max_rejects=0)
    assert again.classes == CLASSES
    for split in ("train", "validation"):
        expected = [one for one in read_shards(dataset, info, split) if one.labels[2]]
        assert read_shards(tmp_path / "out/scenes/1.0.0", again, split) == expected


def test_files_that_are_there_are_kept(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=f"--output: there are files in {tmp_path} already"):
        _main(dataset, "--examples=1", f"--output={tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_one_that_was_found_by_its_name_is_written_too(dataset: Path, scenes: Path, tmp_path: Path) -> None:
    _main(dataset, "--filename=deep/down/21.jpg", f"--output={tmp_path}/one")
    written = (tmp_path / "one/images/deep/down/21.jpg").read_bytes()
    assert written == (scenes / "images/deep/down/21.jpg").read_bytes()


def test_names_of_a_hostile_dataset_stay_in_the_folder(tmp_path: Path) -> None:
    names = ["../../out.jpg", "/etc/passwd", "a/../b.jpg", "..", "b.jpg", "a/b.jpg", "\x1b[2J\n.jpg", "C:\\x.jpg"]
    found = [
        Located("train", FIRST, 0, example.Example(str(i).encode(), 1, 1, (1,), name)) for i, name in enumerate(names)
    ]
    assert gallery.export(found, ("filename",), f"{tmp_path}/out/files") == len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with (tmp_path / "out/files/labels.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["filename_", "filename"]
    for i, (name, _) in enumerate(lines):
        assert (tmp_path / "out/files/images" / name).read_bytes() == str(i).encode()


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_safe_names_are_names_that_the_converter_takes_as_they_are(names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        taken.append(gallery.safe_name(name, taken))
        assert filenames.checked(taken[-1]) == taken[-1]
    assert len(set(taken)) == len(names)


# The command line.


def test_without_more_it_prints_the_summary(
    dataset: Path, info: DatasetInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    _main(f"{dataset}/")
    assert capsys.readouterr().out == summary(info, str(dataset)) + "\n"


def test_a_dataset_of_a_newer_format_is_said_to_be_one(copy: Path) -> None:
    fields = json.loads((copy / layout.MANIFEST).read_text())
    (copy / layout.MANIFEST).write_text(json.dumps({**fields, "format_version": FORMAT_VERSION + 1}))
    with pytest.raises(UserError, match=f"format version {FORMAT_VERSION + 1}; .*Install a newer multihot"):
        _main(copy)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--where=sea"], "give --examples=N too", id="where without examples"),
        pytest.param(["--output=x"], "give --examples=N or --filename=NAME too", id="output without examples"),
        pytest.param(["--examples=0"], "--examples must be 1 or more. Received: 0", id="no examples"),
        pytest.param(["--examples=3", "--filename=a"], "exclude each other", id="examples and a name"),
    ],
)
def test_flags_that_do_not_go_together_are_named(arguments: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        flags.parse(selection.USAGE, ["inspect", "dataset", *arguments])
    assert caught.value.status == 2


def test_the_program_itself_says_what_is_wrong(dataset: Path) -> None:
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "converter.inspect", str(dataset), "--filename=x"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith(f"error: {dataset} has no example 'x'.")
    assert len(process.stderr.splitlines()) == 1
