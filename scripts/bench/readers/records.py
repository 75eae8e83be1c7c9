"""Plain tf.data on the shards, as its guides have it: `map` and `prefetch` autotuned, all other options by default.

`pipeline` is `plain`: images are decoded in every epoch; or `frozen`: batches are cached and never shuffled again.
"""

import functools
from pathlib import Path
from typing import Any

import tensorflow as tf
from serve import ASPECTS, MIN_AREA, Request, serve


def batches(request: Request) -> Any:
    """Returns the batches: images float32, 0 to 255; labels int64."""
    if request.pipeline == "frozen":
        return _frozen(request.dataset, request.num_classes, request.size, request.batch).repeat(request.epochs)
    examples = _examples(request.dataset, request.num_classes, request.size, request.crop)
    return examples.batch(request.batch).prefetch(tf.data.AUTOTUNE).repeat(request.epochs)


@functools.cache
def _frozen(dataset: str, num_classes: int, size: int, batch: int) -> tf.data.Dataset:
    return _examples(dataset, num_classes, size, crop=False).batch(batch).cache()


def _examples(dataset: str, num_classes: int, size: int, crop: bool) -> tf.data.Dataset:
    features = {
        "image": tf.io.FixedLenFeature((), tf.string),
        "labels": tf.io.FixedLenFeature((num_classes,), tf.int64),
    }

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        one = tf.io.parse_single_example(record, features)
        image = decode_crop(one["image"]) if crop else tf.io.decode_jpeg(one["image"], channels=3)
        image = tf.image.resize(image, [size, size])
        return tf.image.random_flip_left_right(image) if crop else image, one["labels"]

    shards = sorted(str(path) for path in Path(dataset, "train").iterdir())
    return tf.data.TFRecordDataset(shards).map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def decode_crop(data: tf.Tensor) -> tf.Tensor:
    """Decodes a random part of a JPEG, without the rest of it: what the ResNet of TensorFlow's models does."""
    top, left, height, width = random_box(tf.io.extract_jpeg_shape(data))
    return tf.io.decode_and_crop_jpeg(data, tf.stack([top, left, height, width]), channels=3)


def random_box(shape: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the top, left, height and width of a random part of an image of this shape."""
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        shape,
        tf.zeros([1, 0, 4]),
        min_object_covered=0.0,
        aspect_ratio_range=ASPECTS,
        area_range=(MIN_AREA, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    return begin[0], begin[1], size[0], size[1]


if __name__ == "__main__":
    serve(batches)
