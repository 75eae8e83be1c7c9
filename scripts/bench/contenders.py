"""The programs that conversion is measured by: how each is run, once, and what came of it."""

import itertools
import json
import os
import re
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import process
from made import Made

_ROOT = Path(__file__).resolve().parents[2]
_HERE = Path(__file__).parent
CORES = len(os.sched_getaffinity(0))
# As a module of the checkout, wherever the command was typed.
ENV = {"PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))}
# Fewer than a shard has, and enough for both splits: what this takes is start-up.
FEW = 16
_IMPORTS = (sys.executable, "-c", "import os, converter.main; os._exit(0)")
_SHARD = re.compile(r"\.tfrecord(-\d+-of-\d+)?$")


class Contender(NamedTuple):
    """A program that is measured.

    Attributes:
        name: of its row.
        key: of the ratio of ours to it; "" for ours.
        command: from a data set and a folder to write to, to a program and its arguments.
        always: whether it runs on more than 20 000 images too.
    """

    name: str
    key: str
    command: Callable[[Made, Path], list[str | Path]]
    always: bool = False


class Attempt(NamedTuple):
    """The measurements of a program in one round."""

    rate: float
    whole_rate: float
    cpu_ms: float
    peak_mb: float
    written_mb: float


class Startup(NamedTuple):
    """The costs of our command before the first image: (CPU) seconds of a whole run, to a shard, of imports."""

    seconds: float
    cpu_seconds: float
    first_shard: float
    imports: float


def ours(threads: int) -> Contender:
    """Returns the converter with so many threads."""

    def command(data: Made, output: Path) -> list[str | Path]:
        flags = (f"--csv={data.csv}", f"--images={data.images}", f"--output={output}", "--max_rejects=0")
        return [sys.executable, "-m", "converter", *flags, f"--num_threads={threads}"]

    return Contender(f"ours, {threads} thread{'s' * (threads > 1)}", "", command, always=threads == CORES)


def peer(name: str, key: str, program: str, *, python: str = sys.executable, always: bool = False) -> Contender:
    """Returns one of the programs beside this one."""

    def command(data: Made, output: Path) -> list[str | Path]:
        paths = (f"--csv={data.csv}", f"--images={data.images}", f"--output={output}")
        return [python, _HERE / program, *paths, f"--threads={CORES}"]

    return Contender(name, key, command, always)


OURS = ours(CORES)
PLAIN_LOOP = peer("plain loop", "plain_loop", "plain_loop.py", always=True)
LIBJPEG = peer("libjpeg-turbo alone", "libjpeg", "libjpeg.py", always=True)


def contenders(tfds_python: str) -> list[Contender]:
    """Returns all of them, in the order in which they run; tensorflow-datasets only where there is a Python with it."""
    found = [
        *(OURS if threads == CORES else ours(threads) for threads in sorted({1, CORES, 2 * CORES})),
        PLAIN_LOOP,
        LIBJPEG,
        peer("Beam WriteToTFRecord", "beam_write", "beam_write.py"),
    ]
    if tfds_python:
        found.append(peer("TFDS Beam writer, not decoding", "tfds", "tfds_write.py", python=tfds_python))
    return found


def warm_up(data: Iterable[Made]) -> None:
    """Makes files come from memory, and modules compiled, in the first round as in all others."""
    process.run(_IMPORTS, ENV)
    for path in itertools.chain.from_iterable(one.images.iterdir() for one in data):
        path.read_bytes()


def start_up(few: Made, work: Path) -> Startup:
    """Measures our start-up."""
    imports = process.run(_IMPORTS, ENV).seconds
    with tempfile.TemporaryDirectory(dir=work) as output:
        run = process.run(OURS.command(few, Path(output)), ENV, wanted=(Path(output), "*.tfrecord"))
    return Startup(run.seconds, run.cpu_seconds, run.seen_seconds or run.seconds, imports)


def attempt(contender: Contender, data: Made, start: Startup, work: Path) -> Attempt:
    """Runs a program once, and checks that it did all images."""
    with tempfile.TemporaryDirectory(dir=work) as temporary:
        output = Path(temporary) / "output"
        output.mkdir()
        # Some leave temporary files behind.
        run = process.run(contender.command(data, output), {**ENV, "TMPDIR": temporary})
        records = count_records(output)
        written = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    if contender.key:
        images, seconds, cpu_seconds = told(run.output)
    else:
        images, seconds = data.number, beyond(run.seconds, start.seconds)
        cpu_seconds = beyond(run.cpu_seconds, start.cpu_seconds)
    if images != data.number or records != (0 if contender.key == LIBJPEG.key else data.number):
        sys.exit(f"error: {contender.name} made {records} records of {images} of {data.number} images.")
    return Attempt(
        images / seconds, images / run.seconds, 1000 * cpu_seconds / images, run.peak_mb, written / 1_000_000
    )


def beyond(whole: float, start: float) -> float:
    """Returns a whole time without start-up; with it where the difference would be noise, as with few images."""
    return whole - start if whole > 1.1 * start else whole


def told(output: str) -> tuple[int, float, float]:
    """Returns what the last line of a program says: images, seconds, CPU seconds; see program.py."""
    line = json.loads(output.splitlines()[-1])
    return int(line["images"]), float(line["seconds"]), float(line["cpu_seconds"])


def count_records(folder: Path) -> int:
    """Returns how many records are in all shards of a folder, by their lengths alone: see schemas/tfrecord.py."""
    number = 0
    for path in (path for path in folder.rglob("*") if _SHARD.search(path.name)):
        with path.open("rb") as file:
            while header := file.read(8):
                file.seek(struct.unpack("<Q", header)[0] + 8, os.SEEK_CUR)
                number += 1
    return number
