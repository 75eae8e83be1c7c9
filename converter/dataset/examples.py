"""Reads the examples of a dataset: one after the other, or the one that has a name.

    shards of a split     |---------|---------|---------|     each a range of positions (splits/assignment.py), in order
    records of a shard    |.|..|.|..|                         in order of position, at the offsets that its index lists

So two binary searches find a name: the first among the first records of the shards, the second among the records of one
shard. They are repeated in each split, since the split of an image does not always follow from its name.
"""

import bisect
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from converter.splits import assignment
from multihot import storage
from multihot.errors import UserError
from multihot.limits import DEFAULT, Limits
from schemas import example, layout
from schemas.example import Example
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.tfrecord import RecordError, ShardReader


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


def find(directory: str, info: DatasetInfo, filename: str, limits: Limits = DEFAULT) -> Iterator[Located]:
    """Yields the example of this name in each split: at most one in all, unless the dataset is faulty.

    In each split with n examples in s shards, it reads one index and about log2(n) + log2(s) records.

    Args:
        directory: of the dataset, local or in a store.
        info: its manifest.
        filename: the normalized file name: relative, with '/', in composed characters.
        limits: of an image.

    Raises:
        UserError: an index, or a record that the search reads, is damaged.
        OSError: a shard or an index cannot be read.
    """
    for split in info.splits:
        found = _find(directory, info, split, filename, limits)
        if found:
            yield found


def _find(directory: str, info: DatasetInfo, split: SplitInfo, filename: str, limits: Limits) -> Located | None:
    wanted = _order(filename)

    def first_of(shard: ShardInfo) -> tuple[int, str]:
        path = _path(directory, shard.path)
        with storage.open_binary(path) as file:
            return _order(read_at(file, path, 0, info, limits).filename)

    before = bisect.bisect_right(split.shards, wanted, key=first_of)
    if not before:
        return None
    shard = split.shards[before - 1]
    path, offsets = _path(directory, shard.path), _offsets(directory, shard)
    with storage.open_binary(path) as file:
        # The last record that does not come after the name.
        i = bisect.bisect_right(
            offsets, wanted, key=lambda offset: _order(read_at(file, path, offset, info, limits).filename)
        )
        one = read_at(file, path, offsets[i - 1], info, limits)
    return Located(split.name, shard.path, offsets[i - 1], one) if one.filename == filename else None


def _order(filename: str) -> tuple[int, str]:
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
