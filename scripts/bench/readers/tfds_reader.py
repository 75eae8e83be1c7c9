"""tensorflow-datasets on our shards: its reader and its decoder, then the same arithmetic as plain tf.data."""

from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from records import decode_crop
from serve import Request, serve


def batches(request: Request) -> Any:
    """Returns the batches: images float32, 0 to 255; labels int64."""
    builder = tfds.builder_from_directory(Path(request.dataset))
    # Where images are cropped, its guide on performance advises to decode no more than the crop.
    decoders = {"image": tfds.decode.SkipDecoding()} if request.crop else None
    # By default it keeps a small dataset, decoded, in memory: that would be no first epoch.
    uncached = tfds.ReadConfig(try_autocache=False)
    examples = builder.as_dataset(split="train", decoders=decoders, as_supervised=True, read_config=uncached)

    def prepare(image: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.resize(decode_crop(image) if request.crop else image, [request.size] * 2)
        return tf.image.random_flip_left_right(image) if request.crop else image, labels

    prepared = examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return prepared.batch(request.batch).prefetch(tf.data.AUTOTUNE).repeat(request.epochs)


if __name__ == "__main__":
    serve(batches)
