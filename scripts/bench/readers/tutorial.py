"""The tutorial's pipeline: a table of labels that Python looks up for each image, and Python around its decoding.

As its text has it, but for two things: it looked for the name of a file behind a backslash; and it compared names
with a tensor, at which pandas 3 raises. It is cached and prefetched in the first epoch too, at its batch of 4.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf
from serve import Request, serve


def dataset(csv: str | Path, paths: Sequence[str], size: int = 32, batch: int = 4) -> tf.data.Dataset:
    """Returns the tutorial's `ds_train_batched`.

    Args:
        csv: names in the column Filenames; a column of 0 and 1 for each class.
        paths: of the images.
        size: IMG_WIDTH, IMG_HEIGHT.
        batch: BATCH_SIZE.

    Returns:
        images float32 [batch, size, size, 3], 0 to 1; labels int64 [batch, k].
    """
    df = pd.read_csv(csv)
    label_names = list(df.columns[1:])

    def get_label(file_path: tf.Tensor) -> tf.Tensor:
        parts = tf.strings.split(file_path, os.sep)
        file_name = parts[-1].numpy().decode()
        labels = df[df["Filenames"] == file_name][label_names].to_numpy().squeeze()
        return tf.convert_to_tensor(labels)

    def process_img(img: tf.Tensor) -> tf.Tensor:
        img = tf.image.decode_jpeg(img, channels=3)
        img = tf.image.convert_image_dtype(img, tf.float32)
        return tf.image.resize(img, [size, size])

    def combine_images_labels(file_path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        img = tf.io.read_file(file_path)
        img = process_img(img)
        label = get_label(file_path)
        return img, label

    ds = tf.data.Dataset.from_tensor_slices(list(paths)).map(
        lambda x: tf.py_function(func=combine_images_labels, inp=[x], Tout=(tf.float32, tf.int64)),
        num_parallel_calls=tf.data.experimental.AUTOTUNE,
        deterministic=False,
    )
    return ds.batch(batch).cache().prefetch(tf.data.experimental.AUTOTUNE)


def files(folder: str, split: str) -> list[str]:
    """Returns the paths of the images of a split."""
    return sorted(map(str, Path(folder, "images", split).iterdir()))


@functools.cache
def _dataset(folder: str, size: int, batch: int) -> tf.data.Dataset:
    return dataset(Path(folder, "labels.csv"), files(folder, "train"), size, batch)


def batches(request: Request) -> Any:
    """Returns the batches; those of a cached epoch come from a cache that earlier rounds have filled."""
    made = _dataset if request.cached else _dataset.__wrapped__
    # Several epochs without the cache are not the tutorial's.
    return made(request.folder, request.size, request.batch).repeat(request.epochs if request.cached else 1)


if __name__ == "__main__":
    serve(batches)
