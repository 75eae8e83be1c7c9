"""scripts/bench_scale: what is looked at, and the whole command on a few images."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import scale

_ROOT = Path(__file__).parents[1]


def test_a_process_has_memory_and_time_and_one_that_has_ended_has_none() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    pids = [os.getpid(), ended.pid]
    (megabytes,) = scale.memory(pids).values()
    assert 10 < megabytes < 100_000
    assert [*scale.cpu_seconds(pids)] == [os.getpid()]


def test_a_shard_is_finished_when_it_has_a_note(tmp_path: Path) -> None:
    assert scale.finished(tmp_path) == 0
    for i in range(3):
        (tmp_path / f"made_from/attempts/train-{i}").mkdir(parents=True)
    for name in ("train-0/a", "train-0/b", "train-2/c"):
        (tmp_path / f"made_from/attempts/{name}.json").touch()
    assert scale.finished(tmp_path) == 2


def test_a_command_that_is_stopped_is_killed() -> None:
    run = scale.attempt([sys.executable, "-c", "import time; time.sleep(60)"], [], lambda: True)
    assert run.killed
    assert run.seconds < 30
    assert run.kinds_mb.keys() == {"converter"}


@pytest.mark.slow
def test_the_whole_command(tmp_path: Path, draw: Callable[..., bytes]) -> None:
    (tmp_path / "originals").mkdir()
    for i in range(3):
        (tmp_path / f"originals/{i}.jpg").write_bytes(draw(i, width=160, height=120, quality=80))
    flags = ["--images=20", "--only=whole", f"--originals={tmp_path}/originals", f"--json={tmp_path}/out.json"]
    command = [sys.executable, _ROOT / "scripts/bench/scale.py", *flags, "--", "--num_threads=1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (whole,) = json.loads((tmp_path / "out.json").read_text()).values()
    assert said.startswith(f"whole: {whole['seconds']:.1f} s, ")
    assert whole["cpu_seconds"] > 1
    assert whole["peak_mb"] >= whole["kinds_mb"]["converter"] > 100
    assert 20 * 100 < whole["shuffled"] < 20 * 1000
