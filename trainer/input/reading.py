"""Decides which examples an epoch reads, and in which order: a function of the seed and the epoch alone.

Examples that are cached, and records that take up to 256 MB or are kept, are read by their numbers, and the order of an
epoch is one tensor of numbers. Other records are shuffled while they are read: as many at a time as a bound in bytes
allows, from shards that are shuffled as well.
"""

import math
import os
from collections.abc import Sequence

import tensorflow as tf

from multihot import machine, storage
from trainer.config import TrainConfig
from trainer.input import buffers, fetching
from trainer.sources import Source, Sources

# Bytes of encoded records, which are in a random order on disk already, that are held to be shuffled.
SHUFFLE_BYTES = 1 << 28
# Bytes that an order takes for each example: of a random number and of its index while they are sorted, and of the
# result.
ORDER_BYTES = 32


def shuffled_record_bytes(config: TrainConfig, sources: Sources) -> int:
    """Returns the approximate bytes of the records that are held to be shuffled."""
    split = sources.split(config.train_split)
    num_bytes = max(1, sum(shard.num_bytes for shard in split.shards))
    shuffled = min(SHUFFLE_BYTES, num_bytes)
    return shuffled + buffers.SHUFFLE_ELEMENT_BYTES * math.ceil(split.num_examples * shuffled / num_bytes)


def fits(config: TrainConfig, sources: Sources) -> bool:
    """Returns whether all records of the training split are held together, to be read by their numbers."""
    return sum(shard.num_bytes for shard in sources.split(config.train_split).shards) <= SHUFFLE_BYTES


def shuffles_features(config: TrainConfig, num_bytes: int) -> bool:
    """Returns whether cached features are shuffled themselves, instead of being read by their numbers.

    TensorFlow optimizes each function of a pipeline again at the start of an epoch. Reading the features of 1608
    images, 1280 of each, in batches of 32 took 14 to 17 ms of CPU time, and 29 ms by their numbers. But the shuffle
    copies all features; for a larger dataset, the start is a smaller part of an epoch.

    Args:
        config: of the run.
        num_bytes: of the features of the training split.
    """
    return not config.data_weights and num_bytes <= SHUFFLE_BYTES


def order(sizes: Sequence[int], weights: Sequence[float], num: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns the numbers of the examples of an epoch, in their order: int64 [num].

    Args:
        sizes: number of the examples of each dataset; the examples of all are numbered one dataset after the other.
        weights: of each dataset, if they have weights. Each example then comes from one of them with that probability,
            and no example of a dataset is repeated before all of its examples have been read.
        num: of the examples of the epoch; without weights, no more than there are.
        seed: int64 [2].
    """
    if not weights:
        return _shuffles(sum(sizes), num, seed)
    choice, *seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 1 + len(sizes)))
    ends = tf.cumsum(tf.constant(weights, tf.float64))
    drawn = tf.random.stateless_uniform([num], choice, dtype=tf.float64) * ends[-1]
    chosen = tf.searchsorted(ends[:-1], drawn, side="right")
    places = tf.dynamic_partition(tf.range(num), chosen, len(sizes))
    first = [sum(sizes[:i]) for i in range(len(sizes))]
    numbers = [
        start + _shuffles(size, tf.size(some), one)
        for start, size, some, one in zip(first, sizes, places, seeds, strict=True)
    ]
    return tf.dynamic_stitch(places, numbers)


def _shuffles(size: int, num: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns `num` numbers less than `size`, int64: all of them in a random order, and in other orders after that."""
    times = -(-num // size)
    keys = tf.random.stateless_uniform([times, size], seed, minval=None, maxval=None, dtype=tf.int32)
    return tf.cast(tf.reshape(tf.argsort(keys), [-1])[:num], tf.int64)


def records(source: Source, split: str, *, keep: bool = False, seed: tf.Tensor | None = None) -> tf.data.Dataset:
    """Returns the serialized examples of a split of a dataset; with a seed, its shards are in a random order."""
    info = source.info.split(split)
    shards = tf.data.Dataset.from_tensor_slices([shard.path for shard in info.shards])
    if seed is not None:
        shards = shards.shuffle(len(info.shards), seed=seed)
    if storage.is_local(source.directory):
        # A data service has another current folder.
        folder = os.path.abspath(source.directory)
        shards = shards.map(lambda path: tf.strings.join([folder, path], "/"))
    else:
        shards = fetching.paths(source.directory, shards, {shard.path: shard for shard in info.shards}, source.cache)
    examples = shards.interleave(
        tf.data.TFRecordDataset,
        cycle_length=buffers.OPEN_SHARDS,
        # TensorFlow refuses more calls than open files.
        num_parallel_calls=min(buffers.OPEN_SHARDS, machine.usable_cores()),
        deterministic=True,
    )
    # Shards that do not hold the number of examples in the manifest are an error. Examples are counted, since a count
    # of batches would not show a few missing examples.
    examples = examples.apply(tf.data.experimental.assert_cardinality(info.num_examples))
    return examples.cache() if keep else examples


def all_records(source: Source, split: str, *, keep: bool) -> tf.data.Dataset:
    """Returns all serialized examples of a split as one element, string [n], which stays in memory if asked for."""
    num_examples = source.info.split(split).num_examples
    # One more than there are examples: the end must have been read, so that too many of them are an error.
    everything = records(source, split).batch(num_examples + 1)
    # `cache` keeps an element only when the end after it has been read, as `shuffle` does.
    return everything.cache().shuffle(2) if keep else everything


def shuffled_records(
    sources: Sequence[Source], split: str, weights: Sequence[float], seed: tf.Tensor
) -> tf.data.Dataset:
    """Returns records in the order of an epoch, each with the number of its dataset.

    Args:
        sources: the datasets that have the split.
        split: its name.
        weights: of each dataset, if they have weights, as in `order`; records are then returned for ever.
        seed: int64 [2].
    """
    # The global seed of this graph: if it is 0, TensorFlow compares our seed with 0, which has no value in a graph.
    tf.random.set_seed(1)
    seeds = tf.random.stateless_uniform([len(sources) + 1], seed, minval=None, maxval=None, dtype=tf.int64)
    parts = []
    sizes = [source.split(split).num_examples for source in sources]
    for i, (source, size) in enumerate(zip(sources, sizes, strict=True)):
        mean_bytes = max(1, sum(shard.num_bytes for shard in source.split(split).shards) // size)
        held = max(1, min(size, SHUFFLE_BYTES // len(sources) // mean_bytes))
        part = records(source, split, seed=seeds[i]).shuffle(held, seed=seeds[i])
        if weights:
            part = part.repeat()
        parts.append(tf.data.Dataset.zip(part, tf.data.Dataset.from_tensors(i).repeat()))
    if len(parts) == 1:
        return parts[0]
    return tf.data.Dataset.sample_from_datasets(parts, [float(one) for one in weights or sizes], seed=seeds[-1])
