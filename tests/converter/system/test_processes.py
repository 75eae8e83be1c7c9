"""Shards that are written in processes beside the one that runs the job."""

import filecmp
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from converter.job import pipeline, sizing
from converter.options import ConvertOptions
from converter.system import processes
from multihot.errors import UserError
from schemas import layout

Draw = Callable[..., bytes]
WriteCsv = Callable[..., Path]


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Has two processes, started where the process of the tests was not."""
    monkeypatch.chdir(tmp_path)
    with processes.started(2):
        yield


def test_calls_are_made_in_other_processes_in_the_folder_of_this_one(two: None, tmp_path: Path) -> None:
    assert processes.number() == 2
    pids = {processes.begin(os.getpid)() for _ in range(4)}
    assert os.getpid() not in pids
    assert processes.begin(os.getcwd)() == str(tmp_path)


def test_calls_of_one_process_are_made_in_it_when_they_are_asked_for(tmp_path: Path) -> None:
    with processes.started(1):
        assert processes.number() == 1
        make = processes.begin((tmp_path / "made").mkdir)
        assert not (tmp_path / "made").exists()
        make()
        assert (tmp_path / "made").exists()
        assert processes.begin(os.getpid)() == os.getpid()


def test_what_a_call_raises_is_raised_here(two: None) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        processes.begin(os.stat, "missing")()
    assert raised.value.filename == "missing"


def test_a_process_that_is_killed_is_an_error_that_says_what_to_do(two: None) -> None:
    with pytest.raises(UserError, match=r"killed.*--num_threads=1"):
        processes.begin(signal.raise_signal, signal.SIGKILL)()


def test_after_one_that_was_killed_no_other_call_is_begun(two: None) -> None:
    killed = processes.begin(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(UserError, match=r"killed.*--num_threads=1"):
        killed()
    with pytest.raises(UserError, match=r"killed.*--num_threads=1"):
        processes.begin(os.getpid)


def test_none_are_left_behind(tmp_path: Path) -> None:
    with processes.started(2):
        pid = processes.begin(os.getpid)()
    assert processes.number() == 1
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=20)
    assert not psutil.pid_exists(pid)


def test_nobody_waits_for_them_after_an_exception() -> None:
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), processes.started(2):
        pid = processes.begin(os.getpid)()
        processes.begin(time.sleep, 600)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 60
    assert not psutil.pid_exists(pid)


def test_a_small_csv_starts_none() -> None:
    assert sizing.num_processes(1 << 10, 8, 1 << 40, in_store=False) == 1
    assert sizing.num_processes(1 << 20, 8, 1 << 40, in_store=False) == 8


@pytest.mark.slow
def test_the_dataset_is_the_same(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "_PROCESSES_ROWS", 0)
    found = {}
    for number in (1, 2):
        options = ConvertOptions(
            csv=str(scenes / "labels.csv"),
            images=str(scenes / "images"),
            output=str(tmp_path / str(number)),
            num_shards={"": 3},
            num_threads=number,
        )
        assert pipeline.convert(options, max_processes=number)
        found[number] = Path(options.dataset)
    files = sorted(p.relative_to(found[1]).as_posix() for p in found[1].rglob("*") if p.is_file())
    _, different, missing = filecmp.cmpfiles(found[1], found[2], files, shallow=False)
    assert different == [layout.CONVERSION]
    assert not missing


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes by their parents")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGKILL, -9, id="SIGKILL"),
    ],
)
@pytest.mark.parametrize("to_all", [False, True], ids=["to one", "to all of them, as a terminal does"])
def test_they_end_with_the_one_that_started_them(
    sent: int, status: int, to_all: bool, tmp_path: Path, draw: Draw, write_csv: WriteCsv
) -> None:
    names = [f"a-name-that-makes-the-table-large-enough-{i:06d}.jpg" for i in range(6000)]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / names[0]).write_bytes(draw(width=300, height=200))
    for name in names[1:]:
        os.link(tmp_path / "images" / names[0], tmp_path / "images" / name)
    write_csv(tmp_path / "labels.csv", [("file", "sea"), *((name, 1) for name in names)])
    paths = (f"--csv={tmp_path}/labels.csv", f"--images={tmp_path}/images", f"--output={tmp_path}/out")
    command = [sys.executable, "-m", "converter", *paths, "--num_threads=2"]
    incomplete = tmp_path / "out/dataset/1.0.0.incomplete"
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[3], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        program = psutil.Process(process.pid)
        while not next(incomplete.rglob("made_from/attempts/*/*.json"), None):
            assert process.poll() is None
            time.sleep(0.01)
        below = program.children(recursive=True)
        assert len(below) >= 3  # The two, and the one that they are forked from.
        os.killpg(process.pid, sent) if to_all else process.send_signal(sent)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == status
    if sent == signal.SIGKILL:
        assert said == ""  # The tracker of multiprocessing's resources told of semaphores.
    else:
        # The other processes may finish a shard after the message: it gives the number of its moment.
        counted = re.sub(r"\d+ finished shards? (is|are) kept", "N finished shards are kept", said)
        assert counted.splitlines() == [
            "Interrupted.",
            f"N finished shards are kept in {incomplete}. This command continues with the others:",
            shlex.join(["python", *command[1:]]),
            f"To clear it: rm -r {incomplete}",
        ]
        found = re.search(r"\d+", said.splitlines()[1])
        assert found
        assert 1 <= int(found[0]) <= len(list(incomplete.glob("made_from/attempts/*/*.json")))
    _, alive = psutil.wait_procs(below, timeout=20)
    assert not alive
    subprocess.run(command, cwd=Path(__file__).parents[3], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "out/dataset/1.0.0/manifest.json").exists()
    assert not list((tmp_path / "out").rglob("*.tfrecord.*"))  # No file stays that was unfinished.
