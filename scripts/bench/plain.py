"""One record of a plain program: the image is read, decoded to check it, and put into a tf.train.Example."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf


def example(path: str, labels: Sequence[int]) -> bytes:
    """Returns the serialized record of an image.

    Args:
        path: of the image.
        labels: 0 or 1 for each class.
    """
    image = Path(path).read_bytes()
    height, width, _ = tf.io.decode_image(image, channels=3, expand_animations=False).shape
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "labels": tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
        "filename": tf.train.Feature(bytes_list=tf.train.BytesList(value=[Path(path).name.encode()])),
        "image/height": tf.train.Feature(int64_list=tf.train.Int64List(value=[height])),
        "image/width": tf.train.Feature(int64_list=tf.train.Int64List(value=[width])),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
