"""Converts many images, kills the conversion when half of the shards are finished, and goes on with it.

    scripts/bench_scale [--images=200000] [--engine=local|prism] [--csv=FILE --folder=FOLDER] [--shard_mb=20]
                        [--only=whole] [--originals=FOLDER] [--cache=FOLDER] [--json=FILE] [-- FLAGS OF THE CONVERTER]

Each run is the whole command, `python -m converter`. On Prism, the engine and a pool of workers are started for each
run, and are killed with it. The memory of a process is its proportional set size (PSS, Linux): pages that processes
share count once in all. Memory and CPU are looked at twice a second.

    s               seconds of the command
    CPU s           of all processes: it can be compared even if the machine does other work
    images/s        images / these seconds
    all MB          most memory of all processes together
    converter MB    most memory of the command itself; then of the largest of the other processes of each kind
    bytes/row       bytes that go through the shuffles of the engine of this process, for each row
    kept            shards that the second run has kept
"""

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import posixpath
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

import counted_shuffles
import made
import ports
from contenders import ENV
from made import Made

_ROOT = Path(__file__).resolve().parents[2]
_COUNTING = Path(__file__).with_name("counted_shuffles.py")
_LOOK_SECONDS = 0.5


class Run(NamedTuple):
    """The costs of a run.

    Attributes:
        seconds: of the command.
        cpu_seconds: of all processes.
        killed: whether it was killed.
        peak_mb: most memory of all processes together.
        kinds_mb: most memory of one process, by its kind.
        shuffled: bytes that went through shuffles in the command's process.
    """

    seconds: float
    cpu_seconds: float
    killed: bool
    peak_mb: float
    kinds_mb: dict[str, float]
    shuffled: int


def memory(pids: Sequence[int]) -> dict[int, float]:
    """Returns the megabytes of processes, by their ids: those that have ended are left out."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            found[pid] = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3
    return found


def cpu_seconds(pids: Sequence[int]) -> dict[int, float]:
    """Returns the CPU seconds of processes so far, by their ids: those that have ended are left out."""
    found = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            found[pid] = times.user + times.system
    return found


def finished(incomplete: Path) -> int:
    """Returns the number of shards of an unfinished dataset that are finished."""
    notes = incomplete / "made_from" / "attempts"
    return sum(any(shard.glob("*.json")) for shard in notes.iterdir()) if notes.is_dir() else 0


def attempt(command: Sequence[str], servers: Sequence[psutil.Process], stop: Callable[[], bool]) -> Run:
    """Runs a command to its end, or until it is to be stopped: then all processes are killed.

    Args:
        command: program and arguments.
        servers: processes that run beside it, with those that they start.
        stop: whether to kill it.

    Raises:
        SystemExit: it failed.
    """
    with tempfile.TemporaryFile("w+") as output:
        begin, killed = time.perf_counter(), False
        process = subprocess.Popen(command, cwd=_ROOT, env={**os.environ, **ENV}, stdout=output, stderr=output)
        peak, kinds, cpu = 0.0, defaultdict[str, float](float), dict[int, float]()
        while process.poll() is None:
            tree = _tree([psutil.Process(process.pid), *servers])
            each = memory([*tree])
            cpu |= cpu_seconds([*tree])
            peak = max(peak, sum(each.values()))
            for pid, megabytes in each.items():
                kind = "converter" if pid == process.pid else tree[pid]
                kinds[kind] = max(kinds[kind], megabytes)
            if stop():
                killed = True
                for pid in tree:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_SECONDS)
        seconds = time.perf_counter() - begin
        output.seek(0)
        said = output.read()
    if process.returncode and not killed:
        sys.exit(f"{said}\nerror: this failed, see above: {' '.join(command)}")
    shuffled = [
        line.removeprefix(counted_shuffles.SAID) for line in said.splitlines() if line.startswith(counted_shuffles.SAID)
    ]
    return Run(seconds, sum(cpu.values()), killed, peak, dict(kinds), int(shuffled[-1]) if shuffled else 0)


def _tree(tops: Sequence[psutil.Process]) -> dict[int, str]:
    """Returns processes and all that they have started: their kinds, by their ids."""
    found = {}
    for top in tops:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in (top, *top.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found[one.pid] = _kind(one.cmdline())
    return found


def _kind(command: Sequence[str]) -> str:
    text = " ".join(command)
    names = {"prism": "engine", "worker_pool_main": "pool", "sdk_worker": "worker", "resource_tracker": "tracker"}
    return next((name for part, name in names.items() if part in text), "writer")


@contextlib.contextmanager
def engine(name: str) -> Iterator[tuple[list[str], list[psutil.Process]]]:
    """Starts an engine and its workers. Yields the converter's flags for it, and the processes."""
    if name == "local":
        yield [], []
        return
    building = [str(_ROOT / "scripts/prism"), "path"]
    version = {"BEAM_VERSION": importlib.metadata.version("apache-beam")}  # Otherwise it installs the checkout first.
    path = subprocess.run(building, check=True, env={**os.environ, **version}, stdout=subprocess.PIPE, text=True).stdout
    jobs, workers = ports.free(), ports.free()
    commands: list[tuple[list[str], int]] = [
        ([path.strip(), f"--job_port={jobs}", "--serve_http=false"], jobs),
        ([sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={workers}"], workers),
    ]
    environment = {**os.environ, **ENV, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with contextlib.ExitStack() as stack:
        servers = []
        for command, port in commands:
            server = subprocess.Popen(
                command,
                cwd=_ROOT,
                env=environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(_end, server)
            servers.append(psutil.Process(server.pid))
            while not ports.answers(port):
                if server.poll() is not None:
                    sys.exit(f"error: this ended at once: {' '.join(command)}")
                time.sleep(0.05)
        yield (
            [
                "--runner=PortableRunner",
                f"--job_endpoint=localhost:{jobs}",
                "--environment_type=EXTERNAL",
                f"--environment_config=localhost:{workers}",
            ],
            servers,
        )


def _end(server: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def digests(dataset: Path) -> dict[str, str]:
    """Returns the digest of each file of a dataset that does not say when it was made."""
    paths = (path for path in sorted(dataset.rglob("*")) if path.is_file())
    named = ((posixpath.join(*path.relative_to(dataset).parts), path) for path in paths)
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named
        if name != "conversion.json" and not name.startswith("made_from/")
    }


def row(name: str, run: Run, images: int, kept: int = 0) -> str:
    """Returns the line of a run."""
    kinds = ", ".join(f"{kind} {megabytes:.0f} MB" for kind, megabytes in sorted(run.kinds_mb.items()))
    words = [f"{name}: {run.seconds:.1f} s", f"{run.cpu_seconds:.1f} CPU s", f"all {run.peak_mb:.0f} MB", kinds]
    if not run.killed:
        words.insert(1, f"{images / run.seconds:.0f} images/s")
    if run.shuffled:
        words.append(f"{run.shuffled / images:.0f} bytes/row")
    if kept:
        words.append(f"{kept} shards kept")
    return ", ".join(words)


def main() -> None:
    """The command line."""
    flags = _parse()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        if flags.csv:
            data = Made(flags.folder, flags.csv, sum(1 for _ in flags.csv.open()) - 1)
        else:
            data = made.make(made.originals(flags.originals, work), flags.images, made.folder(flags.cache, work))

        def run(output: Path, stop: Callable[[], bool] = lambda: False) -> Run:
            # Beam's runner in the command's process is the only one whose shuffles can be counted from here.
            program = [str(_COUNTING)] if flags.engine == "local" else ["-m", "converter"]
            paths = [f"--csv={data.csv}", f"--images={data.images}", f"--output={output}"]
            paths += [f"--shard_mb={flags.shard_mb}", *flags.further]
            with engine(flags.engine) as (engine_flags, servers):
                return attempt([sys.executable, *program, *paths, *engine_flags], servers, stop)

        runs = {"whole": run(work / "whole")}
        print(row("whole", runs["whole"], data.number), flush=True)
        (dataset,) = (work / "whole").glob("*/*/manifest.json")
        name = dataset.parent.relative_to(work / "whole")
        num_shards = sum(len(split["shards"]) for split in json.loads(dataset.read_text())["splits"])
        if flags.only != "whole":
            expected = digests(dataset.parent)
            shutil.rmtree(work / "whole")
            incomplete = work / "again" / name.with_name(f"{name.name}.incomplete")
            runs["killed"] = run(work / "again", lambda: finished(incomplete) >= num_shards / 2)
            if not runs["killed"].killed:
                sys.exit(
                    "error: the conversion had ended before it was killed. Take more --images, or a smaller --shard_mb"
                )
            kept = finished(incomplete)
            print(row(f"killed with {kept} of {num_shards} shards", runs["killed"], data.number), flush=True)
            runs["resumed"] = run(work / "again")
            print(row("resumed", runs["resumed"], data.number, kept), flush=True)
            same = digests(work / "again" / name) == expected
            print("The bytes are the same." if same else "error: the bytes are others.")
            if not same:
                sys.exit(1)
    if flags.json:
        flags.json.write_text(json.dumps({name: one._asdict() for name, one in runs.items()}, indent=1))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench_scale", description="Converts many images, kills the conversion at half, and goes on."
    )
    parser.add_argument("--images", type=int, default=200_000, help="number of images to make and convert")
    parser.add_argument("--engine", choices=("local", "prism"), default="local")
    parser.add_argument("--csv", type=Path, help="table of images that are there, instead of made ones")
    parser.add_argument("--folder", type=Path, help="their folder")
    parser.add_argument("--shard_mb", type=int, default=20, help="MB of a shard")
    parser.add_argument("--only", choices=("whole",), help="default: whole, killed and resumed")
    parser.add_argument("--originals", type=Path, help=made.IMAGES_HELP)
    parser.add_argument("--cache", type=Path, help=made.CACHE_HELP)
    parser.add_argument("--json", type=Path, help="file for all values")
    parser.add_argument("further", nargs="*", help="flags of the converter, after --")
    return parser.parse_args()


if __name__ == "__main__":
    main()
