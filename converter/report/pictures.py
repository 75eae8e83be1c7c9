"""Samples the examples for the report, finds examples by name, and makes small pictures of them.

The examples of a split are in the order of a hash, so that the first ones of each split are a random sample.
"""

import base64
import io
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from PIL.Image import Resampling

from converter.dataset import examples
from converter.splits import assignment
from multihot import formulas, storage
from multihot.images.headers import ImageError, in_rgb, read_header
from multihot.limits import DEFAULT, Limits
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo

# Largest part of a dataset that is read. The standard deviation of the share of a class that one in a hundred examples
# has is then a seventh of the share. Reading takes seconds: 0.2 ms a photograph of 35 kB, and 2 s for a GB or for this
# number of labels.
MAX_EXAMPLES = 5_000
MAX_BYTES = 1_000_000_000
MAX_LABELS = 20_000_000

# Longer side of a small picture, in pixels. The page shows it at 120, so that it is nearly sharp on a display with two
# pixels for one; it has about 5 kB.
_SIZE = 176
# Records of a shard that are read one after the other. In a store, opening the shard takes one request, and each record
# one more; several are read at a time.
_IN_TURN = 4


class Place(NamedTuple):
    """The position of a record: the path of its shard in the dataset, and its offset in the shard."""

    shard: str
    offset: int


class SampledExample(NamedTuple):
    """An example of the sample, without its image.

    Attributes:
        place: of its record.
        filename: of its image.
        split: name of its split.
        labels: indices of its classes, ascending.
        height: pixels.
        width: pixels.
    """

    place: Place
    filename: str
    split: str
    labels: tuple[int, ...]
    height: int
    width: int


def sample(directory: str, info: DatasetInfo, limits: Limits = DEFAULT) -> list[SampledExample]:
    """Returns all examples of a dataset, or as many of each split as the limits allow.

    It returns the same examples each time, with those of different splits mixed.

    Raises:
        UserError: a shard is damaged.
        OSError: a shard cannot be read.
    """
    num_labels, num_bytes = info.num_examples * len(info.classes), info.statistics.num_bytes
    most = ((MAX_EXAMPLES, info.num_examples), (MAX_BYTES, num_bytes), (MAX_LABELS, num_labels))
    share = min(1.0, *(limit / max(1, there) for limit, there in most))

    def of_shard(part: tuple[SplitInfo, ShardInfo, int]) -> list[SampledExample]:
        split, shard, number = part
        return [
            SampledExample(
                Place(shard.path, offset), one.filename, split.name, _numbers(one.labels), one.height, one.width
            )
            for offset, one in itertools.islice(examples.read_shard(directory, shard, info, limits), number)
        ]

    with storage.in_parallel(directory) as threads:
        found = threads.map(of_shard, [part for split in info.splits for part in _first(split, share)])
        return sorted(
            itertools.chain.from_iterable(found), key=lambda one: (assignment.position(one.filename), one.filename)
        )


def _first(split: SplitInfo, share: float) -> Iterator[tuple[SplitInfo, ShardInfo, int]]:
    """Yields the shards of a split that have its first examples, and how many of each."""
    left = math.ceil(split.num_examples * share)
    for shard in split.shards:
        if left > 0:
            yield split, shard, min(left, shard.num_examples)
        left -= shard.num_examples


def _numbers(labels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(i for i, label in enumerate(labels) if label == 1)


def find(directory: str, info: DatasetInfo, limits: Limits, split: str, name: str) -> Place | None:
    """Returns the position of an image in a split, by its name in a CSV of the dataset, where formulas are escaped."""
    for filename in dict.fromkeys((formulas.unescaped(name), name)):
        for one in examples.find(directory, info, filename, limits, splits=[split]):
            return Place(one.shard, one.offset)
    return None


def thumbnails(
    directory: str, places: Iterable[Place], info: DatasetInfo, limits: Limits = DEFAULT
) -> dict[Place, str]:
    """Returns small pictures as data URIs, each read by its offset.

    Args:
        directory: of the dataset.
        places: of the records, in any order.
        info: its manifest.
        limits: of an image; the picture of a larger one is "".

    Raises:
        UserError: a shard is damaged.
        OSError: a shard cannot be read.
    """

    def of_shard(group: tuple[str, list[Place]]) -> dict[Place, str]:
        path, places = f"{directory}/{group[0]}", group[1]
        with storage.open_binary(path) as file:
            each = (examples.read_at(file, path, place.offset, info, limits).image for place in places)
            return {place: thumbnail(image, limits.max_pixels) for place, image in zip(places, each, strict=True)}

    by_shard = itertools.groupby(sorted(set(places)), key=lambda place: place.shard)
    groups = [(shard, list(group)) for shard, group in by_shard]
    some = [(shard, group[i : i + _IN_TURN]) for shard, group in groups for i in range(0, len(group), _IN_TURN)]
    with storage.in_parallel(directory) as threads:
        found = threads.map(of_shard, some)
        return {place: picture for each in found for place, picture in each.items()}


def thumbnail(data: bytes, max_pixels: int = DEFAULT.max_pixels) -> str:
    """Returns a small JPEG of an encoded image as a data URI; "" if it is too large, or Pillow cannot read it."""
    try:
        _, image = read_header(data, max_pixels)
        image.draft("RGB", (_SIZE, _SIZE))  # A large JPEG is decoded at an eighth of its size.
        small = in_rgb(image)
        small.thumbnail((_SIZE, _SIZE), Resampling.BICUBIC, reducing_gap=2.0)
    except (ImageError, OSError, ValueError):
        return ""
    file = io.BytesIO()
    small.save(file, "JPEG", quality=75, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
