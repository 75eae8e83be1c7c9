"""Builds the input pipeline, from shards to batches, in the graph only.

    shards -> interleave -> all records, by their numbers -> decode, crop, change colours, mix -> batch -> prefetch
    cached:                 all images, by their numbers --> crop, change colours, mix ---------> batch -> prefetch

An epoch is a function of the seed and its number. Its order is a tensor of numbers of examples (reading.py): of cached
images or features, which lie in one tensor, or of records, if all of them are held. Records that are not are shuffled
while they are read. About half a megabyte of images goes through each step together, as a chunk (buffers.py), whose
random changes depend on its number. Crops are cut from the same pixels with a cache and without one. Evaluation has
every example once, always in the same order: an example of each open shard in turn.

Several datasets are mixed, each example once; with weights each is shuffled and repeated on its own. Evaluation has
them one after the other.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from schemas import example
from schemas.statistics import JPEG
from trainer.config import TrainConfig
from trainer.input import buffers, colour, cropping, reading, services
from trainer.input.buffers import Buffers
from trainer.input.cropping import Crops
from trainer.input.decoding import Decoder
from trainer.sources import Source, Sources

# Crops are cut from images that are larger than the result by this factor, so that crops are enlarged less: a crop of a
# third of the area is 0.87 times as large as a small result, and 0.65 times as large as a large one. With 1.5 for all,
# an image of 224 pixels would take 339 kB of a cache instead of 191.
_CROP_MARGIN, _SMALL_CROP_MARGIN = 1.125, 1.5
_SMALL = 128

# Records, or numbers of cached examples, to images and labels.
_Load = Callable[[Any, Sequence[tf.Tensor], Crops | None], tuple[tf.Tensor, tf.Tensor]]


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
    config: TrainConfig,
    sources: Sources,
    cached: CachedSplit | None = None,
    *,
    epoch: tf.Variable | int = 0,
    image_size: int | None = None,
    skip: int = 0,
    keep_encoded: bool = False,
) -> tf.data.Dataset:
    """Returns the batches of an epoch, in an order and with random changes that depend on the seed and the epoch alone.

    An epoch has all examples but those that do not fill a batch (see `steps_per_epoch`). With weights, each example
    comes from one of the datasets with that probability, and no example of a dataset is repeated before all of its
    examples have been read, or the epoch ends.

    Args:
        config: of the run.
        sources: its datasets.
        cached: their training splits, one after the other; by default shards are read and decoded in every epoch.
        epoch: its number. That of a variable, an int64 on the CPU, is read when an iteration begins; data services,
            which load what is not cached, need a number.
        image_size: height and width of the images, pixels, no more than those of the run, which it is by default.
        skip: number of batches at the start of the epoch that are left out.
        keep_encoded: whether records stay in memory, as they are, when they have been read once.

    Returns:
        inputs and labels float32 [batch, k], the batch a static dimension. Inputs are images uint8 [batch, size, size,
            3], float32 with random colours; or cached features.
    """
    size, num_batches = image_size or config.image_size, steps_per_epoch(config, sources)
    if not 0 <= skip <= num_batches:
        raise ValueError(f"skip must be at least 0 and at most {num_batches}. Received: {skip}")
    planned, batch = _buffers_for(config, sources, cached, size), training_batch_size(config, sources)
    if cached and len(cached.inputs.shape) == 2 and reading.shuffles_features(config, _num_bytes(cached.inputs)):
        examples = _shuffled_features(config, cached, epoch).take(num_batches * batch).skip(skip * batch)
        return _finish(examples.batch(batch, drop_remainder=True), planned, num_batches - skip, cached)
    # Batches are cut from chunks. The first chunk that is read begins with a batch, the last one or an earlier one.
    block = math.lcm(batch, planned.chunk_size)
    first = skip * batch // block * block
    chunks = _chunks(
        config, sources, cached, epoch, keep_encoded, planned.chunk_size, range(first, num_batches * batch)
    )
    load = functools.partial(_gather, cached, config, size) if cached else _decoders(config, sources, size)
    load_chunk = functools.partial(_load, config, load)
    change = functools.partial(_change, config, sources.has_unknown)
    calls = planned.load_calls
    if config.data_service and not cached:
        # Before colours are changed, an image has a quarter of the bytes to send.
        dataset = services.load(chunks, load_chunk, config.data_service).map(change, num_parallel_calls=calls)
    else:
        dataset = chunks.map(lambda *chunk: change(*load_chunk(*chunk)), num_parallel_calls=calls)
    if planned.chunk_size != batch:
        dataset = dataset.rebatch(batch, drop_remainder=True)
    return _finish(dataset.skip(skip - first // batch), planned, num_batches - skip, cached)


def evaluation_dataset(
    config: TrainConfig,
    sources: Sources,
    split: str,
    cached: CachedSplit | None = None,
    *,
    image_size: int | None = None,
    keep_encoded: bool = False,
) -> tf.data.Dataset:
    """Returns the batches of a split: every example once, always in the same order.

    Args:
        config: of the run.
        sources: its datasets.
        split: name of the split.
        cached: the splits of this name, one after the other; by default shards are read and decoded in every epoch.
        image_size: height and width of the images, pixels, no more than those of the run, which it is by default.
        keep_encoded: whether records stay in memory, as they are, when they have been read once.

    Returns:
        images uint8 [batch, size, size, 3] or cached features; labels float32 [batch, k]. The last batch has what
            remains.
    """
    num_examples = sum(source.split(split).num_examples for source in sources.each)
    planned = _buffers_for(config, sources, cached, config.image_size)
    if cached:
        chunks = tf.data.Dataset.from_tensor_slices(tuple(cached)).batch(planned.chunk_size)
    else:
        chunks = decoded_chunks(config, sources, split, config.image_size, keep_encoded=keep_encoded)
    if image_size not in (None, config.image_size):
        chunks = chunks.map(
            lambda images, labels: (_as_large(images, tf.range(tf.shape(images)[0]), None, config, image_size), labels),
            num_parallel_calls=planned.load_calls,
        )
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
        .map(decoder_of(config, source, split, size), num_parallel_calls=planned.load_calls)
        for source in sources.having(split)
    ]
    return functools.reduce(tf.data.Dataset.concatenate, parts).with_options(_options())


def named_images(config: TrainConfig, source: Source, split: str) -> tf.data.Dataset:
    """Returns the batches of a split of one dataset with the names of the images, in the order of evaluation.

    Args:
        config: of the run.
        source: the dataset.
        split: name of the split.

    Returns:
        file names, string [batch], and images uint8 [batch, size, size, 3]. The last batch has what remains.
    """
    planned = buffers.plan(config, Sources(classes=(), each=(source,)), decodes=True, size=config.image_size)
    decoder = decoder_of(config, source, split, config.image_size)
    spec = example.parse_spec(len(source.info.classes), (example.FILENAME,))

    def load(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.io.parse_example(records, spec)[example.FILENAME], decoder(records)[0]

    chunks = reading.records(source, split).batch(planned.chunk_size).map(load, num_parallel_calls=planned.load_calls)
    batches = chunks if planned.chunk_size == config.batch_size else chunks.rebatch(config.batch_size)
    num_examples = source.split(split).num_examples
    return _finish(batches, planned, -(-num_examples // config.batch_size), None)


def cached_image_size(config: TrainConfig) -> int:
    """Returns the height and width of cached training images, pixels; of those that crops are cut from, if any are."""
    margin = _SMALL_CROP_MARGIN if config.image_size <= _SMALL else _CROP_MARGIN
    return round(config.image_size * margin) if config.crops else config.image_size


def plan_buffers(
    config: TrainConfig,
    sources: Sources,
    *,
    decodes: bool,
    num_features: int | None = None,
    image_size: int | None = None,
) -> Buffers:
    """Returns the buffers of a training. Those of a validation are no larger.

    Args:
        config: of the run.
        sources: its datasets.
        decodes: whether records are decoded; otherwise examples come from a cache.
        num_features: of an example, if they are cached instead of images.
        image_size: of the images that come out, pixels; by default that of the run.
    """
    size = image_size or config.image_size
    resized = config.augment != "none" or size != config.image_size
    cut_from = cached_image_size(config) if resized and decodes and not config.crops_originals else 0
    return buffers.plan(config, sources, decodes=decodes, size=size, cut_from=cut_from, num_features=num_features)


def most_buffer_bytes(config: TrainConfig, sources: Sources, *, decodes: bool, num_features: int | None = None) -> int:
    """Returns the memory of the buffers of a training, with images of the size for which they take most."""
    sizes = {config.image_size, *(size for size, _ in config.train_sizes)}
    return max(
        plan_buffers(config, sources, decodes=decodes, num_features=num_features, image_size=size).num_bytes
        for size in sizes
    )


def _buffers_for(config: TrainConfig, sources: Sources, cached: CachedSplit | None, size: int) -> Buffers:
    num_features = int(cached.inputs.shape[1]) if cached and len(cached.inputs.shape) == 2 else None
    return plan_buffers(config, sources, decodes=not cached, num_features=num_features, image_size=size)


def _shuffled_features(config: TrainConfig, cached: CachedSplit, epoch: tf.Variable | int) -> tf.data.Dataset:
    """Returns cached features in the order of an epoch."""

    def shuffled(_: tf.Tensor) -> tf.data.Dataset:
        # See `reading.shuffled_records`.
        tf.random.set_seed(1)
        seed = tf.cast(epoch, tf.int64) * 2**32 + config.seed
        return tf.data.Dataset.from_tensor_slices(tuple(cached)).shuffle(cached.inputs.shape[0], seed=seed)

    return tf.data.Dataset.from_tensors(0).flat_map(shuffled)


def _num_bytes(tensor: tf.Tensor) -> int:
    return int(tensor.dtype.size * math.prod(tensor.shape))


def _chunks(
    config: TrainConfig,
    sources: Sources,
    cached: CachedSplit | None,
    epoch: tf.Variable | int,
    keep_encoded: bool,
    chunk_size: int,
    examples: range,
) -> tf.data.Dataset:
    """Returns some examples of an epoch, a chunk at a time.

    Returns:
        the examples: their numbers, int64 [chunk]; or records, string [chunk], and the numbers of their datasets;
        the number of the chunk in the epoch;
        a seed of the epoch, int64 [2], and all records of each dataset if they are read by their numbers, string [n].
    """
    trained_on = sources.having(config.train_split)
    sizes = [source.split(config.train_split).num_examples for source in trained_on]
    weights = [
        weight for source, weight in zip(sources.each, config.data_weights, strict=False) if source in trained_on
    ]
    by_number = cached is not None or keep_encoded or reading.fits(config, sources)
    kept = [] if cached or not by_number else trained_on

    def epoch_of(*records: tf.Tensor) -> tf.data.Dataset:
        seed = tf.stack([tf.constant(config.seed, tf.int64), tf.cast(epoch, tf.int64)])
        order, change = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        if by_number:
            numbers = reading.order(sizes, weights, examples.stop, order)[examples.start :]
            found = tf.data.Dataset.from_tensor_slices(numbers)
        else:
            found = reading.shuffled_records(trained_on, config.train_split, weights, order)
            found = found.take(examples.stop).skip(examples.start)
        # If no chunk is smaller, its size is a static dimension.
        found = found.batch(chunk_size, drop_remainder=len(examples) % chunk_size == 0)
        number = tf.data.Dataset.range(examples.start // chunk_size, examples.stop)
        shared = tf.data.Dataset.from_tensors((change, *(records if kept else ()))).repeat()
        return tf.data.Dataset.zip(found, number, shared)

    once = [reading.all_records(source, config.train_split, keep=keep_encoded) for source in kept]
    return tf.data.Dataset.zip(*(once or [tf.data.Dataset.from_tensors(0)])).flat_map(epoch_of)


def _load(
    config: TrainConfig, load: _Load, items: Any, number: tf.Tensor, shared: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the inputs of a chunk, cropped and mirrored if asked for, its labels, and a seed for its colours."""
    seed, *kept = shared
    seed = tf.random.experimental.stateless_fold_in(seed, number)
    crop_seed, colour_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    crops = None
    if config.augment != "none":
        num = tf.size(items[0] if isinstance(items, tuple) else items)
        crops = cropping.random_crops(num, crop_seed, min_area=config.min_crop_area if config.crops else None)
    return *load(items, kept, crops), colour_seed


def _change(
    config: TrainConfig, has_unknown: bool, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the inputs and labels of a chunk, with other colours and mixed if asked for."""
    if config.augment == "full":
        return colour.change(images, labels, seed, mixup_share=config.mixup, has_unknown=has_unknown)
    return images, labels


def _decoders(config: TrainConfig, sources: Sources, size: int) -> _Load:
    """Returns the function that decodes the examples of a training, each as its dataset has it."""
    trained_on = sources.having(config.train_split)
    loaders = [_loader(config, source, size) for source in trained_on]
    ends = [0]
    for source in trained_on:
        ends.append(ends[-1] + source.split(config.train_split).num_examples)

    def load(items: Any, kept: Sequence[tf.Tensor], crops: Crops | None) -> tuple[tf.Tensor, tf.Tensor]:
        if kept:
            origin = tf.searchsorted(tf.constant(ends[1:], tf.int64), items, side="right")
        else:
            items, origin = items
        num = items.shape[0]
        if len(loaders) == 1:
            return loaders[0](tf.gather(kept[0], items) if kept else items, crops)
        places = tf.dynamic_partition(tf.range(tf.size(items)), origin, len(loaders))
        parts = []
        for i, (place, loader) in enumerate(zip(places, loaders, strict=True)):
            some = tf.gather(items, place)
            records = tf.gather(kept[i], some - ends[i]) if kept else some
            parts.append(loader(records, crops and crops.of(place)))
        images, labels = (tf.dynamic_stitch(places, list(part)) for part in zip(*parts, strict=True))
        return tf.ensure_shape(images, [num, size, size, 3]), tf.ensure_shape(labels, [num, len(sources.classes)])

    return load


def _loader(
    config: TrainConfig, source: Source, size: int
) -> Callable[[tf.Tensor, Crops | None], tuple[tf.Tensor, tf.Tensor]]:
    """Returns the function from records to images and labels.

    Images come out as they would from a cache of decoded ones, unless crops are cut from the originals.
    """
    if config.crops_originals:
        return decoder_of(config, source, config.train_split, size)
    decoder = decoder_of(config, source, config.train_split, cached_image_size(config))

    def load(records: tf.Tensor, crops: Crops | None) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = decoder(records)
        if not crops and decoder.size == size:
            return images, labels
        return _as_large(images, tf.range(tf.size(records)), crops, config, size), labels

    return load


def _gather(
    cached: CachedSplit,
    config: TrainConfig,
    size: int,
    numbers: tf.Tensor,
    kept: Sequence[tf.Tensor],
    crops: Crops | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    return _as_large(cached.inputs, numbers, crops, config, size), tf.gather(cached.labels, numbers)


def _as_large(inputs: tf.Tensor, numbers: tf.Tensor, crops: Crops | None, config: TrainConfig, size: int) -> tf.Tensor:
    """Returns the images, cropped or mirrored if asked for, at this size; or the features with these numbers."""
    if len(inputs.shape) == 2 or (not crops and inputs.shape[1] == size):
        return tf.gather(inputs, numbers)
    if crops and not config.crops and inputs.shape[1] == size:
        return cropping.flip(inputs, numbers, crops.mirrored)
    return cropping.crop_and_resize(inputs, numbers, crops or cropping.whole(tf.size(numbers)), size)


def decoder_of(config: TrainConfig, source: Source, split: str, size: int) -> Decoder:
    """Returns the decoder for the records of a split of a dataset, to images of a size and labels of the run."""
    return Decoder(
        num_classes=len(source.info.classes),
        labels=source.labels,
        all_jpeg=set(source.split(split).statistics.formats) == {JPEG},
        size=size,
        exact=config.decode == "exact",
        resize=config.resize,
        has_unknown=source.has_unknown,
    )


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
    # disk may be larger than the memory.
    options.experimental_optimization.apply_default_optimizations = cached is None
    return options
