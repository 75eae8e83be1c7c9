"""What a plain program makes of one image, as most of them do: read, decode to prove it, tf.train.Example."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf


def example(path: str, labels: Sequence[int], *, decode: bool) -> bytes:
    """Returns the serialized record of an image.

    Args:
        path: of the image.
        labels: 0 or 1 for each class.
        decode: whether to decode the image, which also tells its size; otherwise the record has no size.
    """
    image = Path(path).read_bytes()
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "labels": tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
        "filename": tf.train.Feature(bytes_list=tf.train.BytesList(value=[Path(path).name.encode()])),
    }
    if decode:
        height, width, _ = tf.io.decode_image(image, channels=3, expand_animations=False).shape
        features["image/height"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[height]))
        features["image/width"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[width]))
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
