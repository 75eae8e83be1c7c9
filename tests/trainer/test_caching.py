"""What is kept between epochs: what is chosen, what lies on disk, and who may use it again."""

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

from schemas.errors import UserError
from schemas.metadata import DatasetInfo
from trainer import caching, dataset
from trainer.caching import Features, Plan
from trainer.config import TrainConfig
from trainer.sources import Sources, combine

Config = Callable[..., TrainConfig]
# 48 training images of 1125 x 1125 pixels, since crops are cut from them, and 21 of 1000 x 1000.
DECODED = 3 * (48 * 1125**2 + 21 * 1000**2)
FEATURES = 4 * 69 * 512


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
        pytest.param(2 * DECODED + 2, 0, None, "decoded", False, id="there is room in memory"),
        pytest.param(2 * DECODED, 2 * DECODED + 2, None, "decoded", True, id="half of the memory is not enough"),
        pytest.param(2 * DECODED, 2 * DECODED, None, "encoded", False, id="nor half of the disk"),
        pytest.param(1000, 1000, None, "none", False, id="there is no room at all"),
        pytest.param(2 * FEATURES + 2, 0, 512, "features", False, id="features, in memory"),
        pytest.param(0, 2 * FEATURES + 2, 512, "features", True, id="features, on disk"),
    ],
)
def test_auto_takes_what_there_is_room_for(
    memory: int,
    disk: int,
    num_features: int | None,
    content: str,
    on_disk: bool,
    config: Config,
    sources: Sources,
    room: Callable[[float, float], None],
) -> None:
    room(memory, disk)
    plan = caching.choose(config(image_size=1000, augment="full"), sources, num_features)
    assert (plan.content, plan.on_disk) == (content, on_disk)
    assert re.fullmatch(r"Cache: .*: .*of memory and .* of disk are free\.", plan.reason)


@pytest.mark.parametrize(
    ("cache", "num_features", "expected", "line"),
    [
        pytest.param(
            "auto",
            None,
            Plan("decoded", on_disk=False, reason=""),
            "Cache: decoded images (245 MB) in memory: 1.0 GB of memory and 2.0 GB of disk are free.",
            id="auto",
        ),
        pytest.param(
            "disk",
            None,
            Plan("decoded", on_disk=True, reason=""),
            "Cache: decoded images (245 MB) on disk, in FOLDER: as asked; "
            "1.0 GB of memory and 2.0 GB of disk are free.",
            id="disk",
        ),
        pytest.param(
            "disk",
            100,
            Plan("features", on_disk=True, reason=""),
            "Cache: features (0 MB) on disk, in FOLDER: as asked; 1.0 GB of memory and 2.0 GB of disk are free.",
            id="features on disk",
        ),
        pytest.param(
            "decoded",
            100,
            Plan("decoded", on_disk=False, reason=""),
            "Cache: decoded images (245 MB) in memory: as asked; 1.0 GB of memory and 2.0 GB of disk are free.",
            id="images and not features",
        ),
        pytest.param(
            "none",
            None,
            Plan("none", on_disk=False, reason=""),
            "Cache: nothing: as asked; 1.0 GB of memory and 2.0 GB of disk are free.",
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
    room(1e9, 2e9)
    asked = config(image_size=1000, augment="full", cache=cache, cache_dir=str(tmp_path))
    plan = caching.choose(asked, sources, num_features)
    assert plan == expected._replace(reason=line.replace("FOLDER", str(tmp_path)))


def test_what_does_not_fit_is_refused_before_it_fills_the_machine(
    config: Config, sources: Sources, room: Callable[[float, float], None]
) -> None:
    room(200e6, 200e6)
    with pytest.raises(UserError) as caught:
        caching.choose(config(image_size=1000, augment="full", cache="decoded"), sources, None)
    assert str(caught.value) == (
        "--cache=decoded takes 245 MB of memory, and 200 MB are free. Choose another one, or let --cache=auto do so."
    )


ON_DISK = Plan("decoded", on_disk=True, reason="")


@pytest.fixture
def asked(config: Config, tmp_path: Path) -> TrainConfig:
    return config(cache_dir=str(tmp_path / "caches"))


def folders(config: TrainConfig) -> list[Path]:
    return sorted(path for path in Path(config.cache_dir).iterdir() if path.is_dir())


def test_on_disk_are_the_arrays_and_nothing_else(asked: TrainConfig, sources: Sources) -> None:
    cached = caching.load(ON_DISK, asked, sources, "train", 32)
    assert cached is not None
    [folder] = folders(asked)
    assert {path.name for path in folder.iterdir()} == {"inputs", "labels", "description.json"}
    in_memory = caching.load(ON_DISK._replace(on_disk=False), asked, sources, "train", 32)
    assert in_memory is not None
    for name, one, other in zip(("inputs", "labels"), cached, in_memory, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (folder / name).read_bytes() == other.numpy().tobytes()
    assert cached.inputs.shape == (48, 32, 32, 3)
    assert cached.inputs.dtype == tf.uint8


def test_a_cache_on_disk_is_used_again(asked: TrainConfig, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    first = caching.load(ON_DISK, asked, sources, "train", 32)
    assert first is not None
    before = {path: path.stat().st_mtime_ns for path in folders(asked)[0].iterdir()}
    # Whatever does not touch the pixels: another experiment on the same images.
    other = dataclasses.replace(asked, model="vgg16", batch_size=3, seed=9, augment="flip", output="elsewhere")
    again = caching.load(ON_DISK, other, sources, "train", 32)
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
        (asked, turned, "train", 32),
        (asked, other, "train", 32),
    ]
    for i, (config, data, split, size) in enumerate(different):
        caching.load(ON_DISK, config, data, split, size)
        assert len(folders(asked)) == i + 1


def test_features_are_computed_once_for_each_backbone(asked: TrainConfig, sources: Sources) -> None:
    calls = []

    def extract(images: tf.Tensor) -> tf.Tensor:
        calls.append(len(images))
        return tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2])

    plan = Plan("features", on_disk=True, reason="")
    for key, expected in (("a", 48), ("a", 48), ("b", 96)):
        cached = caching.load(plan, asked, sources, "train", 32, Features(extract, 3, key))
        assert cached is not None
        assert cached.inputs.shape == (48, 3)
        assert cached.inputs.dtype == tf.float32
        assert sum(calls) == expected
    images = caching.load(Plan("decoded", on_disk=False, reason=""), asked, sources, "train", 32)
    assert images is not None
    np.testing.assert_allclose(
        cached.inputs, tf.reduce_mean(tf.cast(images.inputs, tf.float32), axis=[1, 2]), rtol=1e-5
    )


def test_a_folder_that_cannot_be_written_is_a_sentence(config: Config, sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asked = config(cache_dir=str(tmp_path / "file" / "caches"))
    with pytest.raises(UserError, match=r"^The cache cannot be written to .*--cache_dir"):
        caching.load(ON_DISK, asked, sources, "train", 32)


@pytest.mark.parametrize("content", [None, b"half"])
def test_a_cache_that_has_lost_bytes_is_refused(content: bytes | None, asked: TrainConfig, sources: Sources) -> None:
    caching.load(ON_DISK, asked, sources, "train", 32)
    [folder] = folders(asked)
    (folder / "inputs").unlink()
    if content:
        (folder / "inputs").write_bytes(content)
    with pytest.raises(UserError) as caught:
        caching.load(ON_DISK, asked, sources, "train", 32)
    assert str(caught.value) == (
        f"The cache {folder} is damaged: inputs must have {48 * 32 * 32 * 3} bytes. Remove the folder."
    )


def test_a_cache_on_disk_needs_no_shards(asked: TrainConfig, data: Path, info: DatasetInfo, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    there = combine([(str(copy), info)])
    first = caching.load(ON_DISK, asked, there, "train", 32)
    shutil.rmtree(copy / "train")
    again = caching.load(ON_DISK, asked, there, "train", 32)
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.inputs, again.inputs)


def test_a_damaged_shard_leaves_no_cache(asked: TrainConfig, sources: Sources, info: DatasetInfo) -> None:
    old = info.split("train")
    shards = (dataclasses.replace(old.shards[0], num_examples=old.shards[0].num_examples + 1), *old.shards[1:])
    splits = tuple(dataclasses.replace(old, shards=shards) if split is old else split for split in info.splits)
    wrong = combine([(sources.each[0].directory, dataclasses.replace(info, splits=splits))])
    with pytest.raises(tf.errors.FailedPreconditionError):
        caching.load(ON_DISK, asked, wrong, "train", 32)
    assert [path.name for path in folders(asked) if not path.name.endswith(".incomplete")] == []


_KILLED = """
import os, signal, sys
from trainer import caching, sources
from trainer.config import TrainConfig
config = TrainConfig(data=(sys.argv[1],), output="none", image_size=32, cache_dir=sys.argv[2])
write = caching._fill
def fill(files, chunks):
    for file in files:
        file.write(b"half of it")
        file.flush()
    print("filling", flush=True)
    signal.pause()
caching._fill = fill
caching.load(caching.Plan("decoded", True, ""), config, sources.load(config), "train", 32)
"""


@pytest.mark.slow
def test_what_a_killed_run_left_is_no_cache_and_a_run_that_needs_the_same_waits(
    asked: TrainConfig, sources: Sources
) -> None:
    command = [sys.executable, "-c", _KILLED, sources.each[0].directory, asked.cache_dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == "filling\n"
        [left] = folders(asked)
        assert left.name.endswith(".incomplete")
        waiting = time.monotonic()
        with subprocess.Popen([*command[:2], _WAITS, *command[3:]], cwd=Path(__file__).parents[2]) as second:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(12)
            os.kill(killed.pid, signal.SIGKILL)
            assert second.wait(60) == 0
        assert time.monotonic() - waiting > 12
    [folder] = folders(asked)
    assert not folder.name.endswith(".incomplete")
    cached = caching.load(ON_DISK, asked, sources, "train", 32)
    expected = caching.load(ON_DISK._replace(on_disk=False), asked, sources, "train", 32)
    assert cached is not None
    assert expected is not None
    np.testing.assert_array_equal(cached.inputs, expected.inputs)


_WAITS = "\n".join(
    line
    for line in _KILLED.replace("caching._fill = fill", "").splitlines()
    if not line.startswith(("def ", "    ", "write"))
)


def test_nothing_is_loaded_where_nothing_is_kept(asked: TrainConfig, sources: Sources) -> None:
    for content in ("none", "encoded"):
        assert caching.load(Plan(content, on_disk=False, reason=""), asked, sources, "train", 32) is None
    assert not Path(asked.cache_dir).exists()


def test_the_size_reckoned_is_the_size_on_disk(asked: TrainConfig, sources: Sources) -> None:
    for split, size in (("train", dataset.cached_size(asked)), ("validation", asked.image_size)):
        caching.load(ON_DISK, asked, sources, split, size)
    reckoned = 3 * (48 * 36**2 + 21 * 32**2)
    assert sum((folder / "inputs").stat().st_size for folder in folders(asked)) == reckoned
