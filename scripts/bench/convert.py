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
    over_libjpeg_SIZE                 ... of libjpeg-turbo
    over_beam_write_SIZE              ... of a Beam job with WriteToTFRecord that decodes
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
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import contenders
import made
import report
from contenders import Attempt, Contender, Startup
from made import Made
from report import Measurement

# Above this, peers would only tell again what they told.
_MANY = 20_000
_PACKAGES = ("apache-beam", "numpy", "pillow", "simplejpeg", "tensorflow")


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
            pair = measurements[number, contenders.OURS.name], measurements[number, peer_.name]
            found[f"over_{peer_.key}_{label(number)}"] = report.ratio(*pair)
    for number in sizes:
        found[f"peak_memory_mb_{label(number)}"] = measurements[number, contenders.OURS.name].more["peak MB"]
    for before, after in itertools.pairwise(sizes):
        pair = measurements[after, contenders.OURS.name], measurements[before, contenders.OURS.name]
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
    few = made.make(originals, contenders.FEW, cache)
    data = [made.make(originals, number, cache) for number in sizes]
    contenders.warm_up(data)
    attempts = collections.defaultdict(list)
    starts = []
    for round_ in range(1, rounds + 1):
        starts.append(contenders.start_up(few, cache))
        for one, contender in _pairs(data, running):
            attempts[one.number, contender].append(contenders.attempt(contender, one, starts[-1], cache))
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
        table = report.table(rows, reference=[contenders.PLAIN_LOOP.name, contenders.LIBJPEG.name])
        tables.append(f"{size:,} images\n\n{table}")
    seconds, _, first_shard, imports = (statistics.median(values) for values in zip(*results.starts, strict=True))
    tables.append(
        f"Start-up of ours, not in its images/s: {seconds:.2f} s for the whole command on {contenders.FEW} images; the "
        f"first shard is there after {first_shard:.2f} s, of which importing takes {imports:.2f} s."
    )
    return "\n\n".join(tables)


def main() -> None:
    """The command line."""
    flags = _parse()
    with tempfile.TemporaryDirectory() as temporary:
        images = made.originals(flags.images, Path(temporary))
        running = contenders.contenders(flags.tfds_python)
        results = measure(images, flags.sizes, flags.rounds, made.folder(flags.cache, Path(temporary)), running)
    print(show(results, flags.sizes))
    if not flags.tfds_python:
        print("TFDS was left out: there is no environment that has it.")
    every = list(results.measurements.values())
    if flags.plot:
        report.plot(every, flags.plot, f"Conversion on {contenders.CORES} cores, without start-up")
    if flags.json:
        found = ratios(results.measurements, [one for one in running if one.key], results.starts)
        report.write_json(flags.json, every, found, report.machine(_PACKAGES))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench_convert", description="Measures conversion beside its peers, in alternating rounds."
    )
    parser.add_argument("--sizes", type=_sizes, default=(2000, 20_000), help="numbers of images: 2000,20000,100000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=Path, help=made.IMAGES_HELP)
    parser.add_argument("--cache", type=Path, help=made.CACHE_HELP)
    parser.add_argument("--plot", type=Path, help="picture to draw: .png, .svg or .pdf")
    parser.add_argument("--json", type=Path, help="file for all values and ratios")
    parser.add_argument("--tfds_python", default="", help="Python that has tensorflow-datasets")
    return parser.parse_args()


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(number) for number in text.split(",")}))


if __name__ == "__main__":
    main()
