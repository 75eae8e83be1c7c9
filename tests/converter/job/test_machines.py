"""Whole conversions on machines with any number of cores, and with little memory: the program itself, run as it is."""

import contextlib
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from schemas import layout

Draw = Callable[..., bytes]
WriteCsv = Callable[..., Path]

# 24 shards, and processes however small the CSV is.
_SHARDS = "--num_shards=12"

# Processes beside those that write shards: the program, the one that all others are forked from, the one that watches
# over semaphores, and one that a library starts for a moment.
_BESIDE = 4

# Makes Python believe in cores before anything asks for them.
_WITH_CORES = """
import os, sys
if __name__ == "__main__":
    cores = int(sys.argv.pop(1))
    os.sched_getaffinity = lambda pid: set(range(cores))
    os.cpu_count = lambda: cores
    from converter.job import sizing
    sizing._PROCESSES_ROWS = 0
    from converter.__main__ import run
    run()
"""

# The same for native libraries, which ask the system.
_FAKE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int cores(void) { return atoi(getenv("FAKE_CORES")); }
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {
  memset(set, 0, size);
  for (int i = 0; i < cores() && i < (int)size * 8; i++) CPU_SET_S(i, size, set);
  return 0;
}
long sysconf(int name) {
  long (*real)(int) = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
  return name == _SC_NPROCESSORS_ONLN || name == _SC_NPROCESSORS_CONF ? cores() : real(name);
}
int get_nprocs(void) { return cores(); }
int get_nprocs_conf(void) { return cores(); }
"""


class Run(NamedTuple):
    """Outcome of a conversion; `processes` and `threads` are the most that were seen at a time."""

    status: int
    output: str
    files: dict[str, str]
    processes: int
    threads: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, draw: Draw, write_csv: WriteCsv) -> Path:
    """Returns a folder with 300 plain JPEGs and labels.csv, and 60 PNGs, which TensorFlow decodes, and png.csv."""
    folder = tmp_path_factory.mktemp("machines")
    (folder / "images").mkdir()
    names = [f"{i:04d}.jpg" for i in range(300)]
    for i, name in enumerate(names):
        (folder / "images" / name).write_bytes(draw(i, width=96, height=64))
    write_csv(folder / "labels.csv", [("file", "sea"), *((name, i % 2) for i, name in enumerate(names))])
    names = [f"{i:04d}.png" for i in range(60)]
    for i, name in enumerate(names):
        (folder / "images" / name).write_bytes(draw(i, width=96, height=64, file_format="PNG"))
    write_csv(folder / "png.csv", [("file", "sea"), *((name, i % 2) for i, name in enumerate(names))])
    (folder / "with_cores.py").write_text(_WITH_CORES)
    return folder


def _convert(
    folder: Path,
    output: Path,
    cores: int,
    *flags: str,
    csv: str = "labels.csv",
    limit: Callable[[], None] | None = None,
    **environment: str,
) -> Run:
    paths = (f"--csv={folder / csv}", f"--images={folder}/images", f"--output={output}")
    checkout = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, str(folder / "with_cores.py"), str(cores), *paths, _SHARDS, *flags],
        env={**os.environ, "PYTHONPATH": checkout, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limit,
    ) as process:
        program, processes, threads = psutil.Process(process.pid), 1, 1
        while process.poll() is None:
            time.sleep(0.005)
            with contextlib.suppress(psutil.Error):
                below = [program, *program.children(recursive=True)]
                processes = max(processes, len(below))
                threads = max(threads, sum(one.num_threads() for one in below))
        assert process.stdout
        said = process.stdout.read()
    dataset = output / "dataset/1.0.0"
    files = {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in dataset.rglob("*")
        if path.is_file() and path.name != layout.CONVERSION
    }
    return Run(process.returncode, said, files, processes, threads)


@pytest.mark.slow
def test_any_number_of_cores_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    runs = {cores: _convert(folder, tmp_path / str(cores), cores) for cores in (1, 9, 200)}
    assert {run.status for run in runs.values()} == {0}, runs
    assert len({tuple(sorted(run.files.items())) for run in runs.values()}) == 1
    assert runs[1].processes == 1
    # 24 shards are the work.
    assert 3 <= runs[9].processes <= _BESIDE + 9
    assert runs[200].processes <= _BESIDE + 24
    assert runs[200].threads < 200


@pytest.mark.slow
def test_libraries_start_no_threads_of_their_own(folder: Path, tmp_path: Path) -> None:
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler to make the libraries believe in 200 cores")
    (tmp_path / "fake.c").write_text(_FAKE)
    command = ["cc", "-shared", "-fPIC", "-o", f"{tmp_path}/fake.so", f"{tmp_path}/fake.c", "-ldl"]
    subprocess.run(command, check=True)
    flags, environment = "--num_shards=2", {"FAKE_CORES": "200", "LD_PRELOAD": f"{tmp_path}/fake.so"}
    run = _convert(folder, tmp_path / "out", 200, flags, csv="png.csv", **environment)
    assert run.status == 0, run.output
    # In each of the four that write shards, a library may start one for a moment.
    assert run.processes <= _BESIDE + 2 * 4
    # Of TensorFlow alone there were 400 in each.
    assert run.threads < 150


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "most"), [(1, 1), (3, _BESIDE + 3)])
def test_the_number_of_threads_that_is_asked_for_is_obeyed(folder: Path, tmp_path: Path, asked: int, most: int) -> None:
    run = _convert(folder, tmp_path, 64, f"--num_threads={asked}")
    assert run.status == 0
    assert run.processes <= most


def _is_one_sentence(text: str) -> bool:
    """Whether a conversion ended with one sentence, and with the lines about the files that it leaves, if any."""
    left = r"(?:No shard was finished|\d+ finished shards? (?:is|are) kept)[^\n]+\nTo clear it: rm -r [^\n]+\n"
    return re.fullmatch(rf"error: [^\n]+\n(?:{left})?", text) is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("csv", "megabytes"),
    [
        ("labels.csv", 500),
        ("png.csv", 1500),
        ("labels.csv", 2500),
        *(
            pytest.param(name, size, marks=pytest.mark.extended)
            for name, sizes in (("labels.csv", (1500, 6000)), ("png.csv", (500, 2500, 6000)))
            for size in sizes
        ),
    ],
)
def test_with_few_addresses_it_ends_well_or_with_one_sentence(
    folder: Path, tmp_path: Path, csv: str, megabytes: int
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 1_000_000,) * 2)

    run = _convert(folder, tmp_path, 2, csv=csv, limit=limit)
    if megabytes == 6000:
        assert run.status == 0, run.output
    elif megabytes < 2000:
        assert run.output.startswith("error: A conversion needs 2 GB of addresses, and the limit of this shell leaves ")
    if run.status:
        assert _is_one_sentence(run.output), run.output
    else:
        assert run.files


@pytest.fixture
def group() -> Iterator[Path]:
    """Returns a control group of its own, of version 1 or 2."""
    roots = [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")]
    made = None
    for root in roots:
        limits = ("memory.limit_in_bytes", "memory.max")
        with contextlib.suppress(OSError):
            made = root / f"multihot_{uuid.uuid4().hex}"
            made.mkdir()
            if any((made / name).exists() for name in limits):
                break
            made.rmdir()
        made = None
    if made is None:
        pytest.skip("no control group for memory can be made here")
    yield made
    made.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("csv", "megabytes"),
    [
        ("labels.csv", 350),
        pytest.param("png.csv", 230, marks=pytest.mark.extended),
        ("png.csv", 1000),
    ],
)
def test_in_a_control_group_with_little_memory_it_ends_well_or_with_one_sentence(
    folder: Path, tmp_path: Path, group: Path, csv: str, megabytes: int
) -> None:
    version = 2 if (group / "memory.max").exists() else 1
    (group / ("memory.max" if version == 2 else "memory.limit_in_bytes")).write_text(str(megabytes * 1_000_000))

    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    run = _convert(folder, tmp_path, 16, csv=csv, limit=enter)
    if megabytes == 230:  # The job itself takes 203 MB before the first image.
        assert run.output.startswith("error: TensorFlow needs 280 MB of memory, and ")
        assert _is_one_sentence(run.output)
    else:
        assert run.status == 0, run.output
        # A process takes 400 MB, and all of them half of what there is.
        assert run.processes <= 1 + 1
