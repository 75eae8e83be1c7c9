"""Random operations on a batch of images, with explicit seeds: the same seed gives the same batch.

Whole batches are worked on at a time, by operations that run in the graph: one `crop_and_resize` crops, mirrors and
resizes all images of a batch, each in its own way.
"""

import tensorflow as tf

# Share of an image that a crop keeps at least, and the range of its aspect ratio: enough to vary the picture, not so
# much that what a label names is often cut away.
_MIN_AREA = 0.3
_MAX_LOG_ASPECT = 0.2877  # ln(4/3)
_COLOUR = 0.2
_MIXUP = 0.4


def crop_and_flip(images: tf.Tensor, seed: tf.Tensor, size: int, *, crop: bool = True) -> tf.Tensor:
    """Cuts a random part out of each image and mirrors half of them.

    Args:
        images: [batch, height, width, channels], any numeric dtype.
        seed: int64 [2].
        size: height and width of the result, pixels.
        crop: whether to cut; otherwise whole images are resized.

    Returns:
        float32 [batch, size, size, channels].
    """
    batch = tf.shape(images)[0]
    area_seed, aspect_seed, place_seed, flip_seed = tf.unstack(_split(seed, 4))
    if crop:
        area = tf.random.stateless_uniform([batch], area_seed, _MIN_AREA, 1.0)
        aspect = tf.exp(tf.random.stateless_uniform([batch], aspect_seed, -_MAX_LOG_ASPECT, _MAX_LOG_ASPECT))
        height, width = tf.minimum(tf.sqrt(area / aspect), 1.0), tf.minimum(tf.sqrt(area * aspect), 1.0)
    else:
        height = width = tf.ones([batch])
    place = tf.random.stateless_uniform([batch, 2], place_seed)
    top, left = place[:, 0] * (1.0 - height), place[:, 1] * (1.0 - width)
    flip = tf.random.stateless_uniform([batch], flip_seed) < 0.5
    # A box whose left edge lies right of its right edge mirrors what it cuts out.
    first, last = tf.where(flip, left + width, left), tf.where(flip, left, left + width)
    boxes = tf.stack([top, first, top + height, last], axis=1)
    return tf.image.crop_and_resize(images, boxes, tf.range(batch), [size, size])


def jitter_colour(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation of each image by up to a fifth.

    Args:
        images: float32 [batch, height, width, 3], 0 to 255.
        seed: int64 [2].

    Returns:
        The same shape and range.
    """
    factors = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 3], seed, 1.0 - _COLOUR, 1.0 + _COLOUR)
    brightness, contrast, saturation = factors[..., :1], factors[..., 1:2], factors[..., 2:]
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    images = (images - mean) * contrast + mean * brightness
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    return tf.clip_by_value((images - grey) * saturation + grey, 0.0, 255.0)


def mixup(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Blends each example with another of the batch (mixup, Zhang et al. 2018, with a uniform share).

    Args:
        images: float32 [batch, height, width, 3].
        labels: float32 [batch, k].
        seed: int64 [2].
    """
    share = tf.random.stateless_uniform([tf.shape(images)[0], 1], seed, 0.0, _MIXUP)
    wide = share[:, :, tf.newaxis, tf.newaxis]
    return images * (1.0 - wide) + images[::-1] * wide, labels * (1.0 - share) + labels[::-1] * share


def augment(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, kind: str, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Augments a batch.

    Args:
        images: uint8 [batch, height, width, 3].
        labels: float32 [batch, k].
        seed: int64 [2].
        kind: `flip` or `full`, see TrainConfig.
        size: height and width of the result, pixels.

    Returns:
        images float32 [batch, size, size, 3], 0 to 255, and labels float32 [batch, k].
    """
    crop_seed, colour_seed, mixup_seed = tf.unstack(_split(seed, 3))
    images = crop_and_flip(images, crop_seed, size, crop=kind == "full")
    if kind == "full":
        images, labels = mixup(jitter_colour(images, colour_seed), labels, mixup_seed)
    return images, labels


def _split(seed: tf.Tensor, num: int) -> tf.Tensor:
    return tf.random.experimental.stateless_split(seed, num)
