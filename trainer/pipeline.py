"""Builds the input pipeline, from shards to batches, in the graph only.

    shards -> interleave -> shuffle -> batch -> decode, crop ----------\
                                                                         -> change colours, mix -> prefetch
    cached: indices ------> shuffle -> batch -> gather, crop ----------/

Without a cache, records are shuffled before they are decoded, while they are small (reading.py). With a cache
(caching.py), all images of a split lie in one tensor, and their numbers are shuffled, all together, whatever the size
of the dataset. A small cache that is not augmented is shuffled itself. Either way about half a megabyte of images goes
through each step together (buffers.py). Crops are cut from the same pixels with a cache and without one. Evaluation has
every example once, always in the same order: an example of each open shard in turn.

Several datasets are mixed, each example once; with weights each is shuffled and repeated on its own. Evaluation has
them one after the other.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from schemas.statistics import JPEG
from trainer import buffers, colour, cropping, reading
from trainer.buffers import Buffers
from trainer.config import TrainConfig
from trainer.cropping import Crops
from trainer.decoding import Decoder
from trainer.sources import Source, Sources

# Crops are cut from images that are larger than the result by this factor, so that crops are enlarged less.
_CROP_MARGIN = 1.125

_Load = Callable[[tf.Tensor, Crops | None], tuple[tf.Tensor, tf.Tensor]]


class CachedSplit(NamedTuple):
    """A split that has been read, decoded and resized, in the order of evaluation.

    Attributes:
        inputs: images uint8 [n, size, size, 3] (see `cached_image_size`), or features float32 [n, d].
        labels: float32 [n, k], 0, 1 or example.UNKNOWN.
    """

    inputs: tf.Tensor
    labels: tf.Tensor


def training_batch_size(config: TrainConfig, sources: Sources) -> int:
    """Returns the examples of every training batch: `batch_size`, or all examples of a split that has fewer."""
    return min(config.batch_size, _num_training_examples(config, sources))


def steps_per_epoch(config: TrainConfig, sources: Sources) -> int:
    """Returns the number of training batches in an epoch, at least 1.

    All have one size: a smaller last batch would change the statistics of batch normalization right before the
    validation, and XLA would compile the step again for its size. Examples that do not fill a batch are left out; each
    epoch leaves out other ones.
    """
    return _num_training_examples(config, sources) // training_batch_size(config, sources)


def _num_training_examples(config: TrainConfig, sources: Sources) -> int:
    return sum(source.split(config.train_split).num_examples for source in sources.each)


def training_dataset(
    config: TrainConfig, sources: Sources, cached: CachedSplit | None = None, *, keep_encoded: bool = False
) -> tf.data.Dataset:
    """Returns the batches of an epoch, shuffled and augmented anew each time it is iterated.

    An epoch has all examples but those that do not fill a batch (see `steps_per_epoch`). With weights, each example
    comes from one of the datasets with that probability, and no example of a dataset is repeated before all of its
    examples have been read, or the epoch ends.

    Args:
        config: of the run.
        sources: its datasets.
        cached: their training splits, one after the other; by default shards are read and decoded in every epoch.
        keep_encoded: whether records stay in memory, as they are, when they have been read once.

    Returns:
        inputs and labels float32 [batch, k], the batch a static dimension. Inputs are images uint8 [batch, size, size,
            3], float32 with `augment="full"`; or cached features.
    """
    trained_on = sources.having(config.train_split)
    sizes = [source.split(config.train_split).num_examples for source in trained_on]
    weights = [
        weight for source, weight in zip(sources.each, config.data_weights, strict=False) if source in trained_on
    ]
    planned, batch = _buffers_for(config, sources, cached), training_batch_size(config, sources)
    epoch_examples = steps_per_epoch(config, sources) * batch
    # With such chunks, drop_remainder drops nothing; it makes the batch size static.
    chunks_are_batches = planned.chunk_size == batch
    if cached and reading.shuffles_examples(config, _num_bytes(cached.inputs)):
        dataset = tf.data.Dataset.from_tensor_slices(tuple(cached)).shuffle(sum(sizes), seed=config.seed)
        dataset = dataset.take(epoch_examples).batch(planned.chunk_size, drop_remainder=chunks_are_batches)
    elif cached:
        indices = (
            reading.shuffled_indices(sizes, weights, config.seed)
            .take(epoch_examples)
            .batch(planned.chunk_size, drop_remainder=chunks_are_batches)
        )
        dataset = _load_chunks(indices, functools.partial(_gather, cached, config), config, planned)
    else:
        parts = [
            _load_chunks(
                reading.shuffled_records(config, source, len(sizes), keep_encoded)
                .take(epoch_examples)
                .batch(planned.chunk_size, drop_remainder=chunks_are_batches and len(sizes) == 1),
                _loader(config, source),
                config,
                planned,
            )
            for source in trained_on
        ]
        dataset = parts[0]
        if len(parts) > 1:
            dataset = reading.mix([part.unbatch() for part in parts], weights or sizes, config.seed)
            dataset = dataset.take(epoch_examples).batch(planned.chunk_size, drop_remainder=chunks_are_batches)
    if config.augment == "full":
        dataset = _with_seeds(dataset, config.seed + 1).map(
            lambda chunk, seed: colour.jitter_and_mix(chunk[0], chunk[1], seed, has_unknown=sources.has_unknown),
            num_parallel_calls=planned.colour_calls,
        )
    if not chunks_are_batches:
        dataset = dataset.rebatch(batch, drop_remainder=True)
    return _finish(dataset, planned, epoch_examples // batch, cached)


def evaluation_dataset(
    config: TrainConfig, sources: Sources, split: str, cached: CachedSplit | None = None, *, keep_encoded: bool = False
) -> tf.data.Dataset:
    """Returns the batches of a split: every example once, always in the same order.

    Args:
        config: of the run.
        sources: its datasets.
        split: name of the split.
        cached: the splits of this name, one after the other; by default shards are read and decoded in every epoch.
        keep_encoded: whether records stay in memory, as they are, when they have been read once.

    Returns:
        images uint8 [batch, size, size, 3] or cached features; labels float32 [batch, k]. The last batch has what
            remains.
    """
    num_examples = sum(source.split(split).num_examples for source in sources.each)
    planned = _buffers_for(config, sources, cached)
    if cached:
        chunks = tf.data.Dataset.from_tensor_slices(tuple(cached)).batch(planned.chunk_size)
    else:
        chunks = decoded_chunks(config, sources, split, config.image_size, keep_encoded=keep_encoded)
    if planned.chunk_size != config.batch_size:
        chunks = chunks.rebatch(config.batch_size)
    return _finish(chunks, planned, -(-num_examples // config.batch_size), cached)


def decoded_chunks(
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
    planned = buffers.plan(config, sources, decodes=True, size=size)
    parts = [
        reading.records(source, split, keep=keep_encoded)
        .batch(planned.chunk_size)
        .map(_decoder(config, source, split, size), num_parallel_calls=planned.load_calls)
        for source in sources.having(split)
    ]
    return functools.reduce(tf.data.Dataset.concatenate, parts).with_options(_options())


def cached_image_size(config: TrainConfig) -> int:
    """Returns the height and width of cached training images, pixels; of those that crops are cut from, if any are."""
    return round(config.image_size * _CROP_MARGIN) if config.crops else config.image_size


def plan_buffers(config: TrainConfig, sources: Sources, *, decodes: bool, num_features: int | None = None) -> Buffers:
    """Returns the buffers of a training. Those of a validation are no larger.

    Args:
        config: of the run.
        sources: its datasets.
        decodes: whether records are decoded; otherwise examples come from a cache.
        num_features: of an example, if they are cached instead of images.
    """
    cut_from = 0 if config.augment == "none" or config.crops_originals or not decodes else cached_image_size(config)
    return buffers.plan(
        config, sources, decodes=decodes, size=config.image_size, cut_from=cut_from, num_features=num_features
    )


def _buffers_for(config: TrainConfig, sources: Sources, cached: CachedSplit | None) -> Buffers:
    num_features = int(cached.inputs.shape[1]) if cached and len(cached.inputs.shape) == 2 else None
    return plan_buffers(config, sources, decodes=not cached, num_features=num_features)


def _load_chunks(chunks: tf.data.Dataset, load: _Load, config: TrainConfig, planned: Buffers) -> tf.data.Dataset:
    """Returns the images and labels of chunks of records, or of numbers of cached examples; augmented if asked for."""
    if config.augment == "none":
        return chunks.map(lambda items: load(items, None), num_parallel_calls=planned.load_calls)
    return _with_seeds(chunks, config.seed).map(
        lambda items, seed: load(items, cropping.random_crops(tf.size(items), seed, crop=config.crops)),
        num_parallel_calls=planned.load_calls,
    )


def _loader(config: TrainConfig, source: Source) -> _Load:
    """Returns the function from records to images and labels.

    Images come out as they would from a cache of decoded ones, unless crops are cut from the originals.
    """
    if config.augment == "none" or config.crops_originals:
        return _decoder(config, source, config.train_split, config.image_size)
    decoder = _decoder(config, source, config.train_split, cached_image_size(config))

    def load(records: tf.Tensor, crops: Crops | None) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = decoder(records)
        return _crop_or_flip(images, tf.range(tf.size(records)), crops, config), labels

    return load


def _gather(
    cached: CachedSplit, config: TrainConfig, indices: tf.Tensor, crops: Crops | None
) -> tuple[tf.Tensor, tf.Tensor]:
    return _crop_or_flip(cached.inputs, indices, crops, config), tf.gather(cached.labels, indices)


def _crop_or_flip(inputs: tf.Tensor, indices: tf.Tensor, crops: Crops | None, config: TrainConfig) -> tf.Tensor:
    """Returns the images (of `cached_image_size`), cropped or mirrored, or the features with these indices."""
    if not crops:
        return tf.gather(inputs, indices)
    if config.crops:
        return cropping.crop_and_resize(inputs, indices, crops, config.image_size)
    return cropping.flip(inputs, indices, crops.mirrored)


def _num_bytes(tensor: tf.Tensor) -> int:
    return int(tensor.dtype.size * math.prod(tensor.shape))


def _decoder(config: TrainConfig, source: Source, split: str, size: int) -> Decoder:
    return Decoder(
        num_classes=len(source.info.classes),
        labels=source.labels,
        all_jpeg=set(source.split(split).statistics.formats) == {JPEG},
        size=size,
        exact=config.decode == "exact",
        has_unknown=source.has_unknown,
    )


def _with_seeds(dataset: tf.data.Dataset, seed: int) -> tf.data.Dataset:
    """Returns pairs of an element and a seed for its random operations, int64 [2], which differs in every epoch."""
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip(dataset, seeds)


def _finish(
    batches: tf.data.Dataset, planned: Buffers, num_batches: int, cached: CachedSplit | None
) -> tf.data.Dataset:
    """Adds the last steps of every pipeline: the number of batches, prefetching, and options."""
    # Keras then shows the number of steps from the first epoch on.
    batches = batches.apply(tf.data.experimental.assert_cardinality(num_batches))
    return batches.prefetch(planned.prefetched_batches).with_options(_options(cached))


def _options(cached: CachedSplit | None = None) -> tf.data.Options:
    options = tf.data.Options()
    # The autotuner ends an epoch on a tick of its own clock, up to seconds late; parallelism is set by hand instead.
    options.autotune.enabled = False
    # TensorFlow copies all arrays of a pipeline when it optimizes the graph, at the start of each epoch, and a cache on
    # disk may be larger than the memory. For small arrays, copying takes less time than the optimization saves.
    if cached and copied_bytes(sum(map(_num_bytes, cached))) == 0:
        options.experimental_optimization.apply_default_optimizations = False
    return options


def copied_bytes(num_bytes: int) -> int:
    """Returns the bytes of a cached split of this size that TensorFlow copies when an epoch starts: all or none."""
    return num_bytes if num_bytes <= reading.SHUFFLE_BYTES else 0
