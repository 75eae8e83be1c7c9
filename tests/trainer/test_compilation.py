"""A compiled model has its schedule and its loss, and XLA compiles its training step once."""

import dataclasses
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.metadata import DatasetInfo
from trainer import compilation
from trainer.config import TrainConfig
from trainer.sources import combine

Config = Callable[..., TrainConfig]

CHECKOUT = Path(__file__).parents[2]

# XLA is for GPUs, where Keras decides on it; here it compiles for the CPU.
_PROGRAM = """
import sys
from trainer import compilation, train
from trainer.config import TrainConfig

compiled = compilation.compile_network

def with_xla(network, *args, **kwargs):
    compiled(network, *args, **kwargs)
    network.jit_compile = True

compilation.compile_network = with_xla
train.train_and_evaluate(
    TrainConfig(data=(sys.argv[1],), output=sys.argv[2], image_size=8, batch_size=20, epochs=3, cache=sys.argv[3])
)
"""


@pytest.mark.parametrize(
    ("epochs", "warmup"),
    [
        pytest.param(10, 18, id="three epochs"),
        pytest.param(4, 12, id="half of a short run"),
        pytest.param(1, 0, id="none"),
    ],
)
def test_the_cosine_schedule_warms_up_and_falls_to_0(epochs: int, warmup: int, config: Config) -> None:
    schedule: Any = compilation.schedule(config(epochs=epochs, learning_rate=0.5), steps=6)
    rates = [float(schedule(step)) for step in range(epochs * 6 + 1)]
    assert rates[warmup] == max(rates) == pytest.approx(0.5)
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-6)
    assert warmup == 0 or rates[0] == 0


def test_the_constant_schedule_stays(config: Config) -> None:
    assert compilation.schedule(config(schedule="constant", learning_rate=0.5), steps=6) == 0.5


def test_one_class_has_a_loss_and_a_metric(config: Config, info: DatasetInfo) -> None:
    splits = tuple(
        dataclasses.replace(split, statistics=dataclasses.replace(split.statistics, positives=(7,)))
        for split in info.splits
    )
    one = combine([("", dataclasses.replace(info, classes=("one",), splits=splits))])
    network = compilation.compile_model(config(image_size=8), one)
    images = np.zeros((4, 8, 8, 3), np.uint8)
    logs = network.test_on_batch(images, np.array([[0.0], [1.0], [0.0], [1.0]]), return_dict=True)
    assert all(math.isfinite(value) for value in logs.values())


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["decoded", "none"])
def test_a_batch_that_is_not_full_compiles_nothing_anew(cache: str, data: Path, tmp_path: Path) -> None:
    """Trains on 48 images and validates on 21, no multiples of the batch size of 20, and measures the throughput."""
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(data), str(tmp_path / "run"), cache],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": ".", "XLA_FLAGS": f"--xla_dump_to={tmp_path}/xla --xla_dump_hlo_as_text"},
        check=True,
        capture_output=True,
        timeout=600,
    )
    modules = [path.name for path in (tmp_path / "xla").glob("*.before_optimizations.txt")]
    assert [re.sub(r"^module_\d+\.a_inference_(\w+?)_\d+_.*", r"\1", name) for name in modules] == ["one_step_on_data"]
