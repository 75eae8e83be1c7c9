"""The input pipeline: shards -> batches, in the graph only.

    training     shards -> interleave -> parse, decode, resize -> cache -> shuffle -> batch -> augment -> prefetch
    evaluation   shards -> interleave -> parse, decode, resize -> batch -> cache -> prefetch

What is cached is decoded and resized, as uint8. Training is shuffled and augmented after the cache, freshly in every
epoch; evaluation has every example once, always in the same order: an example of each open shard in turn.

Several datasets are mixed before the cache, each example once; with weights behind it, where each is shuffled and
repeated on its own. Evaluation has them one after the other.
"""

import functools
import hashlib
import os
import posixpath
from collections.abc import Sequence

import psutil
import tensorflow as tf

from schemas import example
from schemas.errors import UserError
from schemas.metadata import DatasetInfo
from schemas.statistics import JPEG
from trainer import augment
from trainer.config import TrainConfig
from trainer.sources import Source, Sources

# Files open at a time: so many that one slow file does not hold up the rest.
_OPEN_SHARDS = 8
_PREFETCH_BATCHES = 4
# What crops are cut from is larger than what comes out, so that they do not have to be enlarged as much.
_CROP_MARGIN = 1.125
# Shuffling exactly takes a buffer of all examples. With more than this it holds what fits, which is as good as exact
# since the order on disk is random already; the buffer is held in memory wherever the cache is.
_MAX_SHUFFLE_BYTES = 1 << 30


def training_dataset(config: TrainConfig, sources: Sources, *, cache: str | None) -> tf.data.Dataset:
    """Returns the batches of one epoch after the other, each freshly shuffled and augmented.

    An epoch has as many examples as there are. With weights an example comes from each dataset with that probability,
    and none of a dataset comes again before all of it have been seen, or the epoch ends.

    Args:
        config: of the run.
        sources: its datasets.
        cache: file to cache in, "" for memory, None for no cache.

    Returns:
        images float32 [batch, size, size, 3], 0 to 255 (uint8 without augmentation); labels float32 [batch, k].
    """
    parts = [_decoded(config, source, config.train_split, _cached_size(config)) for source in sources.each]
    sizes = [source.info.split(config.train_split).num_examples for source in sources.each]
    if config.data_weights:
        files = [f"{cache}-{i}" if cache else cache for i in range(len(parts))]
        parts = [
            _shuffle(config, _cache(part, file), size, len(parts)).repeat()
            for part, file, size in zip(parts, files, sizes, strict=True)
        ]
        dataset = _mix(parts, config.data_weights, config.seed).take(sum(sizes))
    else:
        # TensorFlow does not add up what it mixes.
        dataset = _mix(parts, sizes, config.seed).apply(tf.data.experimental.assert_cardinality(sum(sizes)))
        dataset = _shuffle(config, _cache(dataset, cache), sum(sizes))
    dataset = dataset.batch(config.batch_size)
    if config.augment != "none":
        seeds = tf.data.Dataset.random(seed=config.seed, rerandomize_each_iteration=True).batch(2)
        operation = functools.partial(augment.augment, kind=config.augment, size=config.image_size)
        dataset = tf.data.Dataset.zip(dataset, seeds).map(
            lambda batch, seed: operation(batch[0], batch[1], seed), num_parallel_calls=_cores()
        )
    return _finished(dataset)


def evaluation_dataset(config: TrainConfig, sources: Sources, split: str, *, cache: str | None) -> tf.data.Dataset:
    """Returns the batches of a split: every example once, always in the same order.

    Args:
        config: of the run.
        sources: its datasets.
        split: name of the split.
        cache: file to cache in, "" for memory, None for no cache.

    Returns:
        images uint8 [batch, size, size, 3]; labels float32 [batch, k].
    """
    parts = [_decoded(config, source, split, config.image_size) for source in sources.each]
    dataset = functools.reduce(tf.data.Dataset.concatenate, parts).batch(config.batch_size)
    return _finished(_cache(dataset, cache))


def choose_cache(config: TrainConfig, sources: Sources) -> tuple[str, str]:
    """Decides where decoded images are kept between epochs.

    Returns:
        `memory`, `disk` or `none`; and a line for the user that says why.
    """
    train, validation = (sources.split(name).num_examples for name in (config.train_split, config.validation_split))
    needed = 3 * (train * _cached_size(config) ** 2 + validation * config.image_size**2)
    available = psutil.virtual_memory().available
    figures = f"decoded images take {needed / 1e6:.0f} MB, {available / 1e6:.0f} MB of memory are available"
    if config.cache != "auto":
        return config.cache, f"Cache: {config.cache}, as asked ({figures})."
    # Half of what is free: the model and the batches on their way need room as well.
    choice = "memory" if needed < available / 2 else "disk"
    return choice, f"Cache: {choice} ({figures}; --cache changes it)."


def check_shards(directory: str, info: DatasetInfo, splits: Sequence[str]) -> None:
    """Compares shards with the manifest, byte for byte: for when reading them has failed.

    Args:
        directory: of the dataset.
        info: its manifest.
        splits: names of those that were read.

    Raises:
        UserError: names the shards that are missing or damaged.
    """
    shards = [shard for split in splits for shard in info.split(split).shards]
    wrong = [shard.path for shard in shards if _sha256(posixpath.join(directory, shard.path)) != shard.sha256]
    if wrong:
        raise UserError(
            f"{directory}: missing, or different from the manifest: {', '.join(wrong)}. "
            "Copy the dataset once more, or convert again."
        )


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
    except tf.errors.NotFoundError:
        return "missing"
    return digest.hexdigest()


def _mix(datasets: Sequence[tf.data.Dataset], weights: Sequence[float], seed: int) -> tf.data.Dataset:
    """Returns the examples of all datasets, mixed in these proportions; one alone as it is."""
    return tf.data.Dataset.sample_from_datasets(
        datasets, [float(weight) for weight in weights], seed=seed, rerandomize_each_iteration=True
    )


def _shuffle(config: TrainConfig, dataset: tf.data.Dataset, num_examples: int, buffers: int = 1) -> tf.data.Dataset:
    """Returns a dataset in a new order for each epoch; `buffers` is how many share the memory."""
    buffer = max(1, min(num_examples, _MAX_SHUFFLE_BYTES // (3 * _cached_size(config) ** 2) // buffers))
    return dataset.shuffle(buffer, seed=config.seed, reshuffle_each_iteration=True)


def _decoded(config: TrainConfig, source: Source, split: str, size: int) -> tf.data.Dataset:
    """Returns the examples of a split of a dataset: image uint8 [size, size, 3], labels float32 [k]."""
    info = source.info
    paths = [posixpath.join(source.directory, shard.path) for shard in info.split(split).shards]
    formats = {name for any_split in info.splits for name in any_split.statistics.formats}
    parse = functools.partial(
        _parse, num_classes=len(info.classes), labels=source.labels, all_jpeg=formats == {JPEG}, size=size
    )
    return (
        tf.data.Dataset.from_tensor_slices(paths)
        .interleave(tf.data.TFRecordDataset, cycle_length=_OPEN_SHARDS, num_parallel_calls=_cores(), deterministic=True)
        .map(parse, num_parallel_calls=_cores(), deterministic=True)
        # Known from the manifest: Keras shows the number of steps from the first epoch on, and shards that do not hold
        # what the manifest says are an error. Of examples and not of batches, which would hide a few too many or few.
        .apply(tf.data.experimental.assert_cardinality(info.split(split).num_examples))
    )


def _parse(
    record: tf.Tensor, *, num_classes: int, labels: Sequence[int], all_jpeg: bool, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    spec = example.parse_spec(num_classes, (example.IMAGE, example.LABELS))
    features = tf.io.parse_single_example(record, spec)
    data = features[example.IMAGE]
    image = _jpeg(data) if all_jpeg else tf.cond(tf.io.is_jpeg(data), lambda: _jpeg(data), lambda: _any_format(data))
    # Antialiased: a photograph is many times larger, and bilinear sampling alone would skip most of its pixels.
    image = tf.image.resize(image, [size, size], antialias=True)
    image = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
    vector = features[example.LABELS]
    if tuple(labels) != tuple(range(num_classes)):
        vector = tf.gather(vector, labels)
    return image, tf.cast(vector, tf.float32)


def _jpeg(data: tf.Tensor) -> tf.Tensor:
    # TensorFlow's default, INTEGER_FAST, comes out almost a level darker than other decoders.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _any_format(data: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.io.decode_image(data, channels=3, expand_animations=False), [None, None, 3])


def _cached_size(config: TrainConfig) -> int:
    return round(config.image_size * _CROP_MARGIN) if config.augment == "full" else config.image_size


def _cache(dataset: tf.data.Dataset, cache: str | None) -> tf.data.Dataset:
    return dataset if cache is None else dataset.cache(cache)


def _finished(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Adds what every pipeline ends with."""
    options = tf.data.Options()
    # The autotuner ends an epoch on a tick of its own clock, up to seconds late; parallelism is set by hand instead.
    options.autotune.enabled = False
    return dataset.prefetch(_PREFETCH_BATCHES).with_options(options)


def _cores() -> int:
    return os.cpu_count() or 1
