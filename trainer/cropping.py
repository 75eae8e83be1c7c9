"""Random operations on images, with explicit seeds: the same seed gives the same result.

What is random is drawn for many images at a time, by operations that run in the graph. Crops are relative to an image,
so that they can be cut wherever its pixels are: from what libjpeg decodes (decoding.py), or from cached images.
"""

from typing import NamedTuple

import tensorflow as tf

from trainer import resizing

# Share of an image that a crop keeps at least, and the range of its aspect ratio: enough to vary the picture, not so
# much that what a label names is often cut away.
_MIN_AREA = 0.3
_MAX_LOG_ASPECT = 0.2877  # ln(4/3)
_COLOUR = 0.2
_MIXUP = 0.4


class Crops(NamedTuple):
    """Of each image the part to keep, and whether to mirror it.

    Attributes:
        place: top and left edge, relative to the size of the image, float32 [n, 2].
        extent: height and width, relative to the size of the image, float32 [n, 2].
        mirrored: left to right, bool [n].
    """

    place: tf.Tensor
    extent: tf.Tensor
    mirrored: tf.Tensor

    def windows(self, shapes: tf.Tensor) -> tf.Tensor:
        """Returns int32 [n, 4] (top, left, height, width), pixels, for heights and widths int32 [n, 2]."""
        sizes = tf.cast(shapes, tf.float32)
        place = tf.cast(self.place * sizes, tf.int32)
        extent = tf.clip_by_value(tf.cast(tf.round(self.extent * sizes), tf.int32), 1, shapes - place)
        return tf.concat([place, extent], axis=1)


def random_crops(num: int | tf.Tensor, seed: tf.Tensor, *, crop: bool) -> Crops:
    """Draws crops of a random size, shape and place, half of them mirrored.

    Args:
        num: of images.
        seed: int64 [2].
        crop: whether to cut; otherwise whole images are mirrored or not.
    """
    area_seed, aspect_seed, place_seed, flip_seed = tf.unstack(_split(seed, 4))
    if crop:
        area = tf.random.stateless_uniform([num], area_seed, _MIN_AREA, 1.0)
        aspect = tf.exp(tf.random.stateless_uniform([num], aspect_seed, -_MAX_LOG_ASPECT, _MAX_LOG_ASPECT))
        extent = tf.minimum(tf.sqrt(tf.stack([area / aspect, area * aspect], axis=1)), 1.0)
    else:
        extent = tf.ones([num, 2])
    place = tf.random.stateless_uniform([num, 2], place_seed) * (1.0 - extent)
    return Crops(place, extent, tf.random.stateless_uniform([num], flip_seed) < 0.5)


def cut(images: tf.Tensor, chosen: tf.Tensor, crops: Crops, size: int) -> tf.Tensor:
    """Cuts crops out of images that have been decoded.

    A loop in the graph: `tf.image.crop_and_resize`, which takes all crops at once, has no vector instructions, and took
    three times as long at 224 pixels and 1.7 times at 64. Only at 32 pixels it was faster, by a third.

    Args:
        images: uint8 [m, height, width, 3].
        chosen: which of them, int [n].
        crops: of these.
        size: height and width of the result, pixels.

    Returns:
        uint8 [n, size, size, 3].
    """
    number = tf.cast(chosen, tf.int32)[:, tf.newaxis]
    ones = tf.ones_like(number)
    windows = crops.windows(ones * tf.shape(images)[1:3])
    begin = tf.concat([number, windows[:, :2], 0 * ones], axis=1)
    extent = tf.concat([ones, windows[:, 2:], 3 * ones], axis=1)

    def one(crop: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        begin, extent, mirrored = crop
        return resizing.interpolated(mirror(tf.slice(images, begin, extent)[0], mirrored), size)

    return tf.map_fn(
        one,
        (begin, extent, crops.mirrored),
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
        parallel_iterations=1,
    )


def flip(images: tf.Tensor, chosen: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Takes images, and exchanges left and right of some: `cut` without cropping, in a tenth of its time.

    Args:
        images: uint8 [m, height, width, 3].
        chosen: which of them, int [n].
        mirrored: which of these, bool [n].

    Returns:
        uint8 [n, height, width, 3].
    """
    places = tf.dynamic_partition(tf.range(tf.size(chosen)), tf.cast(mirrored, tf.int32), 2)
    upright, turned = (tf.gather(images, tf.gather(chosen, some)) for some in places)
    # As one image above the other, since `tf.reverse` copies pixels only where there are three dimensions.
    shape = tf.shape(turned)
    turned = tf.reshape(tf.reverse(tf.reshape(turned, [-1, shape[2], 3]), [1]), shape)
    return tf.dynamic_stitch(places, [upright, turned])


def mirror(image: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Returns an image, uint8 [height, width, 3], with left and right exchanged where `mirrored`, bool [], says so."""
    return tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)


def jitter_colour(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation of each image by up to a fifth.

    Args:
        images: float32 [batch, height, width, 3], 0 to 255.
        seed: int64 [2].

    Returns:
        The same shape and range.
    """
    shape = tf.shape(images)
    factors = tf.random.stateless_uniform([shape[0], 1, 1, 3], seed, 1.0 - _COLOUR, 1.0 + _COLOUR)
    brightness, contrast, saturation = tf.split(factors, 3, axis=3)
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    # Contrast is between a pixel and the mean, saturation between a colour and its grey. All of a pixel is one product,
    # [pixels, 3] x [3, 3]: means over the three colours of each, one by one, took three times as long.
    colours = contrast * (saturation * tf.eye(3) + (1.0 - saturation) / 3.0)
    pixels = tf.matmul(tf.reshape(images, [shape[0], -1, 3]), tf.reshape(colours, [-1, 3, 3]))
    return tf.clip_by_value(tf.reshape(pixels, shape) + mean * (brightness - contrast), 0.0, 255.0)


def mixup(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Blends each example with another of the batch (mixup, Zhang et al. 2018, with a uniform share).

    Args:
        images: float32 [batch, height, width, 3].
        labels: float32 [batch, k].
        seed: int64 [2].
    """
    share = tf.random.stateless_uniform([tf.shape(images)[0], 1], seed, 0.0, _MIXUP)
    wide = share[:, :, tf.newaxis, tf.newaxis]
    # Not `images[::-1]`, which takes fifteen times as long as this.
    partners, their_labels = tf.reverse(images, [0]), tf.reverse(labels, [0])
    return images * (1.0 - wide) + partners * wide, labels * (1.0 - share) + their_labels * share


def change(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Changes the colours of a batch, and blends its examples.

    Args:
        images: uint8 [batch, height, width, 3].
        labels: float32 [batch, k].
        seed: int64 [2].

    Returns:
        images float32 [batch, height, width, 3], 0 to 255, and labels float32 [batch, k].
    """
    colour_seed, mixup_seed = tf.unstack(_split(seed, 2))
    return mixup(jitter_colour(tf.cast(images, tf.float32), colour_seed), labels, mixup_seed)


def _split(seed: tf.Tensor, num: int) -> tf.Tensor:
    return tf.random.experimental.stateless_split(seed, num)
