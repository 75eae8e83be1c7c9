"""Whatever happens to the files of a dataset: its readers say which one it is, or read the same."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converter.verify import dataset_checks
from multihot.errors import UserError
from schemas import layout, metadata
from schemas.metadata import DatasetInfo
from trainer.config import TrainConfig
from trainer.input import pipeline as input_pipeline
from trainer.sources import combine, damaged_shards_named

Damage = Callable[[bytes, bytes, random.Random], bytes]

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def _images(folder: Path, info: DatasetInfo) -> list[bytes]:
    """Reads every example as training does; returns images and labels."""
    config = TrainConfig(data=(str(folder),), output="unused", image_size=8, batch_size=50)
    sources = combine([(str(folder), info)])
    with damaged_shards_named(sources, config.splits):
        return [
            tensor.numpy().tobytes()
            for split in info.splits
            for batch in input_pipeline.evaluation_dataset(config, sources, split.name)
            for tensor in batch
        ]


def test_shards_and_their_indexes(dataset: Path, copy: Path, damaged: Damage, rounds: Any) -> None:
    info = metadata.load(str(dataset))
    shards = [shard.path for split in info.splits for shard in split.shards]
    images = _images(dataset, info)
    for rng in rounds.least(100):
        path, other = rng.choices([file for shard in shards for file in layout.shard_files(shard)], k=2)
        good = (dataset / path).read_bytes()
        bad = damaged(good, (dataset / other).read_bytes(), rng)
        (copy / path).write_bytes(bad)
        found = {problem.path for problem in dataset_checks.verify(str(copy), info, decode=0)}
        # Of a damaged shard, the index and the statistics may be wrong as well.
        assert found <= ({*layout.shard_files(path), *shards, layout.MANIFEST} if path in shards else {path}), copy
        assert (path in found) == (bad != good), copy
        rounds.counts["found" if found else "the same"] += 1
        if path in shards and rng.random() < 0.1:
            try:
                assert _images(copy, info) == images, copy
                rounds.counts["read all the same"] += 1
            except UserError as error:
                assert path in str(error), copy
                assert len(str(error).splitlines()) == 1
                rounds.counts["refused by training"] += 1
        (copy / path).write_bytes(good)
    assert rounds.counts["found"] >= 80
    assert rounds.counts["refused by training"] >= 5


def test_manifests(dataset: Path, copy: Path, damaged: Damage, rounds: Any) -> None:
    info = metadata.load(str(dataset))
    path = copy / layout.MANIFEST
    good = path.read_bytes()
    for rng in rounds.least(500):
        bad = damaged(good, good, rng)
        path.write_bytes(bad)
        try:
            # Without its digest it is an older one, of which verify finds most of what is wrong.
            assert metadata.load(str(copy)) == info or b'"sha256": "' not in bad[-100:], copy
            rounds.counts["the same"] += 1
        except UserError as error:
            assert str(path) in str(error), copy
            assert len(str(error).splitlines()) == 1, copy
            rounds.counts["refused"] += 1
    assert rounds.counts["refused"] > 100
