"""Computes features and thumbnails of all images of datasets, some at a time.

The features are those that the head of a model gets: means over the eight positions of an image, turned by quarters and
mirrored. So an image and its mirrored or turned copies have the same features.
"""

from collections.abc import Iterator

import tensorflow as tf

from multihot import signals
from schemas import embeddings
from schemas.embeddings import Columns
from trainer import features
from trainer.finished_run import FinishedRun
from trainer.input import pipeline
from trainer.sources import Source, Sources

# Weights of red, green and blue in a level of grey.
_LUMA = (0.299, 0.587, 0.114)


class Embedder:
    """Computes features and thumbnails by the model of a run."""

    def __init__(self, run: FinishedRun) -> None:
        """Loads the model.

        Raises:
            UserError: the model cannot be loaded.
        """
        self._run = run
        extractor = features.of_head(run.load_model())
        self.width = sum(extractor.widths)

        def step(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # A loop in the graph: eight copies of a large model would take eight times as long to trace.
            each = tf.map_fn(
                extractor.compute, positions(images), fn_output_signature=tf.float32, parallel_iterations=1
            )
            return tf.reduce_mean(each, axis=0), thumbnails(images)

        size = run.info.image_size
        self._step = tf.function(step, input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)])

    def embed(self, sources: Sources) -> Iterator[Columns]:
        """Yields the rows of all images of datasets: dataset by dataset, split by split, in the order of evaluation.

        Raises:
            OSError: a shard cannot be read.
        """
        for source in sources.each:
            for split in source.info.splits:
                yield from self._embed(source, split.name)

    def _embed(self, source: Source, split: str) -> Iterator[Columns]:
        config = self._run.config_for(split, [source.directory])
        for names, images in pipeline.named_images(config, source, split):
            signals.check()
            values, small = self._step(images)
            filenames = [name.decode() for name in names.numpy()]
            yield Columns(filenames, [split] * len(filenames), values.numpy(), small.numpy())


def positions(images: tf.Tensor) -> tf.Tensor:
    """Returns images in the eight positions of a square: turned by quarters, and mirrored: [8, n, size, size, 3].

    Args:
        images: [n, size, size, 3].
    """
    turned = [tf.image.rot90(images, quarters) for quarters in range(4)]
    return tf.stack([*turned, *(tf.reverse(one, [2]) for one in turned)])


def thumbnails(images: tf.Tensor) -> tf.Tensor:
    """Returns small grey pictures, uint8 [n, SIDE, SIDE], of images uint8 [n, size, size, 3]."""
    grey = tf.reduce_sum(tf.cast(images, tf.float32) * _LUMA, axis=3, keepdims=True)
    small = tf.raw_ops.ResizeArea(images=grey, size=[embeddings.SIDE, embeddings.SIDE])
    return tf.cast(tf.round(tf.clip_by_value(small[..., 0], 0.0, 255.0)), tf.uint8)
