"""Measures conversion beside its peers and its limit, on the same images, in alternating rounds.

    scripts/bench_convert [--sizes=2000,20000] [--rounds=3] [--images=FOLDER] [--cache=FOLDER]
                          [--plot=FILE] [--json=FILE]

Each program runs in a process of its own. Rates, in images/s:

    ours                  images / (seconds of the whole command - seconds of the same command on 16 images); where
                          these are nearly the same, images / seconds of the whole command
    the limit             images / seconds of decoding in full by libjpeg-turbo; files are in memory before
    all others            images / seconds from before the first image is read to after the last file is closed; imports
                          are not in it, nor reading the CSV

"whole command" in the table is what a user waits for: images / seconds from the start of the process to its end.
Threads are as many as there are cores, where the name of the row does not say otherwise. Above 20 000 images run only
ours with a thread for each core, the plain loop with decoding, and the limit.

The JSON has an object `ratios`. SIZE is 2k, 20k, 100k, ...; ratios are medians over the rounds:

    over_plain_loop_SIZE              our rate over that of the plain loop that decodes
    over_plain_loop_undecoded_SIZE    ... that only copies bytes, as the next ones with this name
    over_libjpeg_SIZE                 ... of libjpeg-turbo
    over_beam_write_SIZE              ... of a Beam job with WriteToTFRecord that decodes
    over_beam_write_undecoded_SIZE
    over_tfds_SIZE                    ... of tensorflow-datasets' Beam writer, which does not decode
    peak_memory_mb_SIZE               ours, MB of 10^6 bytes, the highest of all rounds
    growth_SIZE_over_SIZE             our rate at one size over that at the size before
    startup_seconds_beyond_imports    from the start of the process to the first finished shard, on 16 images, minus the
                                      time that importing converter.main takes
"""

import argparse
import collections
import dataclasses
import itertools
import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import made
import process
import report
from made import Made
from report import Measurement

_ROOT = Path(__file__).resolve().parents[2]
_HERE = Path(__file__).parent
CORES = len(os.sched_getaffinity(0))
# As a module of the checkout, wherever the command was typed.
ENV = {"PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))}
# Fewer than a shard has, and enough for both splits: what this takes is start-up.
_FEW = 16
# Above this, peers would only tell again what they told.
_MANY = 20_000
_PACKAGES = ("apache-beam", "numpy", "pillow", "simplejpeg", "tensorflow")
IMAGES_HELP = "folder of JPEGs to vary; default: images in the folder that MIML_DATASET names, else drawn ones"
CACHE_HELP = "folder that keeps made images for the next time; default: none"
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
    """What a program did in one round."""

    rate: float
    whole_rate: float
    cpu_ms: float
    peak_mb: float
    written_mb: float


class Startup(NamedTuple):
    """What our command takes before the first image: seconds and CPU seconds of a whole run, to a shard, of imports."""

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


def peer(
    name: str, key: str, program: str, *flags: str, python: str = sys.executable, always: bool = False
) -> Contender:
    """Returns one of the programs beside this one."""

    def command(data: Made, output: Path) -> list[str | Path]:
        paths = (f"--csv={data.csv}", f"--images={data.images}", f"--output={output}")
        return [python, _HERE / program, *paths, f"--threads={CORES}", *flags]

    return Contender(name, key, command, always)


OURS = ours(CORES)
PLAIN_LOOP = peer("plain loop", "plain_loop", "plain_loop.py", always=True)
LIBJPEG = peer("libjpeg-turbo alone", "libjpeg", "libjpeg.py", always=True)


def contenders(tfds_python: str) -> list[Contender]:
    """Returns all of them, in the order in which they run; tensorflow-datasets only where there is a Python with it."""
    found = [
        *(OURS if threads == CORES else ours(threads) for threads in sorted({1, CORES, 2 * CORES})),
        PLAIN_LOOP,
        peer("plain loop, not decoding", "plain_loop_undecoded", "plain_loop.py", "--no-decode"),
        LIBJPEG,
        peer("Beam WriteToTFRecord", "beam_write", "beam_write.py"),
        peer("Beam WriteToTFRecord, not decoding", "beam_write_undecoded", "beam_write.py", "--no-decode"),
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
    """Returns what the last line of a program says: images, seconds, CPU seconds; see contender.py."""
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


def label(number: int) -> str:
    """Returns a size as ratios name it: 20k for 20 000."""
    return str(number) if number % 1000 else f"{number // 1000}k"


def measured(contender: Contender, number: int, attempts: Sequence[Attempt]) -> Measurement:
    """Puts the rounds of one program together."""

    def median(values: Iterable[float]) -> float:
        return statistics.median(values)

    more = {
        "whole command": median(one.whole_rate for one in attempts),
        "CPU ms/image": median(one.cpu_ms for one in attempts),
        "peak MB": max(one.peak_mb for one in attempts),
        "MB written": median(one.written_mb for one in attempts),
    }
    return Measurement(f"{label(number)}: {contender.name}", "images/s", tuple(one.rate for one in attempts), more)


def ratios(
    measurements: Mapping[tuple[int, str], Measurement], peers: Sequence[Contender], starts: Sequence[Startup]
) -> dict[str, float]:
    """Returns all ratios, by the names that the docstring of this module explains.

    Args:
        measurements: by number of images and name of the program.
        peers: what ours is compared with.
        starts: our start-up in each round.
    """
    sizes = sorted({number for number, _ in measurements})
    found = {}
    for number, peer_ in itertools.product(sizes, peers):
        if (number, peer_.name) in measurements:
            pair = measurements[number, OURS.name], measurements[number, peer_.name]
            found[f"over_{peer_.key}_{label(number)}"] = report.ratio(*pair)
    for number in sizes:
        found[f"peak_memory_mb_{label(number)}"] = measurements[number, OURS.name].more["peak MB"]
    for before, after in itertools.pairwise(sizes):
        pair = measurements[after, OURS.name], measurements[before, OURS.name]
        found[f"growth_{label(after)}_over_{label(before)}"] = report.ratio(*pair)
    beyond = (start.first_shard - start.imports for start in starts)
    return {**found, "startup_seconds_beyond_imports": statistics.median(beyond)}


class Results(NamedTuple):
    """Of all rounds: by number of images and program; and our start-up, one for each round."""

    measurements: dict[tuple[int, str], Measurement]
    starts: list[Startup]


def measure(originals: Path, sizes: Sequence[int], rounds: int, cache: Path, running: Sequence[Contender]) -> Results:
    """Runs all rounds.

    Args:
        originals: folder of JPEGs to vary.
        sizes: numbers of images.
        rounds: at least 1.
        cache: folder for what is made; what is written is removed at once.
        running: what is measured.
    """
    few = made.make(originals, _FEW, cache)
    data = [made.make(originals, number, cache) for number in sizes]
    warm_up(data)
    attempts = collections.defaultdict(list)
    starts = []
    for round_ in range(1, rounds + 1):
        starts.append(start_up(few, cache))
        for one, contender in _pairs(data, running):
            attempts[one.number, contender].append(attempt(contender, one, starts[-1], cache))
            rate = report.number(attempts[one.number, contender][-1].rate)
            print(f"round {round_}: {label(one.number)}: {contender.name}: {rate} images/s", file=sys.stderr)
    return Results(
        {(number, contender.name): measured(contender, number, all_) for (number, contender), all_ in attempts.items()},
        starts,
    )


def _pairs(data: Sequence[Made], running: Sequence[Contender]) -> Iterator[tuple[Made, Contender]]:
    return ((one, each) for one in data for each in running if each.always or one.number <= _MANY)


def show(results: Results, sizes: Sequence[int]) -> str:
    """Returns the tables, and what it takes to read them."""
    tables = []
    for size in sizes:
        rows = [
            dataclasses.replace(one, name=name)
            for (number, name), one in results.measurements.items()
            if number == size
        ]
        table = report.table(rows, reference=[PLAIN_LOOP.name, LIBJPEG.name])
        tables.append(f"{size:,} images\n\n{table}")
    seconds, _, first_shard, imports = (statistics.median(values) for values in zip(*results.starts, strict=True))
    tables.append(
        f"Start-up of ours, not in its images/s: {seconds:.2f} s for the whole command on {_FEW} images; the first "
        f"shard is there after {first_shard:.2f} s, of which importing takes {imports:.2f} s."
    )
    return "\n\n".join(tables)


def main() -> None:
    """The command line."""
    flags = _parse()
    with tempfile.TemporaryDirectory() as temporary:
        images = originals(flags.images, Path(temporary))
        running = contenders(flags.tfds_python)
        results = measure(images, flags.sizes, flags.rounds, folder(flags.cache, Path(temporary)), running)
    print(show(results, flags.sizes))
    if not flags.tfds_python:
        print("TFDS was left out: there is no environment that has it.")
    every = list(results.measurements.values())
    if flags.plot:
        report.plot(every, flags.plot, f"Conversion on {CORES} cores, without start-up")
    if flags.json:
        found = ratios(results.measurements, [one for one in running if one.key], results.starts)
        report.write_json(flags.json, every, found, report.machine(_PACKAGES))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench_convert", description="Measures conversion beside its peers, in alternating rounds."
    )
    parser.add_argument("--sizes", type=_sizes, default=(2000, 20_000), help="numbers of images: 2000,20000,100000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=Path, help=IMAGES_HELP)
    parser.add_argument("--cache", type=Path, help=CACHE_HELP)
    parser.add_argument("--plot", type=Path, help="picture to draw: .png, .svg or .pdf")
    parser.add_argument("--json", type=Path, help="file for all values and ratios")
    parser.add_argument("--tfds_python", default="", help="Python that has tensorflow-datasets")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(number) for number in text.split(",")}))


def originals(given: Path | None, temporary: Path) -> Path:
    """Returns the folder of the images to vary.

    Args:
        given: by a flag; otherwise the real data set, or, where there is none, drawn images.
        temporary: where these may be drawn.
    """
    dataset = os.environ.get("MIML_DATASET")
    if given or dataset:
        return given or Path(str(dataset)) / "images"
    script = _ROOT / "scripts" / "make_example.py"
    subprocess.run([sys.executable, script, f"--output={temporary / 'drawn'}"], check=True)
    return temporary / "drawn" / "images"


def folder(cache: Path | None, temporary: Path) -> Path:
    """Returns the folder for what is made; it is there."""
    found = cache or temporary
    found.mkdir(parents=True, exist_ok=True)
    return found


if __name__ == "__main__":
    main()
