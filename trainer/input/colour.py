"""Random changes of the colours of images, and mixup, with explicit seeds: the same seed gives the same result.

Both work on a whole batch at a time, in the graph, after the images have been cropped (cropping.py).
"""

import tensorflow as tf

from schemas.example import UNKNOWN

_COLOUR = 0.2


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


def mixup(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, max_share: float, has_unknown: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blends each example with another of the batch (mixup, Zhang et al. 2018, with a uniform share).

    Args:
        images: float32 [batch, height, width, 3].
        labels: float32 [batch, k].
        seed: int64 [2].
        max_share: the largest share of the other example.
        has_unknown: whether labels may be UNKNOWN. A mixed label is known only if both labels are.
    """
    share = tf.random.stateless_uniform([tf.shape(images)[0], 1], seed, 0.0, max_share)
    wide = share[:, :, tf.newaxis, tf.newaxis]
    # Not `images[::-1]`, which takes fifteen times as long as this.
    partners, their_labels = tf.reverse(images, [0]), tf.reverse(labels, [0])
    mixed = labels * (1.0 - share) + their_labels * share
    if has_unknown:
        mixed = tf.where(tf.maximum(labels, their_labels) < UNKNOWN, mixed, UNKNOWN)
    return images * (1.0 - wide) + partners * wide, mixed


def change(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, mixup_share: float, has_unknown: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Changes the colours of a batch, and blends its examples if asked for.

    Args:
        images: uint8 [batch, height, width, 3].
        labels: float32 [batch, k].
        seed: int64 [2].
        mixup_share: the largest share of another example; 0: examples are not blended.
        has_unknown: whether labels may be UNKNOWN.

    Returns:
        images float32 [batch, height, width, 3], 0 to 255, and labels float32 [batch, k].
    """
    colour_seed, mixup_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    changed = jitter_colour(tf.cast(images, tf.float32), colour_seed)
    if not mixup_share:
        return changed, labels
    return mixup(changed, labels, mixup_seed, max_share=mixup_share, has_unknown=has_unknown)
