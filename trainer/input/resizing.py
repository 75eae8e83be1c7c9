"""Resizes an image of any size to a square, uint8 [size, size, 3], or to a height and a width, int32 [2].

The antialiasing filter is exact, but takes as long as all other work on an image. The other two functions approximate
it: one averages pixels, for images that become much smaller, and the other interpolates.
"""

import tensorflow as tf

# Images of up to this many times the size of the result are interpolated: beyond it, interpolation would skip pixels.
INTERPOLATED = 2.0


def antialiased(image: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Resizes an image, uint8 [height, width, 3], by a filter as wide as the area that becomes a pixel."""
    resized = tf.image.resize(image, _sides(size), antialias=True)
    return _rounded(tf.clip_by_value(resized, 0.0, 255.0))


def averaged(image: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Resizes an image, uint8 [height, width, 3]: a pixel becomes the mean of the pixels that it covers."""
    return _rounded(tf.raw_ops.ResizeArea(images=image[tf.newaxis], size=_sides(size))[0])


def interpolated(image: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Resizes an image, uint8 [height, width, 3]: a pixel is interpolated between the four around its centre."""
    # The operation uses vector instructions for floats only: at 224 pixels, uint8 took a third longer without the cast.
    batch = tf.cast(image, tf.float32)[tf.newaxis]
    return _rounded(tf.raw_ops.ResizeBilinear(images=batch, size=_sides(size), half_pixel_centers=True)[0])


def _rounded(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(image + 0.5, tf.uint8)


def padded(image: tf.Tensor, size: int) -> tf.Tensor:
    """Adds black bars to an image, uint8 [height, width, 3], so that it becomes a square."""
    sides = tf.shape(image)[:2]
    before = (size - sides) // 2
    bars = tf.pad(tf.stack([before, size - sides - before], axis=1), [[0, 1], [0, 0]])
    return tf.ensure_shape(tf.pad(image, bars), [size, size, 3])


def _sides(size: int | tf.Tensor) -> tf.Tensor | list[int]:
    return [size, size] if isinstance(size, int) else size
