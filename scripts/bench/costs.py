"""Measures what conversion costs for each row, image, byte and shard: what scaling.py computes with.

CPU seconds, not wall time, so that what else the machine does matters little; on one thread, since the difference of
two measurements is less than what threads that wait for each other add to both. A cost for each image and one for each
byte come from the smaller and the larger half of the images.
"""

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import contenders
import made
import process
import scaling
from made import Made
from scaling import Costs, render, renewed
from schemas.quiet import quiet

with quiet():
    import apache_beam as beam
    import tensorflow as tf
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    tf.config.list_physical_devices()  # Looks for GPUs, and tells when it finds none.
    from converter.duplicates import neighbours
    from converter.duplicates.fingerprints import Fingerprint
    from converter.duplicates.neighbours import Columns
    from converter.images.prove import Preparation
    from converter.job import graph, pipeline
    from converter.options import ConvertOptions
    from converter.shards import batches, reading, writing
    from converter.shards.batches import Batch
    from converter.shards.matching import Source
    from converter.shards.reading import Good
    from converter.system import storage
    from converter.system.storage import File
    from converter.table import rows
    from converter.table.header import read_tables
    from converter.table.row import Row

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"
_PREPARATION = Preparation(max_pixels=100_000_000)
# Rows of the two jobs whose difference is what rows cost: the first pays for what is made once.
_FEW_ROWS, _MANY_ROWS = 20_000, 200_000
_FILE_BYTES = 12_000
# Images of one part of a band, none near another: as many as converter/shards/batches.py gives to one task.
_PART = 300_000
# Of each band; in one part alone a fingerprint is sent once, and not once for each band.
_PARTS = 2


def cpu_seconds(work: Callable[[], object]) -> float:
    """Returns the CPU seconds that some work takes in this process, the least of five times."""

    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return min(once() for _ in range(5))


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Returns where the line through two points starts, and its slope."""
    (x0, y0), (x1, y1) = points
    slope = (y1 - y0) / (x1 - x0)
    return y0 - slope * x0, slope


def measure(originals: Path, cache: Path, number: int) -> Costs:
    """Measures all costs.

    Args:
        originals: folder of JPEGs to vary.
        cache: folder for what is made.
        number: images of the conversion that is compared with the formula; fewer are measured one by one.
    """
    data, few = (made.make(originals, count, cache) for count in (number, min(number, 4000)))
    small = made.make(originals, min(number, 400), cache)
    sources = _sources(few)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        start = contenders.start_up(made.make(originals, 16, cache), cache).cpu_seconds
        read, prove, write = _of_images(sources, Path(folder))
        pair = _of_pair()
        group = _of_job("group")
        # Without what its pairs take: their number is quadratic.
        copies = _of_job("copies", lambda number: _pairs(number) * pair)
        check = process.run(contenders.OURS.command(data, Path(folder) / "check"), contenders.ENV).cpu_seconds
        return Costs(
            cores=contenders.CORES,
            image_bytes=sum(source.file.size for source in sources) / len(sources),
            start_s=start,
            csv_row_bytes=_csv_bytes(1),
            csv_row_us=_of_csv(Path(folder)) * 1e6,
            list_file_us=cpu_seconds(lambda: list(storage.list_files(str(few.images)))) / few.number * 1e6,
            group_row_us=group[0] * 1e6,
            read_image_us=read[0] * 1e6,
            read_byte_ns=read[1] * 1e9,
            prove_image_us=prove[0] * 1e6,
            prove_byte_ns=prove[1] * 1e9,
            write_image_us=write[0] * 1e6,
            write_byte_ns=write[1] * 1e9,
            copies_image_us=copies[0] * 1e6,
            copies_share=_share(originals),
            copies_pair_ns=pair * 1e9,
            shard_ms=_of_shard(small, Path(folder)) * 1e3,
            row_memory_bytes=group[1] + copies[1],
            check_images=number,
            check_s=check,
        )


def _sources(data: Made) -> list[Source]:
    """Returns the rows of a data set with their files, the smallest first."""
    files = sorted(storage.list_files(str(data.images)), key=lambda file: file.size)
    return [Source(_row(i, file.name), file) for i, file in enumerate(files)]


def _row(index: int, filename: str) -> Row:
    return Row("labels.csv", index + 2, filename, bytes(len(made.CLASSES)), "train", filename)


def _of_images(sources: Sequence[Source], folder: Path) -> list[tuple[float, float]]:
    """Returns what reading, proving and writing cost, each in CPU seconds for an image and for a byte."""
    half = len(sources) // 2
    totals = []
    for name, part in (("small", sources[:half]), ("large", sources[half:])):
        size = sum(source.file.size for source in part) / half
        read, proved, written = (cpu_seconds(work) / half for work in _works(part, str(folder / name)))
        totals.append((size, (read, proved - read, written - proved)))
    return [line([(size, costs[i]) for size, costs in totals]) for i in range(3)]


def _works(sources: Sequence[Source], folder: str) -> Iterator[Callable[[], object]]:
    """Yields reading; reading and proving; reading, proving and writing to a shard that is not there yet."""
    yield lambda: [storage.read(source.file.path) for source in sources]
    yield lambda: sum(map(len, reading.read(sources, _PREPARATION, 1)))
    fresh = (f"{folder}-{i}" for i in itertools.count())
    yield lambda: writing.write_shard(
        next(fresh),
        published=f"{folder}-none",
        split="train",
        index=0,
        num_shards=1,
        sources=sources,
        preparation=_PREPARATION,
        num_threads=1,
    )


def _of_csv(folder: Path) -> float:
    """Returns the CPU seconds of a row."""
    path = folder / "rows.csv"
    path.write_text(f"filename,{','.join(made.CLASSES)}\n{''.join(map(_csv_line, _rows(_MANY_ROWS)))}")
    options = ConvertOptions(csv=str(path), images=str(folder), output=str(folder))
    (table,) = read_tables(options)
    return cpu_seconds(lambda: sum(1 for _ in rows.read_rows(options, table))) / _MANY_ROWS


def _csv_line(row: Row) -> str:
    return f"{row.filename},{','.join(map(str, row.labels))}\n"


def _csv_bytes(number: int) -> int:
    return number * len(_csv_line(_row(0, made.name(0))))


def _rows(number: int) -> Iterator[Row]:
    return (_row(i, made.name(i)) for i in range(number))


def _files(number: int) -> Iterator[File]:
    return (File(made.name(i), f"/images/{made.name(i)}", _FILE_BYTES) for i in range(number))


def _of_job(name: str, apart: Callable[[int], float] = lambda number: 0) -> tuple[float, float]:
    """Returns the CPU seconds and the bytes of memory of a row in one of the jobs below, in processes of their own.

    Args:
        name: of the job.
        apart: from a number of rows to the CPU seconds that are not to be counted.
    """
    seconds, peaks = [], []
    for number in (_FEW_ROWS, _MANY_ROWS):
        run = process.run([sys.executable, __file__, f"--job={name}", f"--rows={number}"], contenders.ENV)
        seconds.append((number, float(json.loads(run.output)) - apart(number)))
        peaks.append((number, run.peak_mb * 1e6))
    return line(seconds)[1], line(peaks)[1]


def group(number: int) -> None:
    """Joins rows with their files and groups them by shard: the steps of converter/job/graph.py."""
    num_buckets = batches.num_buckets(_csv_bytes(number))
    options = ConvertOptions(csv="labels.csv", images="images", output="data")
    with beam.Pipeline(runner=FnApiRunner()) as job:
        start = job | beam.Create([number])
        named = start | "Rows" >> beam.FlatMap(
            lambda number: batches.fill(_rows(number), lambda row: row.filename, num_buckets)
        )
        files = start | "Files" >> beam.FlatMap(
            lambda number: batches.fill(_files(number), lambda file: file.name, num_buckets)
        )
        _ = graph.by_shard(graph.join(named, files, options).sources, options) | "Count" >> beam.Map(
            lambda grouped: sum(map(len, grouped[1]))
        )


def copies(number: int) -> None:
    """Looks for duplicates among images of which no two are alike: the steps of converter/job/graph.py.

    Fingerprints come in batches, one for each shard.
    """
    each = scaling.SHARD_BYTES // _FILE_BYTES
    with beam.Pipeline(runner=FnApiRunner()) as job:
        no_sources = job | "NoSources" >> beam.Create([])  # No two are alike, so that none is read again.
        options = ConvertOptions(csv="a.csv", images="images", output="out")
        _ = (
            job
            | beam.Create(range(0, number, each))
            | beam.Map(_some_fingerprints, each, number)
            | graph.FindGroups(no_sources, options, _PARTS, lambda row: row.filename)
        )


def _some_fingerprints(first: int, each: int, number: int) -> Batch[Fingerprint]:
    return Batch(_fingerprints(first, min(first + each, number)))


def _fingerprints(start: int, end: int) -> Iterator[Fingerprint]:
    rng = random.Random(start)
    for i in range(start, end):
        yield Fingerprint(made.name(i), rng.randbytes(8), rng.getrandbits(64), rng.randbytes(64))


def _pairs(number: int) -> float:
    """Returns how many pairs of so many made fingerprints share a band, counted once for each band.

    One band has ten of the 64 bits, each other one nine.
    """
    return number**2 / 2 * (2**-10 + (scaling.BANDS - 1) * 2**-9)


def _of_pair() -> float:
    """Returns the CPU seconds of a pair in a band: of images that are not near each other, as nearly all are."""
    points = []
    for number in (_PART // 2, _PART):
        found = [(band, some) for (band, _), some in neighbours.bands(list(_fingerprints(0, number)), _PARTS)]

        def work(found: Sequence[tuple[int, Columns]] = found) -> None:
            for band, some in found:
                assert not neighbours.begin_links(band, [some])().ones.size

        points.append((number, cpu_seconds(work) / number))
    # What an image takes alone is where this line starts.
    return line(points)[1] * _PART**2 / _pairs(_PART)


def _share(originals: Path) -> float:
    """Returns how many times two images share a band: by chance, and since hashes of photographs are not all alike."""
    paths = [str(path) for path in sorted(originals.rglob("*.jpg"))[:4000]]
    sources = [Source(_row(i, path), File(path, path, os.path.getsize(path))) for i, path in enumerate(paths)]
    found = itertools.chain.from_iterable(reading.read(sources, _PREPARATION, contenders.CORES))
    fingerprints = [one.fingerprint for one in found if isinstance(one, Good)]
    # So many parts that each value of a band has one of its own.
    sizes = [len(same.names) for _, same in neighbours.bands(fingerprints, 1 << 32)]
    return sum(size * (size - 1) for size in sizes) / (len(sources) * (len(sources) - 1))


def _of_shard(data: Made, folder: Path) -> float:
    """Returns the CPU seconds of a shard more, for the same images."""

    def seconds(num_shards: int) -> float:
        fresh = (str(folder / f"{num_shards}-{i}") for i in itertools.count())

        def work() -> None:
            pipeline.convert(
                ConvertOptions(
                    csv=str(data.csv), images=str(data.images), output=next(fresh), num_shards={"": num_shards}
                )
            )

        return cpu_seconds(work)

    # In each of the two splits.
    return line([(2 * num_shards, seconds(num_shards)) for num_shards in (1, 1 + data.number // 8)])[1]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench_scaling", description="Measures costs, and computes what conversion takes at any scale."
    )
    parser.add_argument("--images", type=Path, help=made.IMAGES_HELP)
    parser.add_argument(
        "--number", type=int, default=20_000, help="images of the conversion that the formula is held to"
    )
    parser.add_argument("--cache", type=Path, help=made.CACHE_HELP)
    parser.add_argument("--write", action="store_true", help="put the figures into docs/scaling.md")
    # How this program calls itself.
    parser.add_argument("--job", choices=("group", "copies"), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.job:
        start = time.process_time()
        {"group": group, "copies": copies}[flags.job](flags.rows)
        print(time.process_time() - start)
        return
    with tempfile.TemporaryDirectory() as temporary:
        originals = made.originals(flags.images, Path(temporary))
        costs = measure(originals, made.folder(flags.cache, Path(temporary)), flags.number)
    print(render(Costs.parse(costs.table())))
    if flags.write:
        _PAGE.write_text(renewed(_PAGE.read_text(encoding="utf-8"), costs), encoding="utf-8")


if __name__ == "__main__":
    main()
