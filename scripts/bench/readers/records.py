"""Plain tf.data on the shards, as its guides have it: `map` and `prefetch` autotuned, all other options by default.

`pipeline` is `plain`: decoded in every epoch; `frozen`: batches are cached as they are, in one order for ever; or
`decode`: TensorFlow's libjpeg alone, at the smallest scale that is large enough, of encoded images in memory.
"""

import functools
import os
from pathlib import Path
from typing import Any

import tensorflow as tf
from serve import ASPECTS, MIN_AREA, Request, serve

_RATIOS = (1, 2, 4, 8)
_CORES = len(os.sched_getaffinity(0))
# Without the tuner, whose clock decides when an epoch ends: this row is to be what there is at best.
_FIXED = tf.data.Options()
_FIXED.autotune.enabled = False


def batches(request: Request) -> Any:
    """Returns the batches: images float32, 0 to 255; labels int64."""
    if request.pipeline == "frozen":
        return _frozen(request.dataset, request.num_classes, request.size, request.batch).repeat(request.epochs)
    if request.pipeline == "decode":
        encoded = _encoded(request.dataset, request.num_classes, request.size).batch(request.batch)
        return encoded.map(_decode, num_parallel_calls=_CORES).prefetch(4).with_options(_FIXED).repeat(request.epochs)
    examples = _examples(request.dataset, request.num_classes, request.size, request.crop)
    return examples.batch(request.batch).prefetch(tf.data.AUTOTUNE).repeat(request.epochs)


@functools.cache
def _frozen(dataset: str, num_classes: int, size: int, batch: int) -> tf.data.Dataset:
    return _examples(dataset, num_classes, size, crop=False).batch(batch).cache()


@functools.cache
def _encoded(dataset: str, num_classes: int, size: int) -> tf.data.Dataset:
    """Returns encoded images, the ratio to decode each at, and labels; all in memory."""
    features = {
        "image": tf.io.FixedLenFeature((), tf.string),
        "image/height": tf.io.FixedLenFeature((), tf.int64),
        "image/width": tf.io.FixedLenFeature((), tf.int64),
        "labels": tf.io.FixedLenFeature((num_classes,), tf.int64),
    }
    shards = sorted(str(path) for path in Path(dataset, "train").iterdir())
    examples = [tf.io.parse_single_example(record, features) for record in tf.data.TFRecordDataset(shards)]
    times = [int(min(one["image/height"], one["image/width"])) // size for one in examples]
    ways = [sum(time >= ratio for ratio in _RATIOS[1:]) for time in times]
    columns = [one["image"] for one in examples], ways, [one["labels"] for one in examples]
    return tf.data.Dataset.from_tensor_slices(columns)


def _decode(images: tf.Tensor, ways: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes images, of which a pixel each is kept."""

    def one(image: tf.Tensor, way: tf.Tensor) -> tf.Tensor:
        decoders = [
            functools.partial(tf.io.decode_jpeg, image, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
            for ratio in _RATIOS
        ]
        return tf.switch_case(way, decoders)[:1, :1]

    pixel = tf.TensorSpec([1, 1, 3], tf.uint8)
    work = (images, ways)
    return tf.map_fn(lambda both: one(*both), work, fn_output_signature=pixel, parallel_iterations=1), labels


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
