"""Chooses by the free memory and disk what is kept of a split between epochs, and fills this cache once.

A cache is one array of images or features and one of labels, each read as a tensor. In memory they are anonymous pages.
On disk they are two mapped files (diskcache.py), of which the system keeps as much in memory as there is room for.
"""

import math
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from multihot import machine, signals
from multihot.errors import UserError
from trainer.config import TrainConfig
from trainer.input import buffers, diskcache, pipeline, reading
from trainer.input.features import Features
from trainer.input.pipeline import CachedSplit
from trainer.sources import Sources

# To be raised when what is cached of the same examples changes.
_VERSION = 1
_NAMES = {"features": "features", "decoded": "decoded images", "encoded": "encoded images"}
_INPUTS, _LABELS = "inputs", "labels"


class Plan(NamedTuple):
    """The contents of a cache, and its place.

    Attributes:
        content: `features`, `decoded`, `encoded` or `none`.
        on_disk: whether they are on disk instead of in memory.
        reason: a line for the user.
    """

    content: str
    on_disk: bool
    reason: str

    @property
    def flag(self) -> str:
        """The value of --cache that asks for it."""
        return "disk" if self.on_disk else self.content


class Footprint(NamedTuple):
    """The bytes that a content takes.

    Attributes:
        cache_bytes: bytes of both splits with their labels, on disk or in memory.
        buffer_bytes: about how many bytes of memory the pipelines and the shuffle take beside that.
    """

    cache_bytes: int
    buffer_bytes: int


def choose(config: TrainConfig, sources: Sources, features: Features | None = None) -> Plan:
    """Decides what is kept between epochs.

    With `--cache=auto` it is the content that needs least work in every epoch, if it fits into half of the free memory;
    else the same on disk, if it is there already or fits into half of the free disk; else encoded records in memory.

    Args:
        config: of the run.
        sources: its datasets.
        features: that the backbone makes of an image, if they are the same in every epoch.

    Raises:
        UserError: the content that --cache names does not fit.
    """
    sizes = footprints(config, sources, features and features.num)
    preferred = "features" if features else "decoded"
    root = Path(config.cache_folder)
    if config.cache in ("auto", "disk"):
        diskcache.remove_unfinished(root)
    free_memory, free_disk = machine.available_memory(), machine.free_disk(str(root))
    missing = _missing_disk_bytes(config, sources, features)

    def in_memory(content: str) -> int:
        return sizes[content].cache_bytes + sizes[content].buffer_bytes

    def plan(content: str, on_disk: bool, reason: str = "") -> Plan:
        cache = "nothing"
        if content != "none":
            place = f"on disk in {root}{'' if missing else ', from an earlier run'}" if on_disk else "in memory"
            cache = f"{_NAMES[content]} ({_size(sizes[content].cache_bytes)}) {place}"
        size = f"with {_size(sizes[content].buffer_bytes)} of buffers"
        free = f"Free: {_size(free_memory)} of memory, {_size(free_disk)} of disk."
        return Plan(content, on_disk, f"Cache: {cache}, {size}{reason}. {free}")

    if config.cache == "auto":
        # Crops of the originals cannot be cut from images that were resized.
        if not config.crops_originals:
            if in_memory(preferred) < free_memory / 2:
                return plan(preferred, False)
            if not missing or (missing < free_disk / 2 and diskcache.is_writable(root)):
                return plan(preferred, True)
        if in_memory("encoded") < free_memory / 2:
            return plan("encoded", False)
        return plan("none", False, f", since {_NAMES[preferred]} take {_size(sizes[preferred].cache_bytes)}")
    asked = f", as --cache={config.cache} asks"
    if config.cache == "disk":
        if missing and missing >= free_disk:
            raise UserError(
                f"--cache=disk takes {_size(missing)} of disk, and {_size(free_disk)} are free in {root}. "
                "Choose another --cache_dir or another --cache."
            )
        return plan(preferred, True, asked)
    if config.cache != "none" and in_memory(config.cache) >= free_memory:
        raise UserError(
            f"--cache={config.cache} takes {_size(in_memory(config.cache))} of memory, and {_size(free_memory)} are "
            "free. Choose another --cache: --cache=auto takes one that fits."
        )
    return plan(config.cache, False, asked)


def cached_splits(config: TrainConfig, content: str) -> list[tuple[str, int]]:
    """Returns the splits that are cached, each with the size of its images in pixels.

    Data services read the training split themselves in every epoch. Features are computed here.

    Args:
        config: of the run.
        content: what is cached, see `Plan`.
    """
    train = (config.train_split, pipeline.cached_image_size(config))
    validation = (config.validation_split, config.image_size)
    return [validation] if config.data_service and content != "features" else [train, validation]


def footprints(config: TrainConfig, sources: Sources, num_features: int | None = None) -> dict[str, Footprint]:
    """Returns the bytes that each content takes.

    Args:
        config: of the run.
        sources: its datasets.
        num_features: that the backbone makes of an image, if they are the same in every epoch.
    """
    num_trained = sources.split(config.train_split).num_examples
    labels = 4 * len(sources.classes)
    # The order of an epoch; while the order of the next one is made, there may be two.
    ordered = 2 * reading.ORDER_BYTES * num_trained
    # A training and its validation have a pipeline each.
    decoding = 2 * pipeline.most_buffer_bytes(config, sources, decodes=True) + ordered
    shards = [shard for name, _ in cached_splits(config, "encoded") for shard in sources.split(name).shards]
    records = sum(shard.num_bytes + buffers.SHUFFLE_ELEMENT_BYTES * shard.num_examples for shard in shards)
    decoding += reading.shuffled_record_bytes(config, sources)
    sizes = {"none": Footprint(0, decoding), "encoded": Footprint(records, decoding)}
    for content in ("decoded",) if num_features is None else ("decoded", "features"):
        buffered = pipeline.most_buffer_bytes(
            config, sources, decodes=False, num_features=num_features if content == "features" else None
        )
        features = 4 * (num_features or 0)
        kept = sum(
            sources.split(name).num_examples * ((features if content == "features" else 3 * size**2) + labels)
            for name, size in cached_splits(config, content)
        )
        held = ordered
        if content == "features" and reading.shuffles_features(config, features * num_trained):
            held = (features + labels + 2 * buffers.SHUFFLE_ELEMENT_BYTES) * num_trained
        # To fill the cache, records are decoded.
        sizes[content] = Footprint(kept, max(2 * buffered + held, decoding))
    return sizes


def _missing_disk_bytes(config: TrainConfig, sources: Sources, features: Features | None) -> int:
    """Returns the bytes of the caches that are not yet on disk."""
    missing = 0
    for split, size in cached_splits(config, "features" if features else "decoded"):
        if not diskcache.is_complete(Path(config.cache_folder), _describe(config, sources, split, size, features)):
            missing += sum(_num_bytes(*shape) for shape in _shapes(sources, split, size, features))
    return missing


def fill_or_open(
    plan: Plan, config: TrainConfig, sources: Sources, split: str, size: int, features: Features | None = None
) -> CachedSplit | None:
    """Fills the cache of a split, or opens the one that is on disk already.

    Args:
        plan: what to keep.
        config: of the run.
        sources: its datasets.
        split: name of the split.
        size: of the images, pixels.
        features: what to make of them, if that is the plan.

    Returns:
        The cache; None if examples are to be read in each epoch.

    Raises:
        UserError: the disk is full or cannot be written to, or the cache on disk is damaged.
    """
    if plan.content not in ("features", "decoded"):
        return None
    examples = pipeline.decoded_chunks(config, sources, split, size)
    if features:  # Chunks are as large as decoding likes them; a backbone likes batches.
        examples = examples.rebatch(config.batch_size)
    chunks = _chunks(examples, sources.split(split).num_examples, features)
    shapes = _shapes(sources, split, size, features)
    if not plan.on_disk:
        arrays = [_in_memory(_num_bytes(*shape)) for shape in shapes]
        diskcache.write_chunks(arrays, chunks)
    else:
        description = _describe(config, sources, split, size, features)
        folder = diskcache.find_or_make(Path(config.cache_folder), description, (_INPUTS, _LABELS), chunks)
        arrays = [
            diskcache.map_file(folder / name, _num_bytes(*shape))
            for name, shape in zip((_INPUTS, _LABELS), shapes, strict=True)
        ]
    return CachedSplit(*(_tensor(array, *shape) for array, shape in zip(arrays, shapes, strict=True)))


def _shapes(sources: Sources, split: str, size: int, features: Features | None) -> list[tuple[Any, np.dtype[Any]]]:
    """Returns shape and type of the two arrays."""
    num_examples = sources.split(split).num_examples
    inputs: tuple[Any, np.dtype[Any]] = ((num_examples, size, size, 3), np.dtype(np.uint8))
    if features:
        inputs = ((num_examples, features.num), np.dtype(np.float32))
    return [inputs, ((num_examples, len(sources.classes)), np.dtype(np.float32))]


def _chunks(examples: tf.data.Dataset, num_examples: int, features: Features | None) -> Iterator[tuple[Any, Any]]:
    """Yields the arrays to cache, and shows a bar on a terminal. Reading starts with the first of them."""
    with tqdm(desc="caching", total=num_examples, unit=" images", disable=None, dynamic_ncols=True) as bar:
        for images, labels in examples.prefetch(2).as_numpy_iterator():
            signals.check()
            yield features.extract(images) if features else images, labels
            bar.update(len(labels))


def _in_memory(num_bytes: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, num_bytes)
    except OSError as error:
        raise UserError(
            f"The cache takes {_size(num_bytes)} of memory: {error.strerror or error}. Choose another --cache."
        ) from error


def _tensor(buffer: mmap.mmap, shape: Sequence[int], dtype: np.dtype[Any]) -> tf.Tensor:
    """Returns a tensor of these bytes, of which no copy is made: they begin with a page, as TensorFlow's own would."""
    array: NDArray[Any] = np.frombuffer(buffer, dtype).reshape(shape)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _num_bytes(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _describe(
    config: TrainConfig, sources: Sources, split: str, size: int, features: Features | None
) -> dict[str, Any]:
    """Returns everything that determines the contents of a cache."""
    return {
        "version": _VERSION,
        "datasets": [{"fingerprint": source.info.fingerprint, "labels": source.labels} for source in sources.each],
        "split": split,
        "size": size,
        "decode": config.decode,
        "resize": config.resize,
        "features": features and features.key,
        "tensorflow": tf.__version__,
    }


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
