"""Lists the examples of a split without decoding their images: names and sizes, in the order of evaluation."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from multihot import signals
from schemas import example
from trainer.input import reading
from trainer.sources import Sources

# Records that are parsed at a time.
_BATCH = 1024


class Listing(NamedTuple):
    """The examples of a split, in the order of `pipeline.evaluation_dataset`.

    Attributes:
        filenames: of the images.
        sizes: height and width of the stored images, pixels: int32 [n, 2].
        sources: number of the dataset of each example, int32 [n].
    """

    filenames: list[str]
    sizes: np.ndarray
    sources: np.ndarray


def examples(sources: Sources, split: str) -> Listing:
    """Lists the examples of a split of all datasets. Every shard is read once.

    Args:
        sources: the datasets.
        split: its name.
    """
    filenames: list[str] = []
    sizes, numbers = [np.empty((0, 2), np.int32)], [np.empty(0, np.int32)]
    for i, source in enumerate(sources.each):
        if not source.split(split).num_examples:
            continue
        keys = (example.FILENAME, example.HEIGHT, example.WIDTH)
        spec = example.parse_spec(len(source.info.classes), keys)
        batches = reading.records(source, split).batch(_BATCH).map(lambda records, spec=spec: _parse(records, spec))
        for names, both in batches.as_numpy_iterator():
            signals.check()
            filenames.extend(name.decode() for name in names)
            sizes.append(both)
            numbers.append(np.full(len(names), i, np.int32))
    return Listing(filenames, np.concatenate(sizes), np.concatenate(numbers))


def _parse(records: tf.Tensor, spec: dict[str, tf.io.FixedLenFeature]) -> tuple[tf.Tensor, tf.Tensor]:
    features = tf.io.parse_example(records, spec)
    both = tf.stack([features[example.HEIGHT], features[example.WIDTH]], axis=1)
    return features[example.FILENAME], tf.cast(both, tf.int32)
