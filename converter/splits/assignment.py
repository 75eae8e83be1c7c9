"""Assigns an image to a split, a shard and a position: a pure function of its file name.

    blake2b(file name) = 128 bits
        first 64 bits   -> split     (which fraction of the range they fall into)
        last 64 bits    -> position  (the order of the whole split; a shard is a range of positions)

With a group column or groups of near duplicates, the name of the group takes the place of the file name for the split.
(Stratified splits are the one exception: see stratify.py.)

Nothing else is looked at: not the order of the rows, not their number, not the workers. So adding rows never moves an
image to another split, order is as good as shuffled, and every runner writes the same bytes.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

_RANGE = 1 << 64

# At least this many shards, so that several can be read and written at a time...
READ_PARALLELISM = 8
# ...but never so many that a shard holds just a few images: opening a file costs more than reading them.
MIN_SHARD_EXAMPLES = 128


def _bits(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def position(filename: str) -> int:
    """Returns the place of an image in its split: uniform in [0, 2**64), independent of the split."""
    return int.from_bytes(_bits(filename)[8:])


def split(group: str, splits: Sequence[tuple[str, Fraction]]) -> str:
    """Returns the name of the split of an image: see `splitter`, which is for many images."""
    return splitter(splits)(group)


def splitter(splits: Sequence[tuple[str, Fraction]]) -> Callable[[str], str]:
    """Returns the function to the name of the split of an image.

    It takes what the split hangs on: the file name, as it is stored in the dataset, or the group of images.

    Args:
        splits: names with their fractions, which sum to 1. Membership depends on their order.
    """
    # Where each ends. Exact: as floats, fractions would not quite sum to the whole range.
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
    """Returns how many shards to cut a split into.

    As many as make shards of about `shard_bytes`; more when that is too few to read in parallel, as long as each
    shard keeps MIN_SHARD_EXAMPLES or so.
    """
    by_bytes = math.ceil(num_bytes / shard_bytes)
    for_parallel_reading = min(READ_PARALLELISM, num_examples // MIN_SHARD_EXAMPLES)
    return max(1, by_bytes, for_parallel_reading)
