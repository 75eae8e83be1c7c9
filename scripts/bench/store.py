"""Measures reading from an object store, and converting from and to one, beside the same on this machine's disk.

    scripts/bench_store [--images=20000] [--objects=2000] [--latency=0.03] [--rounds=1] [--only=reading|converting]
                        [--originals=FOLDER] [--cache=FOLDER] [--json=FILE]

The store is store_server.py: a process on loopback that answers each request after a latency. The same images are read
and converted in each row, and each program runs in a process of its own. Packages that are not installed, and clients
that speak another protocol than the store, leave out their rows by name.

Reading is timed from before the second object to after the last: with the first, clients load modules. CPU is that of
all threads of the client. `ours` is the read-ahead of converter/shards/reading.py.

Conversion is the whole command, on two numbers of images. What the larger one takes beyond the smaller one leaves out
start-up and the end of the job:

    CPU us/image    CPU of the command and of its child processes, for each further image
    images/s        further images / further seconds
    busy            further CPU / (further seconds * cores - further CPU of the store, which is no part of the machine
                    elsewhere)
    idle            share of the cores' further time in which they did nothing
    others          share of that time that went to programs which are neither the command nor the store; with much of
                    it, `busy`, `idle` and images/s are too low
    GET/image       requests for a further image: some are read again, to tell near duplicates from others like them
    whole s         seconds of the command on the larger number

The JSON has an object `ratios`; medians over the rounds:

    cpu_over_local_0ms, cpu_over_local_LATENCY     CPU for each image, over that of local disk
    busy_local, busy_0ms, busy_LATENCY             as above
    read_cpu_over_local_KEY                        CPU of reading an object, over that of reading a local file
"""

import argparse
import collections
import functools
import importlib
import importlib.util
import json
import math
import multiprocessing
import os
import statistics
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil

import contenders
import made
import process
import program
import report
import store_server
from contenders import CORES, ENV
from made import Made
from report import Measurement
from store_server import Server

_BUCKET = "bench"
# Of a shard. 20,000 images of 12 kB make more than ten, so that processes end at nearly the same time; by default they
# would make three. More images make more shards, so that each bears its part of the requests for a shard.
_SHARD_MB = 20
# With fewer rows the command starts no processes, and would be another program.
_WITH_PROCESSES = 6000
# Images that are given to the store at a time, by a pipe.
_PUT = 500
# Requests under way at a time, for a client that leaves it to its caller.
_THREADS = 64
# Share of the cores' time that others may take before the figures are said to be wrong.
_MOST_OTHERS = 0.05
_PACKAGES = ("apache-beam", "boto3", "gcsfs", "obstore", "s3fs")

_Objects = Sequence[tuple[str, int]]


class Reader(NamedTuple):
    """A program that reads objects.

    Attributes:
        name: of its row.
        folder: from the folder of the images to the URL or folder in which it reads them.
        read: from paths and sizes to contents, in order.
        needs: modules without which it cannot run.
        most: number of objects to read, if there are more.
    """

    name: str
    folder: Callable[[Path], str]
    read: Callable[[_Objects], Iterator[bytes]]
    needs: tuple[str, ...] = ()
    most: int = sys.maxsize


def _read_local(objects: _Objects) -> Iterator[bytes]:
    from multihot import storage

    return (storage.read(path) for path, _ in objects)


def _read_ahead(objects: _Objects) -> Iterator[bytes]:
    from multihot import storage
    from multihot.storage import ahead

    files = (storage.File(path, path, size) for path, size in objects)
    for _, content in ahead.read(files, lambda file: file, storage.MAX_READ_BYTES):
        yield content()


def _read_by_beam(objects: _Objects) -> Iterator[bytes]:
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    FileSystems.set_options(PipelineOptions([f"--s3_endpoint_url={os.environ['AWS_ENDPOINT_URL']}"]))

    def read(path: str) -> bytes:
        with FileSystems.open(path) as file:
            return bytes(file.read())

    with ThreadPoolExecutor(_THREADS) as executor:
        yield from executor.map(read, (path for path, _ in objects))


def _read_by_s3fs(objects: _Objects) -> Iterator[bytes]:
    system = importlib.import_module("s3fs").S3FileSystem()
    paths = [path.removeprefix("s3://") for path, _ in objects]
    found = {paths[0]: system.cat_file(paths[0])} if len(paths) == 1 else system.cat(paths)
    return (found[path] for path in paths)


def _in_bucket(scheme: str) -> Callable[[Path], str]:
    return lambda _: f"{scheme}://{_BUCKET}/images"


READERS = {
    "local": Reader("local files", str, _read_local),
    "ours_s3": Reader("ours, s3://", _in_bucket("s3"), _read_ahead),
    "ours_gs": Reader("ours, gs://", _in_bucket("gs"), _read_ahead),
    # For each object it makes a client, which takes as long as a thousand reads of others.
    "beam_s3": Reader("Beam's file systems, s3://", _in_bucket("s3"), _read_by_beam, ("apache_beam", "boto3"), 200),
    "s3fs": Reader("s3fs", _in_bucket("s3"), _read_by_s3fs, ("s3fs",)),
}
# Their clients speak Google's JSON protocol, and the store its XML one.
_OTHER_PROTOCOL = ("Beam's file systems, gs://", "gcsfs")


def left_out(readers: Mapping[str, Reader] = READERS) -> dict[str, str]:
    """Returns why readers cannot run, by the names of their rows."""
    missing = {
        reader.name: [module for module in reader.needs if importlib.util.find_spec(module) is None]
        for reader in readers.values()
    }
    reasons = {name: f"{', '.join(modules)} is not installed" for name, modules in missing.items() if modules}
    return reasons | dict.fromkeys(_OTHER_PROTOCOL, "it speaks Google's JSON protocol, and the store the XML one")


def fill(server: Server, folder: Path) -> None:
    """Puts the files of a folder into the store, as images/NAME."""
    paths = sorted(folder.iterdir())
    for start in range(0, len(paths), _PUT):
        server.put(_BUCKET, {f"images/{path.name}": path.read_bytes() for path in paths[start : start + _PUT]})


def read_one(key: str, file: Path) -> None:
    """Reads objects in this process, and prints what it took, as program.tell does.

    Args:
        key: of READERS.
        file: a JSON array with the path and the size of each, at least two.
    """
    objects = [(path, size) for path, size in json.loads(file.read_text())]
    read = READERS[key].read
    collections.deque(read(objects[:1]), maxlen=0)
    watch = program.Stopwatch()
    with watch:
        number = sum(len(content) == size for content, (_, size) in zip(read(objects[1:]), objects[1:], strict=True))
    program.tell(number, watch)


class Read(NamedTuple):
    """The costs of reading: images/s, and CPU microseconds of the client for each image."""

    rate: float
    cpu_us: float


def attempt_reading(key: str, data: Made, latency: float, work: Path) -> Read:
    """Reads all images of a data set once, from a store that answers after `latency` seconds."""
    reader = READERS[key]
    paths = sorted(data.images.iterdir())[: reader.most]
    folder, file = reader.folder(data.images), work / "objects.json"
    file.write_text(json.dumps([(f"{folder}/{path.name}", path.stat().st_size) for path in paths]))
    with store_server.running(latency) as server:
        fill(server, data.images)
        command = [sys.executable, __file__, f"--read={key}", f"--list={file}"]
        run = process.run(command, {**ENV, **server.environment})
    number, seconds, cpu_seconds = contenders.told(run.output)
    if number != len(paths) - 1:
        sys.exit(f"error: {reader.name} read {number} of {len(paths) - 1} images.")
    return Read(number / seconds, 1e6 * cpu_seconds / number)


class Place(NamedTuple):
    """Where images come from and shards go to: in a store that answers after `latency` seconds; None is local disk."""

    name: str
    key: str
    latency: float | None


def places(latency: float) -> list[Place]:
    """Returns all of them, in the order in which they run. The first is what others are compared with."""
    stores = [Place(f"s3://, {1000 * one:g} ms", f"{1000 * one:g}ms", one) for one in dict.fromkeys((0.0, latency))]
    return [Place("local disk", "local", None), *stores]


class Conversion(NamedTuple):
    """The costs of a conversion.

    Attributes:
        images: that were converted.
        seconds: of the whole command.
        cpu_seconds: of the command and its child processes.
        store_seconds: CPU of the store.
        idle_seconds: that the cores were idle, of all cores together.
        gets: requests of the store for objects.
    """

    images: int
    seconds: float
    cpu_seconds: float
    store_seconds: float
    idle_seconds: float
    gets: int


class Further(NamedTuple):
    """The costs of a larger conversion beyond those of a smaller one; see the docstring of this module."""

    cpu_us: float
    rate: float
    busy: float
    idle: float
    others: float
    gets: float
    whole_seconds: float


def further(few: Conversion, many: Conversion, cores: int = CORES) -> Further:
    """Returns what further images took; shares are nan where there are so few that their time is noise."""
    images, seconds, cpu, store, idle, gets = (b - a for a, b in zip(few, many, strict=True))
    all_, left = seconds * cores, seconds * cores - store
    return Further(
        cpu_us=1e6 * cpu / images,
        rate=images / seconds,
        busy=cpu / left if left > 0 else math.nan,
        idle=idle / all_ if all_ > 0 else math.nan,
        others=1 - (cpu + store + idle) / all_ if all_ > 0 else math.nan,
        gets=gets / images,
        whole_seconds=many.seconds,
    )


def attempt(place: Place, data: Made, work: Path) -> Conversion:
    """Converts a data set once, and checks that it made a record of each image."""
    with tempfile.TemporaryDirectory(dir=work) as temporary, store_server.running(place.latency or 0.0) as server:
        images, output = str(data.images), f"{temporary}/output"
        if place.latency is not None:
            fill(server, data.images)
            images, output = f"s3://{_BUCKET}/images", f"s3://{_BUCKET}/output"
        flags = [f"--csv={data.csv}", f"--images={images}", f"--output={output}", "--max_rejects=0"]
        flags += [f"--num_threads={CORES}", f"--shard_mb={_SHARD_MB}"]
        store, idle = _cpu_of_children(), _idle()
        run = process.run([sys.executable, "-m", "converter", *flags], {**ENV, **server.environment})
        store, idle = _cpu_of_children() - store, _idle() - idle
        gets = server.requests()["GET"]
        if place.latency is None:
            records = contenders.count_records(Path(output))
        else:
            shards = (one for key, one in server.objects(_BUCKET).items() if key.endswith(".tfrecord"))
            records = sum(map(count_records, shards))
    if records != data.number:
        sys.exit(f"error: {place.name}: there are {records} records of {data.number} images.")
    return Conversion(data.number, run.seconds, run.cpu_seconds, store, idle, gets)


def count_records(shard: bytes) -> int:
    """Returns how many records a shard has, by their lengths alone: see schemas/tfrecord.py."""
    number = start = 0
    while start < len(shard):
        start += struct.unpack_from("<Q", shard, start)[0] + 16
        number += 1
    return number


def _cpu_of_children() -> float:
    """Returns CPU seconds of the processes that multiprocessing has started here: of the store."""
    times = (psutil.Process(child.pid).cpu_times() for child in multiprocessing.active_children())
    return sum(one.user + one.system for one in times)


def _idle() -> float:
    times = psutil.cpu_times()
    return float(times.idle + getattr(times, "iowait", 0.0))


def measure_reading(data: Made, latency: float, rounds: int, work: Path) -> dict[str, Measurement]:
    """Runs all readers in each round.

    Returns:
        images/s of each that can run, by its key.
    """
    skipped = left_out()
    keys = [key for key, reader in READERS.items() if reader.name not in skipped]
    attempts: dict[str, list[Read]] = {key: [] for key in keys}
    for round_ in range(1, rounds + 1):
        for key in keys:
            attempts[key].append(attempt_reading(key, data, latency, work))
            _tell(round_, READERS[key].name, attempts[key][-1].rate)
    return {
        key: Measurement(
            READERS[key].name,
            "images/s",
            tuple(one.rate for one in done),
            {"CPU us/image": statistics.median(one.cpu_us for one in done)},
        )
        for key, done in attempts.items()
    }


def measure_converting(few: Made, many: Made, latency: float, rounds: int, work: Path) -> dict[str, Measurement]:
    """Converts two data sets in all places, in each round.

    Returns:
        CPU us/image of each place, by its key.
    """
    contenders.warm_up([few, many])
    running = places(latency)
    attempts: dict[str, list[Further]] = {place.key: [] for place in running}
    for round_ in range(1, rounds + 1):
        for place in running:
            attempts[place.key].append(further(attempt(place, few, work), attempt(place, many, work)))
            _tell(round_, place.name, attempts[place.key][-1].rate)
    return {place.key: converted(place, attempts[place.key]) for place in running}


def converted(place: Place, attempts: Sequence[Further]) -> Measurement:
    """Puts the rounds of one place together."""

    def median(values: Iterable[float]) -> float:
        return statistics.median(values)

    more = {
        "images/s": median(one.rate for one in attempts),
        "busy": median(one.busy for one in attempts),
        "idle": median(one.idle for one in attempts),
        "others": median(one.others for one in attempts),
        "GET/image": median(one.gets for one in attempts),
        "whole s": median(one.whole_seconds for one in attempts),
    }
    return Measurement(place.name, "CPU us/image", tuple(one.cpu_us for one in attempts), more)


def _tell(round_: int, name: str, rate: float) -> None:
    print(f"round {round_}: {name}: {report.number(rate)} images/s", file=sys.stderr)


def ratios(reading: Mapping[str, Measurement], converting: Mapping[str, Measurement]) -> dict[str, float]:
    """Returns all ratios, by the names that the docstring of this module explains."""
    found = {
        f"read_cpu_over_local_{key}": one.more["CPU us/image"] / reading["local"].more["CPU us/image"]
        for key, one in reading.items()
        if key != "local"
    }
    found |= {f"cpu_over_local_{key}": report.ratio(one, converting["local"]) for key, one in converting.items()}
    found.pop("cpu_over_local_local", None)
    return {**found, **{f"busy_{key}": one.more["busy"] for key, one in converting.items()}}


def main() -> None:
    """The command line."""
    flags = _parse()
    if flags.read:
        read_one(flags.read, flags.list)
        return
    reading: dict[str, Measurement] = {}
    converting: dict[str, Measurement] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        make = functools.partial(made.make, made.originals(flags.originals, work))
        cache = made.folder(flags.cache, work)
        if flags.only != "converting":
            data = make(flags.objects, cache)
            reading = measure_reading(data, flags.latency, flags.rounds, work)
        if flags.only != "reading":
            few = few_of(flags.images)
            sizes = make(few, cache), make(flags.images, cache)
            converting = measure_converting(*sizes, flags.latency, flags.rounds, work)
    if reading:
        print(f"Reading {flags.objects:,} images, {1000 * flags.latency:g} ms\n\n{report.table([*reading.values()])}\n")
        print("".join(f"Left out: {name}: {reason}.\n" for name, reason in left_out().items()))
    if converting:
        print(f"Converting {flags.images:,} images, beyond {few:,}\n")
        print(report.table([*converting.values()], reference=[converting["local"].name]))
        others = max(one.more["others"] for one in converting.values())
        if others > _MOST_OTHERS:
            print(f"\nOther programs took up to {others:.0%} of the cores' time: busy, idle and images/s are too low.")
    if flags.json:
        every = [*reading.values(), *converting.values()]
        report.write_json(flags.json, every, ratios(reading, converting), report.machine(_PACKAGES))


def few_of(images: int) -> int:
    """Returns on how many images the command runs to know what start-up takes."""
    return max(images // 10, min(_WITH_PROCESSES, images // 2))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench_store", description="Measures reading and converting from a store beside a local disk."
    )
    parser.add_argument("--images", type=int, default=20_000, help="number of images to convert")
    parser.add_argument("--objects", type=int, default=2000, help="number of images to read alone; at least 2")
    parser.add_argument("--latency", type=float, default=0.03, help="seconds before each answer of the store")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=("reading", "converting"), help="default: both")
    parser.add_argument("--originals", type=Path, help=made.IMAGES_HELP)
    parser.add_argument("--cache", type=Path, help=made.CACHE_HELP)
    parser.add_argument("--json", type=Path, help="file for all values and ratios")
    # For the processes that this one starts.
    parser.add_argument("--read", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--list", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
