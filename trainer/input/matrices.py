"""Resizes images of any size by products of matrices, as ImageDecoder.fit (decoding.py) resizes them.

    image [height, width, 3] -> rows [size, height] x image x columns [width, size] -> [size, size, 3]

ONNX and LiteRT have no operation for the mean of the pixels under a pixel, and their interpolations differ from each
other. A product of matrices is the same everywhere. The matrices are made in the graph, from the size of the image.
"""

import tensorflow as tf

from trainer.input import resizing


def fit(images: tf.Tensor, image_size: int, resize: str, *, exact: bool) -> tf.Tensor:
    """Returns images of the size of a model.

    Args:
        images: from 0 to 255, uint8 or float32 [n, height, width, 3]; all of one size.
        image_size: of the model, pixels.
        resize: way from an image to a square, see TrainConfig.
        exact: whether the training decoded exactly.

    Returns:
        whole numbers from 0 to 255, float32 [n, size, size, 3].
    """
    size = float(image_size)
    height, width = (tf.cast(tf.shape(images)[axis], tf.float32) for axis in (1, 2))
    windows, inners = (height, width), (size, size)
    if resize == "crop":
        windows = (tf.minimum(height, width),) * 2
    elif resize == "pad":
        longer = tf.maximum(height, width)
        inners = tuple(tf.maximum(_rounded(side * (size / longer)), 1.0) for side in (height, width))
    is_averaged = tf.maximum(windows[0] / inners[0], windows[1] / inners[1]) > resizing.INTERPOLATED
    rows, columns = (
        _matrix(side, window, inner, size, is_averaged, exact=exact)
        for side, window, inner in zip((height, width), windows, inners, strict=True)
    )
    # Of three dimensions, which all runtimes multiply: [n, height, width * 3], then [n, size, width, 3].
    shape = tf.shape(images)
    flat = tf.reshape(tf.cast(images, tf.float32), [shape[0], shape[1], shape[2] * 3])
    half = tf.reshape(tf.matmul(rows[tf.newaxis], flat), [shape[0] * image_size, shape[2], 3])
    whole = tf.matmul(columns[tf.newaxis], half)
    result = tf.reshape(whole, [-1, image_size, image_size, 3])
    return tf.floor(tf.clip_by_value(result, 0.0, 255.0) + 0.5)


def _matrix(
    side: tf.Tensor, window: tf.Tensor, inner: tf.Tensor | float, size: float, is_averaged: tf.Tensor, *, exact: bool
) -> tf.Tensor:
    """Returns the share of each pixel of a side in each pixel of the result: float32 [size, side].

    Args:
        side: pixels of the image.
        window: pixels in its middle that are kept.
        inner: pixels of the result, in its middle, that these become; the others are black.
        size: pixels of the result.
        is_averaged: whether a pixel becomes the mean of the pixels under it; otherwise it is interpolated.
        exact: whether it is a mean with weights that fall to both sides, as by `tf.image.resize` with antialiasing.
    """
    times, before = window / inner, tf.floor((size - inner) / 2)
    first = tf.floor((side - window) / 2)
    place = (tf.range(size) - before)[:, tf.newaxis]
    pixel = tf.range(side)[tf.newaxis, :] - first
    centre = (place + 0.5) * times - 0.5
    if exact:
        reach = tf.maximum(times, 1.0)
        shares = tf.nn.relu(1.0 - tf.abs(pixel - centre) / reach) * _inside(pixel, window)
        shares = shares / tf.maximum(tf.reduce_sum(shares, axis=1, keepdims=True), 1e-9)
    else:
        start = place * times
        under = tf.nn.relu(tf.minimum(pixel + 1.0, start + times) - tf.maximum(pixel, start)) / times
        between = tf.nn.relu(1.0 - tf.abs(pixel - tf.clip_by_value(centre, 0.0, window - 1.0)))
        share = tf.cast(is_averaged, tf.float32)
        shares = (share * under + (1.0 - share) * between) * _inside(pixel, window)
    return shares * _inside(place, inner)


def _inside(place: tf.Tensor, size: tf.Tensor | float) -> tf.Tensor:
    """Returns 1 for the whole numbers from 0 to below a size, and 0 for others."""
    return tf.cast(place >= 0.0, tf.float32) * tf.cast(place < size, tf.float32)


def _rounded(number: tf.Tensor) -> tf.Tensor:
    # `tf.round` rounds halves to even, and so does ONNX.
    return tf.round(number)
