"""The memory that a pipeline holds is bounded for any number of cores, and close to its estimate."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multihot import machine
from trainer.config import TrainConfig
from trainer.input import buffers, pipeline
from trainer.sources import Sources

CHECKOUT = Path(__file__).parents[3]
CORES = (1, 2, 9, 64, 200)


@pytest.fixture
def large(sources: Sources) -> Sources:
    """A dataset that has a million images, or says so."""
    [one] = sources.each
    splits = [
        dataclasses.replace(split, shards=(dataclasses.replace(split.shards[0], num_examples=1_000_000),))
        for split in one.info.splits
    ]
    return dataclasses.replace(
        sources, each=(dataclasses.replace(one, info=dataclasses.replace(one.info, splits=tuple(splits))),)
    )


def held(monkeypatch: pytest.MonkeyPatch, cores: int, config: TrainConfig, sources: Sources) -> buffers.Buffers:
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    return pipeline.plan_buffers(config, sources, decodes=True)


@pytest.mark.parametrize("crop_from", ["resized", "original"])
@pytest.mark.parametrize("image_size", [16, 64, 224, 512])
@pytest.mark.parametrize("batch_size", [1, 32, 256])
def test_more_cores_hold_no_more_than_a_bound(
    batch_size: int,
    image_size: int,
    crop_from: str,
    config: Callable[..., TrainConfig],
    large: Sources,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = config(image_size=image_size, batch_size=batch_size, augment="full", crop_from=crop_from)
    amounts = [held(monkeypatch, cores, asked, large) for cores in CORES]
    # Random numbers are drawn for a chunk.
    assert len({amount.chunk_size for amount in amounts}) == 1
    assert [amount.load_calls for amount in amounts[:2]] == [1, 2]
    batch_bytes = batch_size * (4 * 3 * image_size**2 + 4 * 4)
    most = 2 * buffers._CALLS_BYTES + buffers._PREFETCH_BYTES + 4 * batch_bytes
    for amount in amounts:
        # Two calls of each kind there may be, however large they are.
        two = amounts[1].num_bytes
        assert amount.num_bytes <= max(two, most) * 1.1
    assert amounts[0].num_bytes <= amounts[-1].num_bytes


def test_many_cores_are_used_where_images_are_small(
    config: Callable[..., TrainConfig], sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size, loads in ((32, 64), (64, 64), (224, 32)):
        assert held(monkeypatch, 64, config(image_size=size, augment="crop"), sources).load_calls >= loads
    assert held(monkeypatch, 64, config(image_size=224, augment="full"), sources).load_calls >= 8


@pytest.mark.parametrize(
    ("batch", "example", "chunk"),
    [
        pytest.param(32, 3 * 32**2, 160, id="many small images: five batches"),
        pytest.param(32, 3 * 64**2, 32, id="the default: a batch"),
        pytest.param(32, 3 * 224**2, 8, id="large images: a quarter of a batch"),
        pytest.param(33, 3 * 224**2, 8, id="an odd batch: even parts, for mixup"),
        pytest.param(5, 3 * 1000**2, 5, id="no larger than a batch"),
        pytest.param(1, 3 * 1000**2, 1, id="one image"),
        pytest.param(32, 3 * 32**2 + 40_000, 12, id="ten thousand classes"),
    ],
)
def test_about_half_a_megabyte_goes_through_a_step_together(batch: int, example: int, chunk: int) -> None:
    assert buffers._chunk(batch, example) == chunk


_MEASURE = """
import json, sys, time
import psutil
from multihot import machine
asked = json.loads(sys.argv[1])
machine.usable_cores = lambda: asked["cores"]
import tensorflow as tf
# As many threads as there would be.
tf.config.threading.set_inter_op_parallelism_threads(min(64, asked["cores"]))
from trainer.input import caching, pipeline
from trainer import sources
from trainer.config import TrainConfig
config = TrainConfig(data=(asked["data"],), output="none", **asked["config"])
data, kept = sources.load(config), asked["kept"]
for _ in tf.data.Dataset.range(9).shuffle(9).map(lambda i: i + 1, num_parallel_calls=2).batch(2):
    pass
start = psutil.Process().memory_info().rss
plan = caching.Plan(kept, False, "")
cached = caching.fill_or_open(plan, config, data, "train", pipeline.cached_image_size(config))
dataset = pipeline.training_dataset(config, data, cached, keep_encoded=kept == "encoded")
batches, most, growing = iter(dataset), 0, time.monotonic()
for _ in range(min(5, len(dataset))):  # Slowly, as a model that takes long: all buffers fill.
    next(batches)
    while time.monotonic() - growing < 1:
        now = psutil.Process().memory_info().rss - start
        if now > most * 1.02:
            most, growing = now, time.monotonic()
        time.sleep(0.02)
    growing = time.monotonic()
footprint = caching.footprints(config, data)[kept]
labels = cached.labels.numpy().nbytes if cached else 0
print(json.dumps({"most": most, "kept": footprint.cache_bytes, "held": footprint.buffer_bytes, "labels": labels}))
"""


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize(
    ("cores", "kept", "settings"),
    [
        pytest.param(64, "none", {"image_size": 224, "augment": "full"}, id="decoded in each epoch"),
        pytest.param(1, "none", {"image_size": 224, "augment": "full"}, id="decoded in each epoch, one core"),
        pytest.param(64, "none", {"image_size": 224, "augment": "crop", "crop_from": "original"}, id="originals"),
        pytest.param(64, "decoded", {"image_size": 224, "augment": "full"}, id="decoded"),
        pytest.param(200, "none", {"image_size": 160, "augment": "full", "batch_size": 128}, id="large batches"),
    ],
)
def test_the_estimate_is_what_is_allocated(cores: int, kept: str, settings: dict[str, Any], many: str) -> None:
    asked = {"cores": cores, "data": many, "config": settings, "kept": kept}
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURE, json.dumps(asked)], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    estimated = found["kept"] + found["held"]
    # The memory of a graph, and of the parts of TensorFlow that are loaded when they are first called.
    base = 150e6
    assert found["most"] <= 1.3 * estimated + base, found
    # The estimate is of two pipelines, and of calls that all run at once.
    assert estimated <= 10 * found["most"] + base, found
    if kept == "decoded":
        assert found["labels"] == 1490 * 500 * 4


def test_of_a_small_dataset_no_more_is_held_than_there_is(
    config: Callable[..., TrainConfig], sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(image_size=224, augment="full", batch_size=1)
    few, many = (held(monkeypatch, cores, asked, sources).num_bytes for cores in (9, 200))
    # All 48 training images, decoded, and as float32, with what the work on them takes, and what is read ahead.
    assert few <= many < 48 * (4 + 3 * 4) * 3 * 224**2 + 16e6


def test_several_datasets_share_the_bound(
    config: Callable[..., TrainConfig], large: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(image_size=224, augment="crop")
    several = dataclasses.replace(large, each=large.each * 8)
    alone, together = (held(monkeypatch, 200, asked, each) for each in (large, several))
    assert together.num_bytes < 1.5 * alone.num_bytes
