"""Assigns the images of a batch to their splits and shards."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from converter.options import ConvertOptions
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.splits import assignment
from converter.table.row import Row

_T = TypeVar("_T")
_K = TypeVar("_K")


def sizes(sources: Batch[Source]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields for each split the number of its images and the sum of their bytes."""
    for split, some in _grouped(sources, lambda source: source.row.split).items():
        yield split, (len(some), sum(source.file.size for source in some))


def take_split(sources: Batch[Source], splits: Mapping[str, str]) -> Batch[Source]:
    """Sets the split of each image from a dictionary by file name."""
    return Batch(source._replace(row=source.row._replace(split=splits[source.row.filename])) for source in sources)


def keep_together(sources: Batch[Source], options: ConvertOptions, groups: Mapping[str, str]) -> Batch[Source]:
    """Sets the split of each image from its group.

    Args:
        sources: of a batch.
        options: of the conversion, with the fractions of the splits.
        groups: from the name of a group to the name of the first group that is joined with it. Groups that are not
            joined with others are left out.
    """
    split_of = assignment.splitter(options.splits)

    def in_group(row: Row) -> Row:
        group = groups.get(row.group, row.group)
        return row._replace(group=group, split=split_of(group))

    return Batch(source._replace(row=in_group(source.row)) for source in sources)


def assign(
    sources: Batch[Source], num_shards: Mapping[str, int]
) -> Iterable[tuple[tuple[str, int, int], Batch[Source]]]:
    """Returns the images of each shard, by (split, shard, number of shards).

    Args:
        sources: of a batch.
        num_shards: of each split.
    """

    def shard(source: Source) -> tuple[str, int, int]:
        number = num_shards[source.row.split]
        return source.row.split, assignment.shard(assignment.position(source.row.filename), number), number

    return _grouped(sources, shard).items()


def _grouped(items: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, Batch[_T]]:
    """Returns the items of each key, in the order in which they were given."""
    groups: defaultdict[_K, Batch[_T]] = defaultdict(Batch)
    for item in items:
        groups[key(item)].append(item)
    return groups
