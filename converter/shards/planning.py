"""Assigns the images of a batch to their splits and shards."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from converter.options import ConvertOptions
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.splits import assignment
from converter.table.row import Row
from schemas.example import UNKNOWN

_T = TypeVar("_T")
_K = TypeVar("_K")

# The key of a shard: its split, its number in the split, the number of shards planned for the split, and whether any
# image of the dataset has an unknown label, so that all records have `labels/known`. (A plain tuple: Beam would encode
# a named one field by field.)
Shard = tuple[str, int, int, bool]


def sizes(sources: Batch[Source]) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yields for each split the number of its images, the sum of their bytes, and how many have an unknown label."""
    for split, some in grouped(sources, lambda source: source.row.split).items():
        num_unknown = sum(UNKNOWN in source.row.labels for source in some)
        yield split, (len(some), sum(source.file.size for source in some), num_unknown)


def take_split(sources: Iterable[Source], splits: Mapping[str, str]) -> Batch[Source]:
    """Sets the split of each image from a dictionary by the name of its group."""
    return Batch(source._replace(row=source.row._replace(split=splits[source.row.group])) for source in sources)


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


def assign(sources: Batch[Source], plans: Mapping[str, tuple[int, bool]]) -> Iterable[tuple[Shard, Batch[Source]]]:
    """Returns the images of each shard.

    Args:
        sources: of a batch.
        plans: for each split the number of its shards, and whether any of its images has an unknown label.
    """
    has_unknown = any(has for _, has in plans.values())

    def shard(source: Source) -> Shard:
        number, _ = plans[source.row.split]
        index = assignment.shard(assignment.position(source.row.filename), number)
        return source.row.split, index, number, has_unknown

    return grouped(sources, shard).items()


def grouped(items: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, Batch[_T]]:
    """Returns the items of each key, in the order in which they were given."""
    groups: defaultdict[_K, Batch[_T]] = defaultdict(Batch)
    for item in items:
        groups[key(item)].append(item)
    return groups
