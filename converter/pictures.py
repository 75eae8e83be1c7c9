"""What the report shows of the examples: a sample of them, where an image is by its name, and small pictures.

Within a split the examples stand in the order of a hash, so that the first of each split are a fair random sample.
"""

import base64
import contextlib
import functools
import io
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from PIL.Image import Resampling

from converter import assignment, storage
from converter.headers import ImageError, read_header
from converter.origin import Origin
from converter.rejects import inert
from schemas import example, layout
from schemas.errors import UserError
from schemas.example import Example
from schemas.metadata import DatasetInfo
from schemas.tfrecord import RecordError, ShardReader

# What is read of a dataset, at most. A share of one class in a hundred is then known to a tenth of itself (its standard
# deviation is 7 %), and reading takes seconds: 0.2 ms a photograph of 35 kB, and 2 s for a GB or for so many labels.
MAX_EXAMPLES = 20_000
MAX_BYTES = 1_000_000_000
MAX_LABELS = 20_000_000

# Pixels of the longer side of a small picture: sharp in the 120 of the page on a display of two pixels for one, mostly,
# and about 5 kB.
_SIZE = 176
_MAX_PIXELS = 128_000_000


class Place(NamedTuple):
    """Where a record is: the path of its shard in the dataset, and its offset in it."""

    shard: str
    offset: int


class Seen(NamedTuple):
    """An example of the sample, without its image.

    Attributes:
        place: of its record.
        filename: of its image.
        split: that it is in.
        labels: the classes that it has, by number, in their order.
        height: pixels.
        width: pixels.
    """

    place: Place
    filename: str
    split: str
    labels: tuple[int, ...]
    height: int
    width: int


def sample(directory: str, info: DatasetInfo) -> list[Seen]:
    """Reads a dataset, or so much of each split as the limits admit: the same examples each time, of all splits mixed.

    Raises:
        UserError: a shard is damaged.
        OSError: one cannot be read.
    """
    num_labels, num_bytes = info.num_examples * len(info.classes), info.statistics.num_bytes
    limits = ((MAX_EXAMPLES, info.num_examples), (MAX_BYTES, num_bytes), (MAX_LABELS, num_labels))
    share = min(1.0, *(limit / max(1, there) for limit, there in limits))
    found = [
        Seen(place, one.filename, split.name, _numbers(one.labels), one.height, one.width)
        for split in info.splits
        for place, one in itertools.islice(
            _read(directory, [shard.path for shard in split.shards], len(info.classes)),
            math.ceil(split.num_examples * share),
        )
    ]
    return sorted(found, key=lambda one: (assignment.position(one.filename), one.filename))


def _numbers(labels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(itertools.compress(range(len(labels)), labels))


def _read(directory: str, shards: Iterable[str], num_classes: int) -> Iterator[tuple[Place, Example]]:
    for shard in shards:
        with storage.open_binary(f"{directory}/{shard}") as file, _naming(shard):
            for offset, record in ShardReader(file):
                yield Place(shard, offset), example.decode(record, num_classes)


@contextlib.contextmanager
def _naming(shard: str) -> Iterator[None]:
    """Says of a damaged record in which shard it is."""
    try:
        yield
    except (RecordError, ValueError) as error:
        raise UserError(f"{shard} is damaged: {error}. `python -m converter.verify` says more.") from error


class Finder:
    """Finds records by the names of their images: the hash tells the shard, and what is noted of it the rest."""

    def __init__(self, directory: str):
        self._directory = directory
        self._planned: dict[str, int] = {}
        for file in storage.list_files(f"{directory}/{layout.MADE_FROM}"):
            split, _, number = file.name.removesuffix(".json").rpartition("-of-")
            self._planned[split.split("/")[0]] = int(number)
        self._places = functools.lru_cache(maxsize=16)(self._read)

    def find(self, split: str, filename: str) -> Place | None:
        """Returns where an image is; None where nothing is noted of it, as when its name was changed for a CSV."""
        num_shards = self._planned.get(split)
        if not num_shards:
            return None
        shard = assignment.shard(assignment.position(filename), num_shards)
        return self._places(layout.shard(split, shard, num_shards)).get(filename)

    def _read(self, planned: str) -> dict[str, Place]:
        made = Origin.read(self._directory, planned)
        if not made or not made.shard:
            return {}
        index = storage.read(f"{self._directory}/{layout.shard_index(made.shard.path)}").decode().splitlines()
        return {
            inert(one.filename): Place(made.shard.path, int(line.split()[0]))
            for one, line in zip(made.fingerprints, index, strict=True)
        }


def thumbnails(directory: str, places: Iterable[Place], num_classes: int) -> dict[Place, str]:
    """Returns small pictures as data URIs, each read by its offset.

    Args:
        directory: of the dataset.
        places: of the records, in any order.
        num_classes: of the dataset.

    Raises:
        UserError: a shard is damaged.
        OSError: one cannot be read.
    """
    found = {}
    for shard, group in itertools.groupby(sorted(set(places)), key=lambda place: place.shard):
        with storage.open_binary(f"{directory}/{shard}") as file, _naming(shard):
            for place in group:
                file.seek(place.offset)
                for _, record in itertools.islice(ShardReader(file), 1):
                    found[place] = thumbnail(example.decode(record, num_classes).image)
    return found


def thumbnail(data: bytes) -> str:
    """Returns a small JPEG of an encoded image as a data URI, or "" where Pillow cannot make one."""
    try:
        _, image = read_header(data, _MAX_PIXELS)
        image.draft("RGB", (_SIZE, _SIZE))  # A large JPEG is decoded at an eighth of its size.
        small = image.convert("RGB")
        small.thumbnail((_SIZE, _SIZE), Resampling.BICUBIC, reducing_gap=2.0)
    except (ImageError, OSError, ValueError):
        return ""
    file = io.BytesIO()
    small.save(file, "JPEG", quality=75, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
