"""Trainings on several devices and by several processes give the metrics of one, and go on when a process is lost."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ports
from multihot.errors import UserError
from trainer.config import TrainConfig
from trainer.system import strategies
from trainer.system.strategies import Place

_ROOT = Path(__file__).parents[3]
# Two logical CPUs are the devices of --strategy=mirrored.
_PROGRAM = """
import sys
import tensorflow as tf
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
from trainer import main
main.run()
"""
# Without dropout, which differs between replicas.
_MODEL = """
from keras import Input, Model, layers
def build(image_shape, num_classes):
    pixels = Input(image_shape)
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", padding="same")(x)
    return Model(pixels, layers.Conv2D(8, 3, activation="relu", padding="same")(x))
"""
# Eight steps an epoch.
_FLAGS = (
    "--image_size=32",
    "--batch_size=6",
    "--epochs=8",
    "--learning_rate=1e-2",
    "--augment=full",
    "--ema=0.9",
    "--optimizer=muon",
    "--sam_rho=0.15",
)
_FLOAT32 = "--precision=float32"


def _config(**settings: Any) -> TrainConfig:
    return TrainConfig(data=("data",), output="run", **settings)


def test_the_place_of_a_process_is_that_of_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["d:1"]}
    config = _config(strategy="multi_worker")
    for kind, index, expected in (("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))
        assert strategies.place(config) == Place(expected, 3)
    assert strategies.place(_config()) == Place(0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_place_that_is_none_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=r"TF_CONFIG.*as in \{"):
        strategies.place(_config(strategy="multi_worker"))


@pytest.mark.parametrize("settings", [{"clip_norm": 1.0}, {"accumulate": 2}])
def test_what_is_for_one_device_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is for one device"):
        _config(strategy="mirrored", **settings)


@pytest.fixture(scope="module")
def flags(data: Path) -> tuple[str, ...]:
    """Returns the flags of a run, without its output and its strategy."""
    return (f"--data={data}", "--model=own_network:build", _FLOAT32, *_FLAGS)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Returns the environment of a program that finds the model."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_network.py").write_text(_MODEL)
    return {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{folder}"}


@pytest.fixture(scope="module")
def one_and_two(
    flags: Sequence[str], environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Returns the folders of a run on one device, and of one on two."""
    one, two = (tmp_path_factory.mktemp("runs") / name for name in ("one", "two"))
    for output, strategy in ((one, "none"), (two, "mirrored")):
        command = [sys.executable, "-c", _PROGRAM, f"--output={output}", f"--strategy={strategy}", *flags]
        subprocess.run(command, env=environment, check=True, timeout=300)
    return one, two


def _history(run: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads((run / "history.json").read_text())
    return found


def _assert_same(one: Path, other: Path) -> None:
    """Asserts that two runs have the same metrics after each epoch, but for rounding."""
    expected, found = _history(one), _history(other)
    assert found["loss"][-1] < found["loss"][0] - 0.01
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3)
    assert json.loads((other / "evaluation.json").read_text())["num_examples"] == 21


class Workers:
    """The processes of a training."""

    def __init__(self, num: int, output: Path, flags: Sequence[str], environment: dict[str, str]) -> None:
        port = ports.free(num)
        self._cluster = {"worker": [f"127.0.0.1:{port + i}" for i in range(num)]}
        self._command = [sys.executable, "-m", "trainer", f"--output={output}", "--strategy=multi_worker", *flags]
        self._environment = environment
        # In files: a pipe that nobody reads fills up, and its process waits.
        self._printed = [output.parent.with_name(f"{output.parent.name}-worker-{i}") for i in range(num)]
        self.processes = [self.start(i) for i in range(num)]

    def start(self, index: int) -> "subprocess.Popen[bytes]":
        """Starts a worker, or starts it again."""
        place = json.dumps({"cluster": self._cluster, "task": {"type": "worker", "index": index}})
        with self._printed[index].open("w") as printed:
            return subprocess.Popen(
                self._command, env={**self._environment, "TF_CONFIG": place}, stdout=printed, stderr=subprocess.STDOUT
            )

    def outputs(self) -> list[str]:
        """Waits for all of them, and returns what they printed."""
        try:
            codes = [process.wait(timeout=300) for process in self.processes]
        finally:
            self.kill()
        found = [path.read_text() for path in self._printed]
        assert codes == [0] * len(found), "\n".join(found)
        return found

    def kill(self) -> None:
        """Ends all of them."""
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_two_devices_train_as_one(one_and_two: tuple[Path, Path]) -> None:
    _assert_same(*one_and_two)


@pytest.mark.extended
@pytest.mark.slow
def test_three_processes_train_as_one(
    one_and_two: tuple[Path, Path], flags: Sequence[str], environment: dict[str, str], tmp_path: Path
) -> None:
    outputs = Workers(3, tmp_path / "run", flags, environment).outputs()
    _assert_same(one_and_two[0], tmp_path / "run")
    # The dataset has three shards. One process prints the progress.
    assert ["Epoch 8/8" in output for output in outputs] == [True, False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_a_worker_that_is_killed_comes_back(
    one_and_two: tuple[Path, Path], flags: Sequence[str], environment: dict[str, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    workers = Workers(2, run, (*flags, "--checkpoint_seconds=0"), environment)
    end = time.monotonic() + 200
    while not (run / "history.json").exists():
        if time.monotonic() > end:
            workers.kill()
            pytest.fail("no epoch has ended")
        time.sleep(0.05)
    workers.processes[1].kill()
    workers.processes[1].wait()
    assert len(_history(run)["loss"]) < 8
    workers.processes[1] = workers.start(1)
    chief, _ = workers.outputs()
    assert "A worker is gone" in chief
    assert "Going on after" in chief
    _assert_same(one_and_two[0], run)
