"""Whole trainings on other machines: with one core and with two hundred, and where there is little memory."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]

_RUNS = """
import json, os, sys
asked = json.loads(sys.argv[1])
if asked["group"]:
    with open(asked["group"], "w") as file:
        file.write("0")
# Before anything is imported.
os.sched_getaffinity = lambda pid: set(range(asked["cores"]))
from multihot import machine
machine._quota = lambda *_: None  # The quota of the machine that runs the tests does not count.
assert machine.usable_cores() == asked["cores"]
import keras
import tensorflow as tf
from trainer.models import small_resnet
tf.config.threading.set_inter_op_parallelism_threads(asked["cores"])
from trainer.config import TrainConfig
from trainer.train import train_and_evaluate

def backbone():
    "Returns the smallest one: the input is what is tested."
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.AveragePooling2D(8)(inputs))
small_resnet.backbone = backbone

for i, settings in enumerate(asked["runs"]):
    config = TrainConfig(
        data=(asked["data"],), output=f"{asked['output']}/{i}", cache_dir=f"{asked['output']}/caches", epochs=2,
        **{"image_size": 16, "batch_size": 5, **settings},
    )
    print("examples:", train_and_evaluate(config)["num_examples"], flush=True)
"""

RUNS: list[dict[str, Any]] = [
    {"cache": "decoded", "augment": "full"},
    {"cache": "decoded", "augment": "none"},
    {"cache": "encoded", "augment": "crop", "crop_from": "original"},
    {"cache": "encoded", "augment": "flip"},
    {"cache": "none", "augment": "full", "image_size": 100},
    {"cache": "disk", "augment": "crop"},
    {"cache": "features", "augment": "none", "freeze_backbone": True},
    {"cache": "none", "augment": "none", "batch_size": 1000},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cores", "runs"),
    [
        # Each half is for one and for many cores.
        pytest.param(1, RUNS[::2], id="1"),
        pytest.param(200, RUNS[1::2], id="200"),
        pytest.param(1, RUNS[1::2], id="1, others", marks=pytest.mark.extended),
        pytest.param(200, RUNS[::2], id="200, others", marks=pytest.mark.extended),
    ],
)
def test_any_number_of_cores_trains(cores: int, runs: list[dict[str, Any]], data: Path, tmp_path: Path) -> None:
    asked = {"cores": cores, "data": str(data), "output": str(tmp_path), "runs": runs, "group": ""}
    ended = subprocess.run(
        [sys.executable, "-c", _RUNS, json.dumps(asked)], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("examples: 21\n") == len(runs)


@contextlib.contextmanager
def _control_group(num_bytes: int) -> Iterator[Path]:
    """Makes a control group with a limit of memory; yields the file that takes processes."""
    version1 = Path("/sys/fs/cgroup/memory")
    root, limit = (version1, "memory.limit_in_bytes") if version1.is_dir() else (version1.parent, "memory.max")
    group = root / f"multihot-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(num_bytes))
        members = group / "cgroup.procs"
        assert members.exists()
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip("needs the right to make a control group with a limit of memory")
    try:
        yield members
    finally:
        group.rmdir()


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("crop_from", ["resized", "original"])
def test_a_container_with_little_memory_trains_and_is_not_killed(crop_from: str, many: str, tmp_path: Path) -> None:
    """The process itself takes some 800 MB; 64 calls that hold a batch each would take 1.5 GB."""
    with _control_group(1_600_000_000) as members:
        asked = {
            "cores": 64,
            "data": many,
            "output": str(tmp_path),
            "runs": [{"augment": "full", "image_size": 224, "batch_size": 32, "crop_from": crop_from}],
            "group": str(members),
        }
        ended = subprocess.run(
            [sys.executable, "-c", _RUNS, json.dumps(asked)], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
    assert ended.returncode == 0, (ended.returncode, ended.stderr)
    assert "examples: 10\n" in ended.stdout
    # Decoded images were not cached in memory: they would fit into the machine, but not into the limit.
    found = re.search(r"Cache: (.*?), with ", ended.stdout)
    assert found, ended.stdout
    assert "decoded images" not in found[1] or "on disk" in found[1], ended.stdout


_LIMITED = """
import resource, sys
import tensorflow as tf, keras
import psutil
from multihot import machine
from trainer import main, train
used = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv.pop(1)), -1))
assert machine.available_memory() <= used + 2_500_000_000
main.run()
"""


@pytest.mark.extended
@pytest.mark.slow
def test_a_limit_of_address_space_decides_what_is_kept(data: Path, tmp_path: Path) -> None:
    """48 images of 2250 x 2250 pixels, with the buffers, do not fit into half of the memory that `ulimit -v` leaves."""
    run = [f"--data={data}", f"--output={tmp_path / 'run'}", f"--cache_dir={tmp_path}", "--epochs=1", "--batch_size=4"]
    command = [sys.executable, "-c", _LIMITED, "2500000000", *run]
    small = subprocess.run([*command, "--image_size=16"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert small.returncode == 0, small.stderr
    assert "Cache: decoded images (0 MB) in memory" in small.stdout
    large = [*command, "--image_size=2000", "--cache=decoded", "--overwrite"]
    large[3] = "1500000000"
    ended = subprocess.run(large, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert re.search(r"error: --cache=decoded takes .* of memory, and \d+ MB are free\.", ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr
