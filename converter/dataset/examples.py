"""Reads the examples of a dataset: one after the other, or the one that has a name.

    shards of a split     |---------|---------|---------|     each a range of positions (splits/assignment.py), in order
    records of a shard    |.|..|.|..|                         in order of position, at the offsets that its index lists

So two searches find a name: the first among the first records of the shards, the second among the records of one shard.
They are repeated in each split, since the split of an image does not always follow from its name. Positions are uniform
and say about where a name is: an interpolation search reads a few records, each of which is a request in a store.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from converter.splits import assignment
from multihot import storage
from multihot.errors import UserError
from multihot.limits import DEFAULT, Limits
from schemas import example, layout
from schemas.example import Example
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.tfrecord import RecordError, ShardReader

# The key by which the examples of a split are sorted: position and file name.
_Order = tuple[int, str]


class Located(NamedTuple):
    """An example, with the position of its record.

    Attributes:
        split: name of its split.
        shard: path of its shard in the dataset.
        offset: of its record in the shard, bytes.
        example: the fields of the record.
    """

    split: str
    shard: str
    offset: int
    example: Example


def read_split(directory: str, info: DatasetInfo, split: str, limits: Limits = DEFAULT) -> Iterator[Located]:
    """Yields the examples of a split, in order.

    Args:
        directory: of the dataset, local or in a store.
        info: its manifest.
        split: name of the split.
        limits: of an image.

    Raises:
        UserError: there is no such split, or a shard is damaged.
        OSError: a shard cannot be read.
    """
    for shard in info.split(split).shards:
        for offset, one in read_shard(directory, shard, info, limits):
            yield Located(split, shard.path, offset, one)


def read_shard(
    directory: str, shard: ShardInfo, info: DatasetInfo, limits: Limits = DEFAULT
) -> Iterator[tuple[int, Example]]:
    """Yields the examples of a shard in order, each with the offset of its record.

    Raises:
        UserError: the shard is damaged, or is not the one in the manifest; the message has the offset of the damage.
        OSError: the shard cannot be read.
    """
    path = _path(directory, shard.path)
    try:
        with storage.open_binary(path) as file:
            reader = ShardReader(file, limits.max_record_bytes)
            for offset, payload in reader:
                yield offset, _decoded(offset, payload, info)
    except RecordError as error:
        raise _damaged(path, error) from error
    if reader.sha256 != shard.sha256:
        raise UserError(f"{path} is not the shard in the manifest. `python -m converter.verify` has details.")


def find(
    directory: str, info: DatasetInfo, filename: str, limits: Limits = DEFAULT, *, splits: Sequence[str] = ()
) -> Iterator[Located]:
    """Yields the example of this name in each split: at most one in all, unless the dataset is faulty.

    In each split it reads one index and a few records: about log2(log2(n)) of n examples.

    Args:
        directory: of the dataset, local or in a store.
        info: its manifest.
        filename: the normalized file name: relative, with '/', in composed characters.
        limits: of an image.
        splits: names of those to search; by default all.

    Raises:
        UserError: an index, or a record that the search reads, is damaged.
        OSError: a shard or an index cannot be read.
    """
    for split in info.splits:
        if not splits or split.name in splits:
            found = _find(directory, info, split, filename, limits)
            if found:
                yield found


def _find(directory: str, info: DatasetInfo, split: SplitInfo, filename: str, limits: Limits) -> Located | None:
    wanted, num_shards = _order(filename), len(split.shards)

    def first_of(i: int) -> Example:
        path = _path(directory, split.shards[i].path)
        with storage.open_binary(path) as file:
            return read_at(file, path, 0, info, limits)

    place, first = _last(range(num_shards), (0, 1 << 64), wanted, first_of)
    if not first:
        return None
    shard = split.shards[place]
    path, offsets = _path(directory, shard.path), _offsets(directory, shard)
    # Some shards may be missing, since empty ones are left out: the range is about that of the shard.
    bounds = assignment.position(first.filename), ((place + 1) << 64) // num_shards
    with storage.open_binary(path) as file:
        i, one = _last(range(1, len(offsets)), bounds, wanted, lambda i: read_at(file, path, offsets[i], info, limits))
    i, one = (i, one) if one else (0, first)
    return Located(split.name, shard.path, offsets[i], one) if one.filename == filename else None


def _last(
    items: range, bounds: tuple[int, int], wanted: _Order, read: Callable[[int], Example]
) -> tuple[int, Example | None]:
    """Returns the last of some sorted items that does not come after a name, and its example; None if all come after.

    Args:
        items: their numbers.
        bounds: positions between which theirs are, about.
        wanted: order of the name.
        read: returns the example of an item.
    """
    (low, high), (below, above) = (items.start, items.stop), bounds
    result: tuple[int, Example | None] = (low, None)
    steps = itertools.count()
    while low < high:
        guess = low + (wanted[0] - below) * (high - low) // max(1, above - below)
        # Every third step halves, so that no order of positions takes many steps.
        i = (low + high) // 2 if next(steps) % 3 == 2 else min(max(low, guess), high - 1)
        one = read(i)
        order = _order(one.filename)
        if order > wanted:
            high, above = i, order[0]
            continue
        low, below, result = i + 1, order[0], (i, one)
        if order == wanted:
            break
    return result


def _order(filename: str) -> _Order:
    """Returns the key by which the examples of a split are sorted."""
    return assignment.position(filename), filename


def _offsets(directory: str, shard: ShardInfo) -> list[int]:
    path = _path(directory, layout.shard_index(shard.path))
    lines = storage.read(path).split(b"\n")[:-1]
    try:
        offsets = [int(offset) for offset, _ in (line.split() for line in lines)]
    except ValueError:
        offsets = []
    if len(offsets) != shard.num_examples:
        raise UserError(f"{path} is damaged. `python -m converter.verify` has details.")
    return offsets


def read_at(file: BinaryIO, path: str, offset: int, info: DatasetInfo, limits: Limits = DEFAULT) -> Example:
    """Returns the example whose record starts at this byte of a shard.

    Args:
        file: the shard.
        path: path of the shard, for messages.
        offset: of the record.
        info: manifest of the dataset.
        limits: of an image.

    Raises:
        UserError: no intact record starts there.
    """
    file.seek(offset)
    try:
        for _, payload in ShardReader(file, limits.max_record_bytes):
            return _decoded(0, payload, info)
        raise RecordError(0, "the file ends before this record")
    except RecordError as error:
        raise _damaged(path, RecordError(offset, error.sentence)) from error


def _decoded(offset: int, payload: bytes, info: DatasetInfo) -> Example:
    try:
        return example.decode(payload, len(info.classes), info.has_unknown)
    except ValueError as error:
        raise RecordError(offset, str(error)) from error


def _damaged(path: str, error: RecordError) -> UserError:
    return UserError(f"{path} is damaged at {error}. `python -m converter.verify` has details.")


def _path(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"
