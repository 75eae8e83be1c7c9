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

import keras
import numpy as np
import pytest
import tensorflow as tf

from schemas.metadata import DatasetInfo
from trainer.config import TrainConfig
from trainer.sources import Sources, combine
from trainer.training import averaging, compilation

Config = Callable[..., TrainConfig]
Compiled = Callable[[TrainConfig, Sources], keras.Model]

CHECKOUT = Path(__file__).parents[3]

# XLA is for GPUs, where Keras decides on it; here it compiles for the CPU.
_PROGRAM = """
import sys
from trainer.training import compilation
from trainer import train
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
        pytest.param(5, 15, id="half of an odd number of epochs"),
        pytest.param(1, 3, id="half of one epoch"),
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


def test_one_class_has_a_loss_and_a_metric(config: Config, info: DatasetInfo, compiled: Compiled) -> None:
    splits = tuple(
        dataclasses.replace(split, statistics=dataclasses.replace(split.statistics, positives=(7,)))
        for split in info.splits
    )
    one = combine([("", dataclasses.replace(info, classes=("one",), splits=splits))])
    network = compiled(config(image_size=8), one)
    images = np.zeros((4, 8, 8, 3), np.uint8)
    logs = network.test_on_batch(images, np.array([[0.0], [1.0], [0.0], [1.0]]), return_dict=True)
    assert all(math.isfinite(value) for value in logs.values())


def _constant(config: Config, **changes: Any) -> TrainConfig:
    return config(schedule="constant", learning_rate=0.1, **{"weight_decay": 0.0, "ema": 0.0, **changes})


def _line(config: TrainConfig, *, scale: float = 0.0) -> keras.Model:
    """Returns a model without normalization, with the optimizer of a run; in it one that scales the loss."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2, activation="sigmoid")])
    made = compilation.optimizer(network, config, steps=8)
    outer = keras.optimizers.LossScaleOptimizer(made, initial_scale=scale) if scale else made
    network.compile(outer, "binary_crossentropy")
    return network


def _trained(network: keras.Model, *, batches: int, size: int) -> list[np.ndarray]:
    """Returns the weights after batches of the same examples, which are divided in the order of their numbers."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(batches * size, 3)).astype(np.float32)
    labels = rng.integers(0, 2, (batches * size, 2)).astype(np.float32)
    for start in range(0, len(inputs), size):
        network.train_on_batch(inputs[start : start + size], labels[start : start + size])
    return network.get_weights()


def test_biases_and_normalization_do_not_decay(config: Config, sources: Sources, compiled: Compiled) -> None:
    network = compiled(_constant(config, image_size=8, model="small_resnet", weight_decay=0.5), sources)
    before = [variable.numpy() + 0.25 for variable in network.trainable_variables]
    for variable, value in zip(network.trainable_variables, before, strict=True):
        variable.assign(value)
    network.optimizer.apply([tf.zeros(variable.shape) for variable in network.trainable_variables])
    decayed = set()
    for variable, value in zip(network.trainable_variables, before, strict=True):
        kept = 0.95 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(variable.numpy(), value * kept, rtol=1e-6)
        decayed.add((variable.name, kept))
    assert decayed == {("kernel", 0.95), ("gamma", 1.0), ("beta", 1.0), ("bias", 1.0)}


@pytest.mark.parametrize(("norm", "expected"), [(0.5, 0.5), (1e6, 20.0), (0.0, 20.0)])
def test_the_gradient_of_a_step_has_at_most_this_norm(norm: float, expected: float, config: Config) -> None:
    network = _line(_constant(config, clip_norm=norm))
    sizes = [math.prod(variable.shape) for variable in network.trainable_variables]
    length = 20 / math.sqrt(sum(sizes))
    network.optimizer.apply(
        [tf.fill(variable.shape, length) for variable in network.trainable_variables], network.trainable_variables
    )
    momentums = [variable.numpy().ravel() for variable in network.optimizer.variables if "momentum" in variable.path]
    # Momentum is a tenth of the gradient after one step.
    assert np.linalg.norm(np.concatenate(momentums)) * 10 == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, 0.05])
def test_accumulated_batches_are_one_large_batch(clip_norm: float, config: Config) -> None:
    several = _trained(_line(_constant(config, accumulate=4, clip_norm=clip_norm)), batches=12, size=5)
    one = _trained(_line(_constant(config, clip_norm=clip_norm)), batches=3, size=20)
    for found, expected in zip(several, one, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_schedule_ends_with_the_last_batch_if_several_make_a_step(config: Config) -> None:
    network = _line(config(accumulate=4, epochs=2, learning_rate=0.5))
    rates = []
    for _ in range(16):
        rates.append(float(network.optimizer.learning_rate))
        _trained(network, batches=1, size=5)
    alone: Any = compilation.schedule(config(epochs=2, learning_rate=0.5), steps=8)
    assert rates == pytest.approx([float(alone(i)) for i in range(16)])
    assert int(network.optimizer.iterations) == 4
    assert float(network.optimizer.learning_rate) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_scaled_loss_changes_no_weight(accumulate: int, config: Config) -> None:
    asked = _constant(config, accumulate=accumulate, clip_norm=0.05, weight_decay=0.1, ema=0.9)
    usual, scaled = _line(asked), _line(asked, scale=2.0**15)
    for found, expected in zip(_trained(scaled, batches=6, size=5), _trained(usual, batches=6, size=5), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert int(scaled.optimizer.iterations) == int(usual.optimizer.iterations) == 6 // accumulate
    for found, expected in zip(averaging.variables(scaled), averaging.variables(usual), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.extended
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
