"""Decides which examples an epoch reads, and in which order: the records of shards, or the numbers of cached examples.

Records are shuffled while they are small, before they are decoded: as many at a time as a bound in bytes allows, from
shards that are shuffled as well. Cached examples are shuffled by their numbers, all together.
"""

import math
import posixpath
from collections.abc import Sequence

import tensorflow as tf

from multihot import machine
from trainer import buffers
from trainer.config import TrainConfig
from trainer.sources import Source, Sources

# Bytes of a shuffle buffer: of encoded records, which are in a random order on disk already, or of cached examples, if
# they are shuffled instead of their numbers.
SHUFFLE_BYTES = 1 << 28


def shuffled_record_bytes(config: TrainConfig, sources: Sources) -> int:
    """Returns the approximate bytes of the shuffle buffer for encoded records."""
    split = sources.split(config.train_split)
    num_bytes = max(1, sum(shard.num_bytes for shard in split.shards))
    shuffled = min(SHUFFLE_BYTES, num_bytes)
    return shuffled + buffers.SHUFFLE_ELEMENT_BYTES * math.ceil(split.num_examples * shuffled / num_bytes)


def shuffles_examples(config: TrainConfig, num_bytes: int) -> bool:
    """Returns whether cached examples are shuffled, instead of their numbers.

    Shuffling examples needs no `map`. Each function of a pipeline takes two milliseconds at the start of each epoch,
    when TensorFlow optimizes it again (scripts/bench_input, `ours, whole epochs`). But the shuffle copies all examples;
    for a larger dataset, two milliseconds are a smaller part of an epoch.

    Args:
        config: of the run.
        num_bytes: of the cached inputs of the training split.
    """
    return config.augment == "none" and not config.data_weights and num_bytes <= SHUFFLE_BYTES


def records(source: Source, split: str, *, keep: bool = False, seed: int | tf.Tensor | None = None) -> tf.data.Dataset:
    """Returns the serialized examples of a split of a dataset; with a seed, shards are in a new order in each epoch."""
    info = source.info.split(split)
    shards = tf.data.Dataset.from_tensor_slices([posixpath.join(source.directory, shard.path) for shard in info.shards])
    if seed is not None:
        shards = shards.shuffle(len(info.shards), seed=seed)
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


def shuffled_records(config: TrainConfig, source: Source, num_sources: int, keep: bool) -> tf.data.Dataset:
    """Returns the records of a training split, in a new order for each epoch; for ever, if sources have weights."""
    split = source.info.split(config.train_split)
    mean_bytes = max(1, sum(shard.num_bytes for shard in split.shards) // split.num_examples)
    # One more than there are examples: `cache` keeps records only when their end has been read, and an epoch of a
    # single example would end before.
    buffer_size = split.num_examples + 1
    shuffle_shards = False
    if not keep and SHUFFLE_BYTES // num_sources // mean_bytes < split.num_examples:
        buffer_size, shuffle_shards = max(1, SHUFFLE_BYTES // num_sources // mean_bytes), True
    kept = records(source, split.name, keep=True) if keep else None

    def shuffled(seed: int | tf.Tensor) -> tf.data.Dataset:
        # If all records are shuffled together, shards are read in a fixed order, and epochs equal those from a cache.
        examples = kept if kept is not None else records(source, split.name, seed=seed if shuffle_shards else None)
        return examples.shuffle(buffer_size, seed=seed)

    if not config.data_weights:
        return shuffled(config.seed)
    # A new seed for each epoch: otherwise the order of an epoch would depend on how far the last one was read ahead.
    seeds = tf.data.Dataset.random(seed=config.seed, rerandomize_each_iteration=True).take(1)

    def passes(seed: tf.Tensor) -> tf.data.Dataset:
        # The global seed of this graph: if it is 0, TensorFlow compares our seed with 0, which has no value in a graph.
        tf.random.set_seed(1)
        return shuffled(seed).repeat()

    return seeds.flat_map(passes)


def shuffled_indices(sizes: Sequence[int], weights: Sequence[float], seed: int) -> tf.data.Dataset:
    """Returns the numbers of all cached examples, in a new order for each epoch.

    Args:
        sizes: number of the examples of each dataset.
        weights: of each dataset, if they have weights; numbers are then returned for ever.
        seed: of the order.
    """
    if not weights:
        return tf.data.Dataset.range(sum(sizes)).shuffle(sum(sizes), seed=seed)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    parts = [
        tf.data.Dataset.range(end - size, end).shuffle(size, seed=seed).repeat()
        for end, size in zip(ends, sizes, strict=True)
    ]
    return mix(parts, weights, seed)


def mix(datasets: Sequence[tf.data.Dataset], weights: Sequence[float], seed: int) -> tf.data.Dataset:
    """Returns the examples of all datasets, mixed in these proportions."""
    return tf.data.Dataset.sample_from_datasets(
        datasets, [float(weight) for weight in weights], seed=seed, rerandomize_each_iteration=True
    )
