"""The input pipeline: shards -> batches, in the graph only.

    shards -> interleave -> shuffle -> batch -> decode, crop ----------\
                                                                         -> change colours, mix -> prefetch
    cached: indices ------> shuffle -> batch -> gather, crop ----------/

Without a cache records are shuffled before they are decoded, while they are small. With one (caching.py) all images of
a split lie in one tensor, so that what is shuffled are numbers, exactly, whatever the size of the dataset; or, where
they are few and nothing is to be done with them, the images themselves. Either way about half a megabyte of images goes
through each step together (buffers.py). Crops are cut from the same pixels with a cache and without one. Evaluation has
every example once, always in the same order: an example of each open shard in turn.

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
from trainer import buffers, colour, cropping
from trainer.buffers import Buffers
from trainer.config import TrainConfig
from trainer.cropping import Crops
from trainer.decoding import Decoder
from trainer.sources import Source, Sources

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


def shuffles_examples(config: TrainConfig, num_bytes: int) -> bool:
    """Returns whether cached examples are shuffled themselves, and not their numbers.

    This needs no function, and each that a pipeline has takes two milliseconds at the start of each epoch, while
    TensorFlow optimizes it anew (scripts/bench_input, `ours, whole epochs`). The shuffle holds copies of all: of
    what is larger, the start of an epoch is a smaller part.

    Args:
        config: of the run.
        num_bytes: of the cached inputs of the training split.
    """
    return config.augment == "none" and not config.data_weights and num_bytes <= _SHUFFLE_BYTES


def shuffled_records(config: TrainConfig, sources: Sources) -> int:
    """Returns the bytes of encoded records of the training split that are shuffled at a time, about."""
    split = sources.split(config.train_split)
    num_bytes = max(1, sum(shard.num_bytes for shard in split.shards))
    shuffled = min(_SHUFFLE_BYTES, num_bytes)
    return shuffled + buffers.ELEMENT_BYTES * math.ceil(split.num_examples * shuffled / num_bytes)


def training_batch(config: TrainConfig, sources: Sources) -> int:
    """Returns the examples of every training batch: `batch_size`, or all examples of a split that has fewer."""
    return min(config.batch_size, _num_training(config, sources))


def steps_per_epoch(config: TrainConfig, sources: Sources) -> int:
    """Returns the number of training batches in an epoch, at least 1.

    All have one size: a small last batch would move the statistics of batch normalization right before the validation,
    and XLA would compile the step once more for it. The examples that remain are left out, other ones in each epoch.
    """
    return _num_training(config, sources) // training_batch(config, sources)


def _num_training(config: TrainConfig, sources: Sources) -> int:
    return sum(source.info.split(config.train_split).num_examples for source in sources.each)


def training_dataset(
    config: TrainConfig, sources: Sources, cached: Cached | None = None, *, keep_encoded: bool = False
) -> tf.data.Dataset:
    """Returns the batches of one epoch after the other, each freshly shuffled and augmented.

    An epoch has as many examples as there are, but for those that do not fill a batch (see `steps_per_epoch`). With
    weights an example comes from each dataset with that probability, and none of a dataset comes again before all of
    it have been seen, or the epoch ends.

    Args:
        config: of the run.
        sources: its datasets.
        cached: their training splits, one after the other; by default shards are read and decoded in every epoch.
        keep_encoded: whether records stay in memory, as they are, when they have been read once.

    Returns:
        inputs and labels float32 [batch, k], the batch a static dimension. Inputs are images uint8 [batch, size, size,
            3], float32 with `augment="full"`; or cached features.
    """
    sizes = [source.info.split(config.train_split).num_examples for source in sources.each]
    amount, batch = _held(config, sources, cached), training_batch(config, sources)
    num_seen = steps_per_epoch(config, sources) * batch
    # Nothing is dropped then: it makes the size of a batch static.
    in_batches = amount.chunk == batch
    if cached and shuffles_examples(config, _num_bytes(cached.inputs)):
        dataset = tf.data.Dataset.from_tensor_slices(tuple(cached)).shuffle(sum(sizes), seed=config.seed)
        dataset = dataset.take(num_seen).batch(amount.chunk, drop_remainder=in_batches)
    elif cached:
        indices = _shuffled_indices(config, sizes).take(num_seen).batch(amount.chunk, drop_remainder=in_batches)
        dataset = _loaded(indices, functools.partial(_gather, cached, config), config, amount)
    else:
        parts = [
            _loaded(
                _shuffled_records(config, source, len(sizes), keep_encoded)
                .take(num_seen)
                .batch(amount.chunk, drop_remainder=in_batches and len(sizes) == 1),
                _loader(config, source),
                config,
                amount,
            )
            for source in sources.each
        ]
        dataset = parts[0]
        if len(parts) > 1:
            dataset = _mix([part.unbatch() for part in parts], config.data_weights or sizes, config.seed)
            dataset = dataset.take(num_seen).batch(amount.chunk, drop_remainder=in_batches)
    if config.augment == "full":
        dataset = _with_seeds(dataset, config.seed + 1).map(
            lambda chunk, seed: colour.change(chunk[0], chunk[1], seed), num_parallel_calls=amount.changes
        )
    if not in_batches:
        dataset = dataset.rebatch(batch, drop_remainder=True)
    return _finished(dataset, amount, num_seen // batch, cached)


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
        images uint8 [batch, size, size, 3] or cached features; labels float32 [batch, k]. The last batch has what
            remains.
    """
    num_examples = sum(source.info.split(split).num_examples for source in sources.each)
    amount = _held(config, sources, cached)
    if cached:
        chunks = tf.data.Dataset.from_tensor_slices(tuple(cached)).batch(amount.chunk)
    else:
        chunks = decoded(config, sources, split, config.image_size, keep_encoded=keep_encoded)
    if amount.chunk != config.batch_size:
        chunks = chunks.rebatch(config.batch_size)
    return _finished(chunks, amount, -(-num_examples // config.batch_size), cached)


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
    amount = buffers.measure(config, sources, decodes=True, size=size)
    parts = [
        _records(source, split, keep=keep_encoded)
        .batch(amount.chunk)
        .map(_decoder(config, source, split, size), num_parallel_calls=amount.loads)
        for source in sources.each
    ]
    return functools.reduce(tf.data.Dataset.concatenate, parts).with_options(_options())


def cached_size(config: TrainConfig) -> int:
    """Returns the height and width of cached training images, pixels; of those that crops are cut from, if any are."""
    return round(config.image_size * _CROP_MARGIN) if config.crops else config.image_size


def held(config: TrainConfig, sources: Sources, *, decodes: bool, num_features: int | None = None) -> Buffers:
    """Returns what the batches of a training hold at a time, or those of a validation at most.

    Args:
        config: of the run.
        sources: its datasets.
        decodes: whether records are decoded; otherwise examples come from a cache.
        num_features: of an example, if they are cached instead of images.
    """
    cut_from = 0 if config.augment == "none" or config.crops_originals or not decodes else cached_size(config)
    return buffers.measure(
        config, sources, decodes=decodes, size=config.image_size, cut_from=cut_from, num_features=num_features
    )


def _held(config: TrainConfig, sources: Sources, cached: Cached | None) -> Buffers:
    num_features = int(cached.inputs.shape[1]) if cached and len(cached.inputs.shape) == 2 else None
    return held(config, sources, decodes=not cached, num_features=num_features)


def _records(source: Source, split: str, *, keep: bool = False, seed: int | tf.Tensor | None = None) -> tf.data.Dataset:
    """Returns the serialized examples of a split of a dataset; with a seed, shards are in a new order in each epoch."""
    info = source.info.split(split)
    shards = tf.data.Dataset.from_tensor_slices([posixpath.join(source.directory, shard.path) for shard in info.shards])
    if seed is not None:
        shards = shards.shuffle(len(info.shards), seed=seed)
    records = shards.interleave(
        tf.data.TFRecordDataset,
        cycle_length=buffers.OPEN_SHARDS,
        # More calls than open files are an error.
        num_parallel_calls=min(buffers.OPEN_SHARDS, machine.usable_cores()),
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
    # Room for one more than there are: records are kept only if their end has been read, and an epoch of one example
    # would be over before.
    room = split.num_examples + 1
    shuffle_shards = False
    if not keep and _SHUFFLE_BYTES // num_sources // mean_bytes < split.num_examples:
        room, shuffle_shards = max(1, _SHUFFLE_BYTES // num_sources // mean_bytes), True
    kept = _records(source, split.name, keep=True) if keep else None

    def shuffled(seed: int | tf.Tensor) -> tf.data.Dataset:
        # Where all records are shuffled together, shards need no order of their own, and epochs are those of a cache.
        records = kept if kept is not None else _records(source, split.name, seed=seed if shuffle_shards else None)
        return records.shuffle(room, seed=seed)

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
    return _mix(parts, config.data_weights, config.seed)


def _mix(datasets: Sequence[tf.data.Dataset], weights: Sequence[float], seed: int) -> tf.data.Dataset:
    """Returns the examples of all datasets, mixed in these proportions."""
    return tf.data.Dataset.sample_from_datasets(
        datasets, [float(weight) for weight in weights], seed=seed, rerandomize_each_iteration=True
    )


def _loaded(chunks: tf.data.Dataset, load: _Load, config: TrainConfig, amount: Buffers) -> tf.data.Dataset:
    """Returns the images and labels of items that come many at a time; with crops where there is augmentation."""
    if config.augment == "none":
        return chunks.map(lambda items: load(items, None), num_parallel_calls=amount.loads)
    return _with_seeds(chunks, config.seed).map(
        lambda items, seed: load(items, cropping.random_crops(tf.size(items), seed, crop=config.crops)),
        num_parallel_calls=amount.loads,
    )


def _loader(config: TrainConfig, source: Source) -> _Load:
    """Returns the function from records to images and labels.

    Images come out as they would from a cache of decoded ones, unless crops are cut from the originals.
    """
    if config.augment == "none" or config.crops_originals:
        return _decoder(config, source, config.train_split, config.image_size)
    decoder = _decoder(config, source, config.train_split, cached_size(config))

    def load(records: tf.Tensor, crops: Crops | None) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = decoder(records)
        return _augmented(images, tf.range(tf.size(records)), crops, config), labels

    return load


def _gather(
    cached: Cached, config: TrainConfig, indices: tf.Tensor, crops: Crops | None
) -> tuple[tf.Tensor, tf.Tensor]:
    return _augmented(cached.inputs, indices, crops, config), tf.gather(cached.labels, indices)


def _augmented(inputs: tf.Tensor, chosen: tf.Tensor, crops: Crops | None, config: TrainConfig) -> tf.Tensor:
    """Returns the chosen ones of images of `cached_size`, or of features; images are cut, or mirrored."""
    if not crops:
        return tf.gather(inputs, chosen)
    if config.crops:
        return cropping.cut(inputs, chosen, crops, config.image_size)
    return cropping.flip(inputs, chosen, crops.mirrored)


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


def _finished(batches: tf.data.Dataset, amount: Buffers, num_batches: int, cached: Cached | None) -> tf.data.Dataset:
    """Adds what every pipeline ends with."""
    # So that Keras shows the number of steps from the first epoch on.
    batches = batches.apply(tf.data.experimental.assert_cardinality(num_batches))
    return batches.prefetch(amount.prefetched).with_options(_options(cached))


def _options(cached: Cached | None = None) -> tf.data.Options:
    options = tf.data.Options()
    # The autotuner ends an epoch on a tick of its own clock, up to seconds late; parallelism is set by hand instead.
    options.autotune.enabled = False
    # TensorFlow copies all arrays of a pipeline when it rewrites its graph, at the start of each epoch: a cache on disk
    # may be larger than the memory. Of small ones that takes less time than rewriting saves.
    if cached and copied_bytes(sum(map(_num_bytes, cached))) == 0:
        options.experimental_optimization.apply_default_optimizations = False
    return options


def copied_bytes(num_bytes: int) -> int:
    """Returns how many bytes of a cached split, of so many, TensorFlow copies when an epoch starts: all, or none."""
    return num_bytes if num_bytes <= _SHUFFLE_BYTES else 0
