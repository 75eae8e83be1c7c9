"""Holds the code that the programs beside the converter share: their flags, a stopwatch, the line that they print.

Each is a program of its own, so that memory and CPU time are its own as well; its imports are not timed.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import NamedTuple, Self


class Job(NamedTuple):
    """The task of a program.

    Attributes:
        rows: paths of the images with their labels, 0 or 1 for each class.
        output: folder for the shards; it is there, and empty.
        threads: that may decode at a time.
    """

    rows: list[tuple[str, list[int]]]
    output: Path
    threads: int


def parse() -> Job:
    """Reads the command line, and the CSV that it names."""
    parser = argparse.ArgumentParser(description="One of the programs that scripts/bench_convert runs.")
    parser.add_argument("--csv", required=True, help="with a header; file names in the first column, then labels")
    parser.add_argument("--images", type=Path, required=True, help="folder of the images")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    with open(flags.csv, newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    named = [(str(flags.images / filename), [int(label) for label in labels]) for filename, *labels in rows]
    return Job(named, flags.output, flags.threads)


class Stopwatch:
    """Adds up the time of all blocks of `with`.

    Attributes:
        seconds: of wall time.
        cpu_seconds: of all threads of this process.
    """

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    def __enter__(self) -> Self:
        self.seconds -= time.perf_counter()
        self.cpu_seconds -= time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()
        self.cpu_seconds += time.process_time()


def tell(images: int, watch: Stopwatch) -> None:
    """Prints what was measured, as the last line: how many images were done, and in what time."""
    print(json.dumps({"images": images, "seconds": watch.seconds, "cpu_seconds": watch.cpu_seconds}), flush=True)
