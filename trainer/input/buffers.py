"""Decides how many examples a pipeline holds at a time: bounded in bytes, whatever the number of cores.

Each step that runs in parallel holds a chunk of examples for every call, and a machine may have 200 cores. The size of
the buffers is also part of the estimate by which caching.py chooses what is kept between epochs.
"""

import math
from typing import NamedTuple

from multihot import machine
from trainer.config import TrainConfig
from trainer.sources import Source, Sources

# Approximate bytes of the examples that go through a step together, so that the cost of a call is paid once for all of
# them. At 32 pixels, chunks of 192 images or more took 3 to 6 % less time than chunks of 32 (scripts/bench_input, row
# `ours`). But at the end of an epoch a core idles while the last chunk is decoded: with chunks of 320, an epoch of 1608
# images took 14 % longer than with 192.
_CHUNK_BYTES = 1 << 19
# The smallest chunk, in images: mixup blends images of a chunk.
_CHUNK_EXAMPLES = 8
# Bytes of all calls of a step together, both running calls and results that wait to be read. Two calls are always
# allowed.
_CALLS_BYTES = 1 << 28
_PREFETCH_BATCHES, _PREFETCH_BYTES = 4, 1 << 27
# Memory that a shuffle takes for each element beside the bytes of the element: 200 bytes for a number, 440 for a slice
# of an array, 410 for a record, measured with a million of each.
SHUFFLE_ELEMENT_BYTES = 400
# Files that are open at a time, so that one slow file does not delay the rest; and the bytes that TensorFlow reads
# ahead of each.
OPEN_SHARDS = 8
_READ_BYTES = 1 << 18


class Buffers(NamedTuple):
    """Sizes of the buffers of a pipeline.

    Attributes:
        chunk_size: examples that go through a step together: whole batches, or parts of one.
        load_calls: calls that decode or read a cache, and change what they have read, at a time.
        prefetched_batches: batches that wait for the model.
        num_bytes: memory that the buffers take, approximately, without that of the shuffle.
    """

    chunk_size: int
    load_calls: int
    prefetched_batches: int
    num_bytes: int


def plan(
    config: TrainConfig,
    sources: Sources,
    *,
    decodes: bool,
    size: int,
    cut_from: int = 0,
    num_features: int | None = None,
) -> Buffers:
    """Returns the sizes of the buffers of a pipeline.

    Args:
        config: of the run.
        sources: its datasets.
        decodes: whether records are decoded; otherwise examples come from a cache.
        size: of the images that come out, pixels.
        cut_from: size of the decoded images that crops are cut from, pixels; 0 if none are.
        num_features: of an example, if they are read instead of images.
    """
    pixels = 3 * size**2  # uint8
    example = 4 * num_features if num_features else pixels
    labels = 4 * len(sources.classes)
    batch = config.batch_size
    chunk = _chunk(batch, example + labels)
    # A loop decodes images one by one, and then copies them to one array.
    load = chunk * (2 * example + labels)
    reading = 0
    if decodes:
        # The statistics of all splits: a dataset may have no training split.
        statistics = [split.statistics for source in sources.each for split in source.info.splits]
        record = max(each.example_bytes.mean for each in statistics)
        reading = OPEN_SHARDS * (_READ_BYTES + 4 * round(record))
        load += round(chunk * record + 3 * max(each.pixels.mean for each in statistics))
        load += chunk * 2 * 3 * cut_from**2
    changed = 4 * example if config.augment == "full" else example  # float32
    if changed > example:
        load += chunk * (3 * changed + 2 * labels)
    batch_bytes = batch * (changed + labels)
    load_calls = _calls(load)
    prefetched = max(1, min(_PREFETCH_BATCHES, _PREFETCH_BYTES // batch_bytes))
    # A small dataset has fewer chunks than calls.
    num_chunks = math.ceil(sum(_num_examples(source) for source in sources.each) / chunk)
    num_bytes = len(sources.each) * reading + min(load_calls, num_chunks) * load
    return Buffers(
        chunk_size=chunk,
        load_calls=load_calls,
        prefetched_batches=prefetched,
        # Two more batches: one is being assembled, and the model uses one.
        num_bytes=num_bytes + (prefetched + 2) * batch_bytes,
    )


def _num_examples(source: Source) -> int:
    """Returns the number of examples in the largest split of a dataset."""
    return max(split.num_examples for split in source.info.splits)


def _chunk(batch: int, example_bytes: int) -> int:
    """Returns the number of examples that go through a step together.

    It does not depend on the number of cores, since random numbers are drawn for a chunk at a time.
    """
    if batch * example_bytes <= _CHUNK_BYTES:
        return batch * (_CHUNK_BYTES // (batch * example_bytes))
    max_examples = max(_CHUNK_EXAMPLES, _CHUNK_BYTES // example_bytes)
    part = math.ceil(batch / math.ceil(batch / max_examples))
    # An even number, so that mixup has a partner for each image.
    return min(batch, part + part % 2)


def _calls(call_bytes: int) -> int:
    """Returns the number of calls of a step that run at a time, if each call takes `call_bytes`."""
    return min(machine.usable_cores(), max(2, _CALLS_BYTES // call_bytes))
