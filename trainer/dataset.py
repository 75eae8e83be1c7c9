"""The input pipeline: shards -> batches, in the graph only.

    shards -> interleave -> shuffle -> batch -> decode, crop ----------\
                                                                         -> change colours, mix -> prefetch
    cached: indices ------> shuffle -> batch -> gather, crop ----------/

Without a cache records are shuffled before they are decoded, while they are small. With one (caching.py) all images of
a split lie in one tensor, so that what is shuffled are numbers, exactly, whatever the size of the dataset; or, where
they are few and nothing is to be done with them, the images themselves. Either way whole batches go through each step
together, about half a megabyte of images. Evaluation has every example once, always in the same order: an example of
each open shard in turn.

Several datasets are mixed, each example once; with weights each is shuffled and repeated on its own. Evaluation has
them one after the other.
"""

import functools
import math
import posixpath
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from schemas import machine
from schemas.statistics import JPEG
from trainer import augment
from trainer.augment import Crops
from trainer.config import TrainConfig
from trainer.decoding import Decoder
from trainer.sources import Source, Sources

# Files open at a time: so many that one slow file does not hold up the rest.
_OPEN_SHARDS = 8
_PREFETCH_BATCHES = 4
# Bytes of images that go through a step together, about, in whole batches: what surrounds the work on them is done once
# for all. At 32 pixels, 192 images or more together took 3 to 6 % less than 32 (scripts/bench_input, row `ours`). But
# at the end of an epoch a core idles while the last ones are decoded: with 320 together, an epoch of 1608 images took
# 14 % longer than with 192.
_CHUNK_BYTES = 1 << 19
# What crops are cut from is larger than what comes out, so that they do not have to be enlarged as much.
_CROP_MARGIN = 1.125
# Of encoded records, which are in a random order on disk already; and of cached images that are shuffled themselves.
_SHUFFLE_BYTES = 1 << 28

_Load = Callable[[tf.Tensor, Crops | None], tuple[tf.Tensor, tf.Tensor]]


class Cached(NamedTuple):
    """A split that has been read, decoded and resized, in the order of evaluation.

    Attributes:
        inputs: images uint8 [n, size, size, 3] (see `cached_size`), or features float32 [n, d].
        labels: float32 [n, k].
    """

    inputs: tf.Tensor
    labels: tf.Tensor


def training_dataset(
    config: TrainConfig, sources: Sources, cached: Cached | None = None, *, keep_encoded: bool = False
) -> tf.data.Dataset:
    """Returns the batches of one epoch after the other, each freshly shuffled and augmented.

    An epoch has as many examples as there are. With weights an example comes from each dataset with that probability,
    and none of a dataset comes again before all of it have been seen, or the epoch ends.

    Args:
        config: of the run.
        sources: its datasets.
        cached: their training splits, one after the other; by default shards are read and decoded in every epoch.
        keep_encoded: whether records stay in memory, as they are, when they have been read once.

    Returns:
        inputs and labels float32 [batch, k]. Inputs are images uint8 [batch, size, size, 3], float32 with
            `augment="full"`; or cached features.
    """
    sizes = [source.info.split(config.train_split).num_examples for source in sources.each]
    if cached and config.augment == "none" and not config.data_weights and _num_bytes(cached.inputs) <= _SHUFFLE_BYTES:
        # Themselves instead of their numbers: this needs no function, and each that a pipeline has takes two
        # milliseconds at the start of each epoch, while TensorFlow optimizes it anew (scripts/bench_input, `ours, whole
        # epochs`). The shuffle holds copies of all: of what is larger, the start of an epoch is a smaller part.
        dataset = tf.data.Dataset.from_tensor_slices(tuple(cached))
        dataset = dataset.shuffle(sum(sizes), seed=config.seed).batch(_chunk(config))
    elif cached:
        dataset = _loaded(_shuffled_indices(config, sizes), functools.partial(_gather, cached, config), config)
    else:
        parts = [
            _loaded(
                _shuffled_records(config, source, len(sizes), keep_encoded),
                _decoder(config, source, config.train_split, config.image_size),
                config,
            )
            for source in sources.each
        ]
        dataset = parts[0]
        if len(parts) > 1:
            dataset = _mix([part.unbatch() for part in parts], config.data_weights or sizes, config.seed)
            dataset = dataset.take(sum(sizes)).batch(_chunk(config))
    if config.augment == "full":
        dataset = _with_seeds(dataset, config.seed + 1).map(
            lambda batch, seed: augment.change(batch[0], batch[1], seed), num_parallel_calls=machine.usable_cores()
        )
    return _finished(dataset, config, sum(sizes))


def evaluation_dataset(
    config: TrainConfig, sources: Sources, split: str, cached: Cached | None = None, *, keep_encoded: bool = False
) -> tf.data.Dataset:
    """Returns the batches of a split: every example once, always in the same order.

    Args:
        config: of the run.
        sources: its datasets.
        split: name of the split.
        cached: the splits of this name, one after the other; by default shards are read and decoded in every epoch.
        keep_encoded: whether records stay in memory, as they are, when they have been read once.

    Returns:
        images uint8 [batch, size, size, 3] or cached features; labels float32 [batch, k].
    """
    num_examples = sum(source.info.split(split).num_examples for source in sources.each)
    if cached:
        chunks = tf.data.Dataset.from_tensor_slices(tuple(cached)).batch(_chunk(config))
    else:
        chunks = decoded(config, sources, split, config.image_size, keep_encoded=keep_encoded)
    return _finished(chunks, config, num_examples)


def decoded(
    config: TrainConfig, sources: Sources, split: str, size: int, *, keep_encoded: bool = False
) -> tf.data.Dataset:
    """Returns all examples of a split, in the order of evaluation, some at a time.

    Args:
        config: of the run.
        sources: its datasets.
        split: name of the split.
        size: of the images, pixels.
        keep_encoded: whether records stay in memory, as they are, when they have been read once.

    Returns:
        images uint8 [chunk, size, size, 3] and labels float32 [chunk, k].
    """
    parts = [
        _records(source, split, keep=keep_encoded)
        .batch(_chunk(config))
        .map(_decoder(config, source, split, size), num_parallel_calls=machine.usable_cores())
        for source in sources.each
    ]
    return functools.reduce(tf.data.Dataset.concatenate, parts).with_options(_options())


def cached_size(config: TrainConfig) -> int:
    """Returns the height and width of cached training images, pixels."""
    return round(config.image_size * _CROP_MARGIN) if config.crops else config.image_size


def _records(source: Source, split: str, *, keep: bool = False, seed: int | tf.Tensor | None = None) -> tf.data.Dataset:
    """Returns the serialized examples of a split of a dataset; with a seed, shards are in a new order in each epoch."""
    info = source.info.split(split)
    shards = tf.data.Dataset.from_tensor_slices([posixpath.join(source.directory, shard.path) for shard in info.shards])
    if seed is not None:
        shards = shards.shuffle(len(info.shards), seed=seed)
    records = shards.interleave(
        tf.data.TFRecordDataset,
        cycle_length=_OPEN_SHARDS,
        # More calls than open files are an error.
        num_parallel_calls=min(_OPEN_SHARDS, machine.usable_cores()),
        deterministic=True,
    )
    # Known from the manifest: shards that do not hold what it says are an error. Of examples and not of batches, which
    # would hide a few too many or few.
    records = records.apply(tf.data.experimental.assert_cardinality(info.num_examples))
    return records.cache() if keep else records


def _shuffled_records(config: TrainConfig, source: Source, num_sources: int, keep: bool) -> tf.data.Dataset:
    """Returns the records of a training split, in a new order for each epoch; for ever, if sources have weights."""
    split = source.info.split(config.train_split)
    mean_bytes = max(1, sum(shard.num_bytes for shard in split.shards) // split.num_examples)
    room = split.num_examples if keep else max(1, _SHUFFLE_BYTES // num_sources // mean_bytes)
    kept = _records(source, split.name, keep=True) if keep else None

    def shuffled(seed: int | tf.Tensor) -> tf.data.Dataset:
        records = kept if kept is not None else _records(source, split.name, seed=seed)
        return records.shuffle(min(room, split.num_examples), seed=seed)

    if not config.data_weights:
        return shuffled(config.seed)
    # Seeded anew for each epoch: how far it has been read ahead when one ends would decide on the order of the next.
    seeds = tf.data.Dataset.random(seed=config.seed, rerandomize_each_iteration=True).take(1)

    def passes(seed: tf.Tensor) -> tf.data.Dataset:
        # Of this graph alone: with a global seed of 0, TensorFlow would compare ours with 0, and it has no value yet.
        tf.random.set_seed(1)
        return shuffled(seed).repeat()

    return seeds.flat_map(passes)


def _shuffled_indices(config: TrainConfig, sizes: Sequence[int]) -> tf.data.Dataset:
    """Returns the numbers of all cached examples, in a new order for each epoch."""
    if not config.data_weights:
        return tf.data.Dataset.range(sum(sizes)).shuffle(sum(sizes), seed=config.seed)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    parts = [
        tf.data.Dataset.range(end - size, end).shuffle(size, seed=config.seed).repeat()
        for end, size in zip(ends, sizes, strict=True)
    ]
    return _mix(parts, config.data_weights, config.seed).take(sum(sizes))


def _mix(datasets: Sequence[tf.data.Dataset], weights: Sequence[float], seed: int) -> tf.data.Dataset:
    """Returns the examples of all datasets, mixed in these proportions."""
    return tf.data.Dataset.sample_from_datasets(
        datasets, [float(weight) for weight in weights], seed=seed, rerandomize_each_iteration=True
    )


def _loaded(items: tf.data.Dataset, load: _Load, config: TrainConfig) -> tf.data.Dataset:
    """Returns the images and labels of items, many at a time; with crops where there is augmentation."""
    chunks = items.batch(_chunk(config))
    if config.augment == "none":
        return chunks.map(lambda items: load(items, None), num_parallel_calls=machine.usable_cores())
    return _with_seeds(chunks, config.seed).map(
        lambda items, seed: load(items, augment.random_crops(tf.size(items), seed, crop=config.crops)),
        num_parallel_calls=machine.usable_cores(),
    )


def _gather(
    cached: Cached, config: TrainConfig, indices: tf.Tensor, crops: Crops | None
) -> tuple[tf.Tensor, tf.Tensor]:
    if not crops:
        inputs = tf.gather(cached.inputs, indices)
    elif config.crops:
        inputs = augment.cut(cached.inputs, indices, crops, config.image_size)
    else:
        inputs = augment.flip(cached.inputs, indices, crops.mirrored)
    return inputs, tf.gather(cached.labels, indices)


def _num_bytes(tensor: tf.Tensor) -> int:
    return int(tensor.dtype.size * math.prod(tensor.shape))


def _decoder(config: TrainConfig, source: Source, split: str, size: int) -> Decoder:
    return Decoder(
        num_classes=len(source.info.classes),
        labels=source.labels,
        all_jpeg=set(source.info.split(split).statistics.formats) == {JPEG},
        size=size,
        exact=config.decode == "exact",
    )


def _with_seeds(dataset: tf.data.Dataset, seed: int) -> tf.data.Dataset:
    """Returns pairs of an element and a seed for its random operations, int64 [2], another one in every epoch."""
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip(dataset, seeds)


def _finished(dataset: tf.data.Dataset, config: TrainConfig, num_examples: int) -> tf.data.Dataset:
    """Adds what every pipeline ends with."""
    if _chunk(config) != config.batch_size:
        dataset = dataset.rebatch(config.batch_size)
    # So that Keras shows the number of steps from the first epoch on.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-num_examples // config.batch_size)))
    return dataset.prefetch(_PREFETCH_BATCHES).with_options(_options())


def _options() -> tf.data.Options:
    options = tf.data.Options()
    # The autotuner ends an epoch on a tick of its own clock, up to seconds late; parallelism is set by hand instead.
    options.autotune.enabled = False
    return options


def _chunk(config: TrainConfig) -> int:
    """Returns how many examples go through a step at a time: whole batches."""
    batch_bytes = 3 * config.batch_size * config.image_size**2
    return config.batch_size * max(1, _CHUNK_BYTES // batch_bytes)
