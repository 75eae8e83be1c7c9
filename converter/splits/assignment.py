"""Assigns an image to a split, a shard and a position: a pure function of its file name.

    blake2b(file name) = 128 bits
        first 64 bits   -> split     (which fraction of the range they fall into)
        last 64 bits    -> position  (the order of the whole split; a shard is a range of positions)

With a group column or groups of near duplicates, the name of the group takes the place of the file name for the split.
(Stratified splits are the one exception: see stratify.py.)

Nothing else matters: neither the order of the rows, nor their number, nor the workers. So adding rows never moves an
image to another split, the order is as good as shuffled, and every runner writes the same bytes.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

_RANGE = 1 << 64

# Smallest number of shards of a split, so that several can be read and written at a time...
READ_PARALLELISM = 8
# ...unless a shard would have fewer images than this: opening a file would take longer than reading them.
MIN_SHARD_EXAMPLES = 128


def _bits(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def position(filename: str) -> int:
    """Returns the position of an image in its split: uniform in [0, 2**64), independent of the split."""
    return int.from_bytes(_bits(filename)[8:])


def split(group: str, splits: Sequence[tuple[str, Fraction]]) -> str:
    """Returns the name of the split of an image. For many images, `splitter` is faster."""
    return splitter(splits)(group)


def splitter(splits: Sequence[tuple[str, Fraction]]) -> Callable[[str], str]:
    """Returns the function from the name of a group to the name of its split.

    The group of an image without a group is its file name. Splits depend on group names only.

    Args:
        splits: names with their fractions, which sum to 1. Membership depends on their order.
    """
    # The end of the range of each split. Fractions, since the sum of floats would not be exactly the whole range.
    ends = itertools.accumulate(fraction for _, fraction in splits)
    bounds = [(name, math.ceil(end * _RANGE)) for (name, _), end in zip(splits, ends, strict=True)]

    def split_of(group: str) -> str:
        point = int.from_bytes(_bits(group)[:8])
        for name, bound in bounds:
            if point < bound:
                return name
        raise ValueError(f"Fractions of splits must sum to 1. Received: {splits}")

    return split_of


def shard(position: int, num_shards: int) -> int:
    """Returns the shard of an image: the positions are cut into `num_shards` equal ranges."""
    return position * num_shards >> 64


def num_shards(*, num_examples: int, num_bytes: int, shard_bytes: int) -> int:
    """Returns the number of shards to cut a split into.

    Shards have about `shard_bytes`. If that makes fewer than READ_PARALLELISM shards, there are up to that number, of
    at least about MIN_SHARD_EXAMPLES each.
    """
    by_bytes = math.ceil(num_bytes / shard_bytes)
    for_parallel_reading = min(READ_PARALLELISM, num_examples // MIN_SHARD_EXAMPLES)
    return max(1, by_bytes, for_parallel_reading)
