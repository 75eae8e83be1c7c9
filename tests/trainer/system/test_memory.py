"""A lack of memory ends a run with a message that names the flags."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from multihot.errors import UserError
from trainer.config import TrainConfig
from trainer.system import memory

Config = Callable[..., TrainConfig]
Command = Callable[..., subprocess.CompletedProcess[str]]
CHECKOUT = Path(__file__).parents[3]
_ON_CPU = (
    "{{{{function_node __wrapped__Conv2D}}}} OOM when allocating tensor with shape[32,64,224,224] and type {type} on "
    "/job:localhost/replica:0/task:0/device:{device}:0 by allocator x [Op:Conv2D]"
)


def _exhausted(text: str) -> tf.errors.ResourceExhaustedError:
    return tf.errors.ResourceExhaustedError(None, None, text)


@pytest.mark.parametrize(
    ("error", "start"),
    [
        pytest.param(
            _exhausted(_ON_CPU.format(type="float", device="CPU")),
            "The memory of this machine is too small for training: 411.0 MB were requested. ",
            id="a tensor on the CPU",
        ),
        pytest.param(
            _exhausted(_ON_CPU.format(type="half", device="GPU")),
            "The memory of a GPU is too small for training: 205.5 MB were requested. ",
            id="a tensor on a GPU",
        ),
        pytest.param(
            _exhausted("Out of memory while trying to allocate 9663676416 bytes. [[{{node StatefulPartitionedCall}}]]"),
            "The memory of this machine is too small for training: 9.7 GB were requested. ",
            id="XLA",
        ),
        pytest.param(
            tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
            "The memory of a GPU is too small for training. ",
            id="the driver of a GPU",
        ),
        pytest.param(
            _exhausted("failed to allocate memory"), "The memory of this machine is too small for training. ", id="bare"
        ),
        pytest.param(MemoryError(), "The memory of this machine is too small for training. ", id="Python"),
        pytest.param(
            np._core._exceptions._ArrayMemoryError((1 << 20, 1 << 10), np.dtype(np.float64)),
            "The memory of this machine is too small for training: 8.6 GB were requested. ",
            id="numpy",
        ),
        pytest.param(
            OSError(errno.ENOMEM, "Cannot allocate memory"),
            "The memory of this machine is too small for training. ",
            id="the system",
        ),
    ],
)
def test_a_lack_of_memory_names_the_flags(error: Exception, start: str, config: Config) -> None:
    flags = ("batch_size", "image_size", "model", "cache")
    with pytest.raises(UserError) as raised, memory.explained(config(batch_size=9), "training", flags):
        raise error
    assert str(raised.value) == (
        f"{start}To use less memory, choose a smaller --batch_size (it is 9) or a smaller --image_size (it is 32) "
        "or a smaller --model (it is small_resnet) or --cache=disk or --cache=none, which keep nothing in memory."
    )


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        tf.errors.InvalidArgumentError(None, None, "Input is empty."),
        ValueError("ROOM"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors_stay_what_they_are(error: BaseException, config: Config) -> None:
    with pytest.raises(type(error)) as raised, memory.explained(config(), "training", ("model",)):
        raise error
    assert raised.value is error


def test_a_full_disk_is_no_lack_of_memory(config: Config) -> None:
    error = _exhausted("/data/run/events.out; No space left on device")
    with (
        pytest.raises(UserError, match=r"^No space left on device: /data/run/events\.out") as raised,
        memory.explained(config(), "training", ("model",)),
    ):
        raise error
    assert "--" not in str(raised.value)


@pytest.mark.slow
def test_a_tensor_that_tensorflow_refuses(config: Config) -> None:
    with (
        pytest.raises(UserError, match=r"too small for training: 4,000,000\.0 GB were requested\. "),
        memory.explained(config(), "training", ("model",)),
    ):
        tf.zeros((1000, 1000, 1000, 1000, 1000))


def test_a_batch_larger_than_the_memory_is_refused(command: Command, data: Path, tmp_path: Path) -> None:
    ended = command(f"--data={data}", f"--output={tmp_path / 'run'}", "--image_size=1000000", "--cache=none")
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "error: The memory of this machine is too small for a batch: 32 images of 1000000 x 1000000 pixels take "
        "384,000.0 GB as float32, and "
    )
    assert ended.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_training_that_takes_all_memory_ends_with_the_flags(data: Path, tmp_path: Path) -> None:
    """The address space is limited to 1.5 GB more than importing TensorFlow takes."""
    program = (
        "import os, resource, sys, psutil\n"
        "from multihot.quiet import quiet\n"
        "with quiet():\n"
        "    from trainer import main, train\n"
        "limit = psutil.Process().memory_info().vms + 1_500_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "main.run()\n"
    )
    flags = (f"--data={data}", f"--output={tmp_path / 'run'}", "--image_size=512", "--batch_size=48", "--epochs=1")
    ended = subprocess.run(
        [sys.executable, "-c", program, *flags, "--cache=none"],
        cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    # The line before it may be that little memory is left.
    sentence, *_, last = (line for line in ended.stderr.splitlines() if line and not line.startswith("Only "))
    assert sentence.startswith("error: The memory of this machine is too small for training")
    assert "--batch_size (it is 48)" in sentence
    assert last == f"To clear it: rm -r {tmp_path / 'run'}"


def test_a_run_that_uses_nearly_all_memory_says_so_once(
    config: Config, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rooms = iter([900_000_000, 500_000_000, 90_000_000])
    said = threading.Event()

    def available() -> int:
        room = next(rooms, None)
        if room is None:
            pytest.fail("it is not looked at again")
        if room < 100_000_000:
            said.set()
        return room

    monkeypatch.setattr(memory.machine, "available_memory", available)
    with memory.watched(config(batch_size=64)):
        assert said.wait(10)
        time.sleep(0.5)
    expected = "Only 90.0 MB of memory are left. The system may kill this run without an error message. "
    assert capfd.readouterr().err.startswith(f"\n{expected}To use less memory, choose a smaller --batch_size ")


def test_a_run_with_enough_memory_says_nothing(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    with memory.watched(config()):
        time.sleep(0.5)
    assert not capfd.readouterr().err
