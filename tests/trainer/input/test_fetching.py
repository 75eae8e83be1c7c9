"""Shards of a dataset in a store are fetched once, and are those of the manifest."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainer
from multihot.errors import UserError
from schemas import metadata
from schemas.metadata import ShardInfo
from store_server import Fault, Server
from trainer.config import TrainConfig
from trainer.input import fetching

Config = Callable[..., TrainConfig]


@pytest.fixture
def stored(bucket: str, server: Server, dataset: Path) -> str:
    """Returns the URL of a dataset."""
    files = (path for path in dataset.rglob("*") if path.is_file())
    server.put("bucket", {f"data/1.0.0/{path.relative_to(dataset)}": path.read_bytes() for path in files})
    return f"{bucket}/data/1.0.0"


def _read(directory: str, cache: Path, **given: Any) -> list[np.ndarray]:
    settings = {"split": "train", "image_size": 16, "batch_size": 4, "cache_dir": cache, "cache": "none", **given}
    return [images.numpy() for images, _ in trainer.load(directory, **settings)]


@pytest.mark.parametrize("given", [{}, {"training": True, "seed": 3}, {"split": "validation"}], ids=str)
def test_batches_are_those_of_the_same_dataset_on_this_machine(
    given: dict[str, Any], stored: str, dataset: Path, tmp_path: Path
) -> None:
    there, here = _read(stored, tmp_path, **given), _read(str(dataset), tmp_path, **given)
    assert len(there) == len(here) > 0
    for one, other in zip(there, here, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_shard_is_fetched_once_for_all_epochs_and_runs(stored: str, server: Server, tmp_path: Path) -> None:
    _read(stored, tmp_path)
    server.requests()
    _read(stored, tmp_path)
    # The manifest.
    assert server.requests() == {"GET": 1}
    shards = metadata.load(stored).split("train").shards
    assert {path.name for path in (tmp_path / "shards").iterdir()} == {f"{shard.sha256}.tfrecord" for shard in shards}


def _first(stored: str) -> tuple[str, ShardInfo]:
    shard = metadata.load(stored).split("train").shards[0]
    return f"{stored}/{shard.path}", shard


def test_runs_that_want_the_same_shard_fetch_it_once(stored: str, server: Server, tmp_path: Path) -> None:
    url, shard = _first(stored)
    server.requests()
    server.set_latency(0.1)
    threads = [threading.Thread(target=fetching.fetch, args=(url, shard, tmp_path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.requests() == {"GET": 1}
    assert fetching.fetch(url, shard, tmp_path).stat().st_size == shard.file_bytes


def test_a_shard_that_differs_from_the_manifest_is_not_kept(stored: str, server: Server, tmp_path: Path) -> None:
    url, shard = _first(stored)
    key = url.partition("bucket/")[2]
    content = server.objects("bucket")[key]
    server.put("bucket", {key: content[:-1] + bytes([content[-1] ^ 1])})
    with pytest.raises(UserError, match="differs from the manifest"):
        fetching.fetch(url, shard, tmp_path)
    assert not list((tmp_path / "shards").iterdir())
    server.delete("bucket", key)
    with pytest.raises(UserError, match=r"is missing\. Copy the dataset once more"):
        fetching.fetch(url, shard, tmp_path)
    server.put("bucket", {key: content})
    assert fetching.fetch(url, shard, tmp_path).read_bytes() == content


def test_half_a_shard_is_not_taken_for_one(stored: str, server: Server, tmp_path: Path) -> None:
    url, shard = _first(stored)
    path = fetching.fetch(url, shard, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert fetching.fetch(url, shard, tmp_path).read_bytes() == content
    shutil.rmtree(tmp_path / "shards")
    server.fail(Fault("^GET ", kind="cut", times=2))
    assert fetching.fetch(url, shard, tmp_path).read_bytes() == content


def test_a_store_that_refuses_is_one_sentence(stored: str, server: Server, tmp_path: Path) -> None:
    url, shard = _first(stored)
    server.fail(Fault("^GET ", status=403, times=9))
    with pytest.raises(UserError, match=f"^{url} cannot be read: the store refuses access: "):
        fetching.fetch(url, shard, tmp_path)


def test_what_was_not_used_for_longest_makes_room(stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, shard = _first(stored)
    folder = tmp_path / "shards"
    folder.mkdir()
    for i, age in enumerate((0, 5000, 9000, 7000)):
        path = folder / f"{i}.tfrecord"
        path.write_bytes(bytes(100))
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    usage = shutil.disk_usage(tmp_path)
    # A tenth of the disk stays free.
    free = usage.total // 10 + shard.file_bytes - 150
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage._replace(free=free))
    fetching.fetch(url, shard, tmp_path)
    assert {path.name for path in folder.iterdir()} == {"0.tfrecord", "1.tfrecord", f"{shard.sha256}.tfrecord"}
    # The last one is in use: whatever is missing then, it stays.
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage._replace(free=0))
    fetching._make_room(folder, 10**9)
    assert {path.name for path in folder.iterdir()} == {"0.tfrecord", f"{shard.sha256}.tfrecord"}
