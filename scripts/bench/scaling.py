"""What conversion takes at any number of images: a formula over measured costs, and the tables of docs/scaling.md.

    scripts/bench_scaling              measures the costs (costs.py) and prints the tables
    scripts/bench_scaling --write      ... and puts them into docs/scaling.md

The tables follow from the costs that stand in the document itself; a test holds them against each other.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple, Self, get_type_hints

from converter.duplicates.neighbours import MAX_DISTANCE
from converter.shards import batches

_BEGIN, _END = "<!-- begin: scripts/bench_scaling --write -->\n", "<!-- end -->\n"
SHARD_BYTES = 128_000_000
# Hashes of 64 bits are compared where they agree in one of seven bands, most of them of nine bits:
# converter/duplicates/neighbours.py.
BANDS = MAX_DISTANCE + 1
_BAND_VALUES = 2**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """What the formula is fed with; the unit is the end of each name, and its annotation says what it is of."""

    cores: Annotated[float, "of the machine, and of each worker"]
    image_bytes: Annotated[float, "mean size of an image"]
    start_s: Annotated[float, "the whole command on 16 images: importing, starting, committing"]
    csv_row_bytes: Annotated[float, "mean size of a row of the CSV, which decides into how many tasks work is cut"]
    csv_row_us: Annotated[float, "parsing a row of the CSV"]
    list_file_us: Annotated[float, "listing a file"]
    group_row_us: Annotated[float, "joining a row with its file, and grouping it by shard, in batches, in Beam"]
    read_image_us: Annotated[float, "opening a file of this machine"]
    read_byte_ns: Annotated[float, "reading it"]
    prove_image_us: Annotated[float, "header, decoding and fingerprint, for each image"]
    prove_byte_ns: Annotated[float, "and for each of its bytes"]
    write_image_us: Annotated[float, "encoding a record and writing it, reading it back, digests"]
    write_byte_ns: Annotated[float, "and for each of its bytes"]
    copies_image_us: Annotated[float, "seven bands of a fingerprint, grouped in batches, in Beam"]
    copies_share: Annotated[float, "pairs of images that share a band, of all pairs; once for each band"]
    copies_pair_ns: Annotated[float, "comparing such a pair"]
    shard_ms: Annotated[float, "finishing a shard: notes, index, its part of the commit"]
    row_memory_bytes: Annotated[float, "what Beam's in-process runner holds of a row and its fingerprint"]
    check_images: Annotated[float, "images of a whole conversion, for comparison"]
    check_s: Annotated[float, "CPU time that it took, start-up included"]
    # Of no machine of ours: orders of magnitude.
    request_ms: Annotated[float, "assumed: until an object store answers with an image"] = 50
    list_object_us: Annotated[float, "assumed: listing an object, a thousand at a time"] = 200
    workers_s: Annotated[float, "assumed: until workers have started and installed TensorFlow"] = 300

    def table(self) -> str:
        """Returns the rows of the document that `parse` reads."""
        values = dataclasses.asdict(self)
        digits = {name: f"{value:.0f}" if value >= 1000 else f"{value:.3g}" for name, value in values.items()}
        hints = get_type_hints(type(self), include_extras=True)
        rows = [f"| `{name}` | {digits[name]} | {hints[name].__metadata__[0]} |" for name in values]
        return "\n".join(["| input | value | |", "|---|---|---|", *rows])

    @classmethod
    def parse(cls, page: str) -> Self:
        """Returns the costs that a document has."""
        found = dict(re.findall(r"^\| `(\w+)` \| ([-+.\de]+) \|", page, re.MULTILINE))
        return cls(**{name: float(found[name]) for name in get_type_hints(cls)})


class Place(NamedTuple):
    """Where a conversion runs.

    Attributes:
        name: heading of its column.
        workers: 0 for this machine and its disk; otherwise those of Dataflow, and an object store.
        threads: images that each process reads at a time.
    """

    name: str
    workers: int
    threads: int


def steps(costs: Costs, number: int, place: Place) -> dict[str, float]:
    """Returns the seconds of each step. They are added up, though some overlap on workers: an upper bound there.

    Args:
        costs: of one image, row, byte.
        number: of images, one row each, in one CSV.
        place: where.
    """
    remote = place.workers > 0
    # Beam's in-process runner groups in one thread; shards are written, and fingerprints compared, in
    # as many processes as there are cores.
    groupers = place.workers * costs.cores if remote else 1
    decoders = max(place.workers, 1) * costs.cores
    size = costs.image_bytes
    pairs = costs.copies_share * number**2 / 2
    tasks = BANDS * parts(costs, number)
    return {
        "start-up": costs.workers_s if remote else costs.start_s,
        "parsing the CSV": number * costs.csv_row_us / 1e6,
        "listing the folder": number * (costs.list_object_us if remote else costs.list_file_us) / 1e6,
        "joining and grouping": number * costs.group_row_us / 1e6 / groupers,
        "waiting for the store": number * costs.request_ms / 1e3 / (decoders * place.threads) if remote else 0,
        "reading": number * (costs.read_image_us / 1e6 + size * costs.read_byte_ns / 1e9) / decoders,
        "proving": number * (costs.prove_image_us / 1e6 + size * costs.prove_byte_ns / 1e9) / decoders,
        "writing": number * (costs.write_image_us / 1e6 + size * costs.write_byte_ns / 1e9) / decoders,
        "duplicates: grouping": number * costs.copies_image_us / 1e6 / groupers,
        "duplicates: comparing": pairs * costs.copies_pair_ns / 1e9 / min(decoders, tasks),
        "finishing shards": shards(costs, number) * costs.shard_ms / 1e3,
    }


def parts(costs: Costs, number: int) -> int:
    """Returns into how many parts a band is cut: each has a value of the band or more, and is compared by one task."""
    return min(_BAND_VALUES, batches.num_parts(int(number * costs.csv_row_bytes)))


def buckets(costs: Costs, number: int) -> int:
    """Returns into how many buckets rows go."""
    return batches.num_buckets(int(number * costs.csv_row_bytes))


def shards(costs: Costs, number: int) -> int:
    """Returns how many shards so many images make, of the default size."""
    return math.ceil(number * costs.image_bytes / SHARD_BYTES)


def text(seconds: float) -> str:
    """Returns a time in the unit that a person would choose."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def render(costs: Costs) -> str:
    """Returns all that the document has of figures: costs, times at a million and at a billion images, memory."""
    few = int(costs.cores)
    here = Place("this machine", 0, few)
    workers = Place("100 workers", 100, few)
    many = Place("100 workers, `--num_threads=32`", 100, 32)
    columns = [(10**6, here), (10**6, workers), (10**9, here), (10**9, workers), (10**9, many)]
    headings = " | ".join(f"{_count(number)}, {place.name}" for number, place in columns)
    times = [steps(costs, number, place) for number, place in columns]
    rows = [f"| {name} | " + " | ".join(_cells(times, name)) + " |" for name in times[0]]
    totals = " | ".join(text(sum(one.values())) for one in times)
    # CPU time, as it was measured: as if there were one core.
    one_core = dataclasses.replace(costs, cores=1)
    check = text(sum(steps(one_core, int(costs.check_images), here).values()))
    memory = " | ".join(f"{number * costs.row_memory_bytes / 1e9:.3g} GB" for number in (10**6, 10**9))
    band = " | ".join(f"{number // parts(costs, number):,}" for number in (10**6, 10**9))
    bucket = " | ".join(f"{number // buckets(costs, number):,}" for number in (10**6, 10**9))
    return "\n".join(
        [
            costs.table(),
            "",
            f"| step | {headings} |",
            "|---" * (len(columns) + 1) + "|",
            *rows,
            f"| all | {totals} |",
            "",
            f"For {costs.check_images:,.0f} images the formula gives {check} of CPU time, on all cores together; "
            f"the converter took {text(costs.check_s)}.",
            "",
            "| held in one process | 1 M | 1 B |",
            "|---|---|---|",
            f"| by Beam's in-process runner: rows and fingerprints | {memory} |",
            f"| by a worker: rows of a bucket, and files | {bucket} |",
            f"| by a worker: fingerprints of a part of a band, on average | {band} |",
            f"| by the last step: notes of shards | {shards(costs, 10**6):,} | {shards(costs, 10**9):,} |",
            "",
        ]
    )


def _count(number: int) -> str:
    return {10**6: "1 M", 10**9: "1 B"}[number]


def _cells(times: list[dict[str, float]], name: str) -> Iterator[str]:
    """Yields the times of a step; where it is the longest of its column, in bold; with its share from a percent on."""
    for one in times:
        share = one[name] / sum(one.values())
        cell = f"{text(one[name])}, {share:.0%}" if share >= 0.01 else text(one[name])
        yield f"**{cell}**" if one[name] == max(one.values()) else cell if one[name] else "-"


def renewed(page: str, costs: Costs) -> str:
    """Returns a document with its figures replaced by those of other costs, rounded as they stand there."""
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    return f"{before}{_BEGIN}{render(Costs.parse(costs.table()))}{_END}{after}"
