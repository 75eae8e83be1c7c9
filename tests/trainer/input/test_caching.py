"""Caches between epochs: the choice of a cache, its files on disk, and the runs that may use them again."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from multihot.errors import UserError
from schemas.metadata import DatasetInfo, SplitInfo
from trainer.config import TrainConfig
from trainer.input import caching, pipeline
from trainer.input.caching import Plan
from trainer.input.features import Features
from trainer.sources import Sources, combine

Config = Callable[..., TrainConfig]
# 48 training images of 1125 x 1125 pixels, since crops are cut from them, and 21 of 1000 x 1000; four labels of each.
DECODED = 3 * (48 * 1125**2 + 21 * 1000**2) + 69 * 4 * 4
FEATURES = 4 * 69 * (512 + 4)


def features(num: int | None) -> Features | None:
    return None if num is None else Features(lambda images: images, num, "a backbone")


def total(config: TrainConfig, sources: Sources, content: str) -> int:
    """Returns the bytes of memory that a cache of this content and the buffers of the pipelines take."""
    return sum(caching.footprints(config, sources, 512)[content])


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Sets how much memory and disk is free."""

    def set_room(memory: float, disk: float) -> None:
        monkeypatch.setattr(caching.machine, "available_memory", lambda: int(memory))
        monkeypatch.setattr(caching.machine, "free_disk", lambda folder: int(disk))

    return set_room


@pytest.mark.parametrize(
    ("memory", "disk", "num_features", "content", "on_disk"),
    [
        pytest.param(("decoded", 2), 0, None, "decoded", False, id="there is room in memory"),
        pytest.param(("decoded", 0), 2 * DECODED + 2, None, "decoded", True, id="half of the memory is not enough"),
        pytest.param(("decoded", 0), 2 * DECODED, None, "encoded", False, id="nor half of the disk"),
        pytest.param(("encoded", 0), 1000, None, "none", False, id="there is no room at all"),
        pytest.param(("features", 2), 0, 512, "features", False, id="features, in memory"),
        pytest.param(("features", 0), 2 * FEATURES + 2, 512, "features", True, id="features, on disk"),
    ],
)
def test_auto_takes_what_there_is_room_for(
    memory: tuple[str, int],
    disk: int,
    num_features: int | None,
    content: str,
    on_disk: bool,
    config: Config,
    sources: Sources,
    room: Callable[[float, float], None],
    tmp_path: Path,
) -> None:
    asked = config(image_size=1000, augment="full", batch_size=1, cache_dir=str(tmp_path))
    room(2 * total(asked, sources, memory[0]) + memory[1], disk)
    plan = caching.choose(asked, sources, features(num_features))
    assert (plan.content, plan.on_disk) == (content, on_disk)
    assert re.fullmatch(r"Cache: .*\. Free: .* of memory, .* of disk\.", plan.reason)


def test_where_crops_are_cut_from_does_not_depend_on_memory(
    config: Config, sources: Sources, room: Callable[[float, float], None]
) -> None:
    """Decoded images are resized: crops of the originals are cut from records, in memory or not."""
    for memory, content in ((1e12, "encoded"), (0, "none")):
        room(memory, 1e12)
        for augment in ("crop", "full"):
            asked = config(augment=augment, crop_from="original")
            assert caching.choose(asked, sources).content == content
    room(1e12, 1e12)
    for augment in ("none", "flip"):  # Without crops there is nothing to decide.
        assert caching.choose(config(augment=augment, crop_from="original"), sources).content == "decoded"


@pytest.mark.parametrize("crop_from", ["resized", "original"])
def test_labels_count(
    crop_from: str, config: Config, sources: Sources, info: DatasetInfo, room: Callable[[float, float], None]
) -> None:
    """A million images with ten thousand classes: 40 GB of labels, and 3 GB of pixels."""
    many = wide(sources, 1_000_000, 10_000)
    asked = config(image_size=32, augment="full", crop_from=crop_from)
    footprints = caching.footprints(asked, many)
    assert footprints["decoded"].cache_bytes == 1_000_021 * 4 * 10_000 + 3 * (1_000_000 * 48**2 + 21 * 32**2)
    room(32e9, 0)
    # Records have their labels too.
    assert caching.choose(asked, many).content in ("encoded", "none")
    few = wide(sources, 1_000_000, 10)
    assert caching.choose(asked, few).content == ("decoded" if crop_from == "resized" else "encoded")


def wide(sources: Sources, num_examples: int, num_classes: int) -> Sources:
    """Returns a dataset with a larger training split, and more classes, whose shards are not there."""
    [one] = sources.each

    def stretched(split: SplitInfo) -> SplitInfo:
        statistics = dataclasses.replace(split.statistics, positives=(1,) * num_classes)
        shards = split.shards
        if split.name == "train":
            shards = (dataclasses.replace(shards[0], num_examples=num_examples, num_bytes=1000 * num_examples),)
            moments = dataclasses.replace(statistics.example_bytes, count=num_examples, total=1000 * num_examples)
            statistics = dataclasses.replace(statistics, example_bytes=moments)
        return dataclasses.replace(split, shards=shards, statistics=statistics)

    classes = tuple(f"class {i}" for i in range(num_classes))
    info = dataclasses.replace(one.info, classes=classes, splits=tuple(map(stretched, one.info.splits)))
    return combine([(one.directory, info)])


@pytest.mark.parametrize(
    ("cache", "num_features", "expected", "line"),
    [
        pytest.param(
            "auto",
            None,
            Plan("decoded", on_disk=False, reason=""),
            "Cache: decoded images (245 MB) in memory, with BUFFERS. Free: 4.0 GB of memory, 2.0 GB of disk.",
            id="auto",
        ),
        pytest.param(
            "disk",
            None,
            Plan("decoded", on_disk=True, reason=""),
            "Cache: decoded images (245 MB) on disk in FOLDER, with BUFFERS, as --cache=disk asks. "
            "Free: 4.0 GB of memory, 2.0 GB of disk.",
            id="disk",
        ),
        pytest.param(
            "disk",
            100,
            Plan("features", on_disk=True, reason=""),
            "Cache: features (0 MB) on disk in FOLDER, with BUFFERS, as --cache=disk asks. "
            "Free: 4.0 GB of memory, 2.0 GB of disk.",
            id="features on disk",
        ),
        pytest.param(
            "decoded",
            100,
            Plan("decoded", on_disk=False, reason=""),
            "Cache: decoded images (245 MB) in memory, with BUFFERS, as --cache=decoded asks. "
            "Free: 4.0 GB of memory, 2.0 GB of disk.",
            id="images and not features",
        ),
        pytest.param(
            "none",
            None,
            Plan("none", on_disk=False, reason=""),
            "Cache: nothing, with BUFFERS, as --cache=none asks. Free: 4.0 GB of memory, 2.0 GB of disk.",
            id="none",
        ),
    ],
)
def test_a_line_says_what_is_cached_and_why(
    cache: str,
    num_features: int | None,
    expected: Plan,
    line: str,
    config: Config,
    sources: Sources,
    room: Callable[[float, float], None],
    tmp_path: Path,
) -> None:
    room(4e9, 2e9)
    asked = config(image_size=1000, augment="full", batch_size=1, cache=cache, cache_dir=str(tmp_path))
    plan = caching.choose(asked, sources, features(num_features))
    assert plan._replace(reason="") == expected
    assert re.sub(r"with (\d+ MB|\d\.\d GB) of buffers", "with BUFFERS", plan.reason) == line.replace(
        "FOLDER", str(tmp_path)
    )


def test_what_does_not_fit_is_refused_before_it_fills_the_machine(
    config: Config, sources: Sources, room: Callable[[float, float], None], tmp_path: Path
) -> None:
    room(200e6, 200e6)
    asked = config(image_size=1000, augment="full", cache="decoded")
    with pytest.raises(UserError) as caught:
        caching.choose(asked, sources)
    assert re.fullmatch(
        r"--cache=decoded takes \d\.\d GB of memory, and 200 MB are free. "
        "Choose another --cache: --cache=auto takes one that fits.",
        str(caught.value),
    )
    with pytest.raises(UserError) as caught:
        caching.choose(dataclasses.replace(asked, cache="disk", cache_dir=str(tmp_path)), sources)
    assert str(caught.value) == (
        f"--cache=disk takes 245 MB of disk, and 200 MB are free in {tmp_path}. "
        "Choose another --cache_dir or another --cache."
    )


ON_DISK = Plan("decoded", on_disk=True, reason="")


@pytest.fixture
def asked(config: Config, tmp_path: Path) -> TrainConfig:
    return config(cache_dir=str(tmp_path / "caches"))


def folders(config: TrainConfig) -> list[Path]:
    return sorted(path for path in Path(config.cache_dir).iterdir() if path.is_dir())


def test_on_disk_are_the_arrays_and_nothing_else(asked: TrainConfig, sources: Sources) -> None:
    cached = caching.fill_or_open(ON_DISK, asked, sources, "train", 32)
    assert cached is not None
    [folder] = folders(asked)
    assert {path.name for path in folder.iterdir()} == {"inputs", "labels", "description.json"}
    in_memory = caching.fill_or_open(ON_DISK._replace(on_disk=False), asked, sources, "train", 32)
    assert in_memory is not None
    for name, one, other in zip(("inputs", "labels"), cached, in_memory, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (folder / name).read_bytes() == other.numpy().tobytes()
    assert cached.inputs.shape == (48, 32, 32, 3)
    assert cached.inputs.dtype == tf.uint8


def test_a_cache_on_disk_is_used_again(asked: TrainConfig, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    first = caching.fill_or_open(ON_DISK, asked, sources, "train", 32)
    assert first is not None
    before = {path: path.stat().st_mtime_ns for path in folders(asked)[0].iterdir()}
    # Whatever does not touch the pixels: another experiment on the same images.
    other = dataclasses.replace(asked, model="vgg16", batch_size=3, seed=9, augment="flip", output="elsewhere")
    again = caching.fill_or_open(ON_DISK, other, sources, "train", 32)
    assert again is not None
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert {path: path.stat().st_mtime_ns for path in folders(asked)[0].iterdir()} == before


def test_other_pixels_or_labels_are_another_cache(asked: TrainConfig, sources: Sources, info: DatasetInfo) -> None:
    directory = sources.each[0].directory
    turned = combine([(directory, info)], info.classes[::-1])
    changed = tuple(
        dataclasses.replace(split, shards=tuple(dataclasses.replace(one, sha256="0" * 64) for one in split.shards))
        for split in info.splits
    )
    other = combine([(directory, dataclasses.replace(info, splits=changed))])
    different = [
        (asked, sources, "train", 32),
        (asked, sources, "validation", 32),
        (asked, sources, "train", 36),
        (dataclasses.replace(asked, decode="exact"), sources, "train", 32),
        (dataclasses.replace(asked, resize="crop"), sources, "train", 32),
        (dataclasses.replace(asked, resize="pad"), sources, "train", 32),
        (asked, turned, "train", 32),
        (asked, other, "train", 32),
    ]
    for i, (config, data, split, size) in enumerate(different):
        caching.fill_or_open(ON_DISK, config, data, split, size)
        assert len(folders(asked)) == i + 1


def test_features_are_computed_once_for_each_backbone(asked: TrainConfig, sources: Sources) -> None:
    calls = []

    def extract(images: tf.Tensor) -> tf.Tensor:
        calls.append(len(images))
        return tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2])

    plan = Plan("features", on_disk=True, reason="")
    for key, expected in (("a", 48), ("a", 48), ("b", 96)):
        cached = caching.fill_or_open(plan, asked, sources, "train", 32, Features(extract, 3, key))
        assert cached is not None
        assert cached.inputs.shape == (48, 3)
        assert cached.inputs.dtype == tf.float32
        assert sum(calls) == expected
    images = caching.fill_or_open(Plan("decoded", on_disk=False, reason=""), asked, sources, "train", 32)
    assert images is not None
    np.testing.assert_allclose(
        cached.inputs, tf.reduce_mean(tf.cast(images.inputs, tf.float32), axis=[1, 2]), rtol=1e-5
    )


@pytest.mark.parametrize("cache", ["auto", "disk"])
def test_a_complete_cache_is_used_where_there_is_no_room_for_a_second_one(
    cache: str, asked: TrainConfig, sources: Sources, room: Callable[[float, float], None]
) -> None:
    asked = dataclasses.replace(asked, cache=cache)
    room(0, 1000)
    if cache == "auto":
        assert caching.choose(asked, sources).content == "none"
    else:
        with pytest.raises(UserError, match=r"^--cache=disk takes 0 MB of disk, and 0 MB are free in "):
            caching.choose(asked, sources)
    caching.fill_or_open(ON_DISK, asked, sources, "train", pipeline.cached_image_size(asked))
    # Half of it is no cache: the validation split takes 21 images of 32 x 32 pixels and 4 labels, and there is room for
    # half of them only.
    needed = 21 * (3 * 32**2 + 4 * 4)
    room(0, needed)
    if cache == "auto":
        assert caching.choose(asked, sources).content == "none"
    else:
        with pytest.raises(UserError, match="--cache_dir"):
            caching.choose(asked, sources)
    room(0, 2 * needed + 1)
    assert caching.choose(asked, sources).on_disk
    caching.fill_or_open(ON_DISK, asked, sources, "validation", asked.image_size)
    room(0, 0)
    plan = caching.choose(asked, sources)
    assert (plan.content, plan.on_disk) == ("decoded", True)
    assert f"on disk in {asked.cache_dir}, from an earlier run, with " in plan.reason
    # Images of another size do not use this cache.
    if cache == "auto":
        assert not caching.choose(dataclasses.replace(asked, image_size=33), sources).on_disk


def test_a_folder_that_cannot_be_written_is_a_sentence(config: Config, sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asked = config(cache_dir=str(tmp_path / "file" / "caches"))
    with pytest.raises(UserError, match=r"^The cache cannot be written to .*--cache_dir"):
        caching.fill_or_open(ON_DISK, asked, sources, "train", 32)


@pytest.mark.parametrize("content", [None, b"half"])
def test_a_cache_that_has_lost_bytes_is_refused(content: bytes | None, asked: TrainConfig, sources: Sources) -> None:
    caching.fill_or_open(ON_DISK, asked, sources, "train", 32)
    [folder] = folders(asked)
    (folder / "inputs").unlink()
    if content:
        (folder / "inputs").write_bytes(content)
    with pytest.raises(UserError) as caught:
        caching.fill_or_open(ON_DISK, asked, sources, "train", 32)
    assert str(caught.value) == (
        f"The cache {folder} is damaged: inputs must have {48 * 32 * 32 * 3} bytes. Remove the folder."
    )


def test_a_cache_on_disk_needs_no_shards(asked: TrainConfig, data: Path, info: DatasetInfo, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    there = combine([(str(copy), info)])
    first = caching.fill_or_open(ON_DISK, asked, there, "train", 32)
    shutil.rmtree(copy / "train")
    again = caching.fill_or_open(ON_DISK, asked, there, "train", 32)
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.inputs, again.inputs)


def test_a_damaged_shard_leaves_no_cache(asked: TrainConfig, sources: Sources, info: DatasetInfo) -> None:
    old = info.split("train")
    shards = (dataclasses.replace(old.shards[0], num_examples=old.shards[0].num_examples + 1), *old.shards[1:])
    splits = tuple(dataclasses.replace(old, shards=shards) if split is old else split for split in info.splits)
    wrong = combine([(sources.each[0].directory, dataclasses.replace(info, splits=splits))])
    with pytest.raises(tf.errors.FailedPreconditionError):
        caching.fill_or_open(ON_DISK, asked, wrong, "train", 32)
    assert list(Path(asked.cache_dir).iterdir()) == []


_KILLED = """
import os, signal, sys
from trainer.input import caching
from trainer import sources
from trainer.config import TrainConfig
config = TrainConfig(data=(sys.argv[1],), output="none", image_size=32, cache_dir=sys.argv[2])
def write_half(files, chunks):
    for file in files:
        file.write(b"half of it")
        file.flush()
    print("filling", flush=True)
    signal.pause()
caching.diskcache.write_chunks = write_half
caching.fill_or_open(caching.Plan("decoded", True, ""), config, sources.load(config), "train", 32)
"""


@pytest.mark.slow
def test_what_a_killed_run_left_is_no_cache_and_a_run_that_needs_the_same_waits(
    asked: TrainConfig, sources: Sources
) -> None:
    command = [sys.executable, "-c", _KILLED, sources.each[0].directory, asked.cache_dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == "filling\n"
        [left] = folders(asked)
        assert left.name.endswith(".incomplete")
        waiting = time.monotonic()
        with subprocess.Popen([*command[:2], _WAITS, *command[3:]], cwd=Path(__file__).parents[3]) as second:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(12)
            os.kill(killed.pid, signal.SIGKILL)
            assert second.wait(60) == 0
        assert time.monotonic() - waiting > 12
    [folder] = Path(asked.cache_dir).iterdir()
    assert folder.is_dir()
    assert not folder.name.endswith(".incomplete")
    cached = caching.fill_or_open(ON_DISK, asked, sources, "train", 32)
    expected = caching.fill_or_open(ON_DISK._replace(on_disk=False), asked, sources, "train", 32)
    assert cached is not None
    assert expected is not None
    np.testing.assert_array_equal(cached.inputs, expected.inputs)


_WAITS = "\n".join(
    line
    for line in _KILLED.replace("caching.diskcache.write_chunks = write_half", "").splitlines()
    if not line.startswith(("def ", "    "))
)


def test_nothing_is_loaded_where_nothing_is_kept(asked: TrainConfig, sources: Sources) -> None:
    for content in ("none", "encoded"):
        assert caching.fill_or_open(Plan(content, on_disk=False, reason=""), asked, sources, "train", 32) is None
    assert not Path(asked.cache_dir).exists()


def test_the_size_reckoned_is_the_size_on_disk(asked: TrainConfig, sources: Sources) -> None:
    for split, size in (("train", pipeline.cached_image_size(asked)), ("validation", asked.image_size)):
        caching.fill_or_open(ON_DISK, asked, sources, split, size)
    reckoned = 3 * (48 * 48**2 + 21 * 32**2)
    assert sum((folder / "inputs").stat().st_size for folder in folders(asked)) == reckoned
