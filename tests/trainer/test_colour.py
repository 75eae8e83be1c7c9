"""Random colours and mixup change pixels and labels within their limits, and keep shapes and ranges."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import colour

SIZE = 24
K = 3


def _seed(*numbers: int) -> tf.Tensor:
    return tf.constant(numbers or (1, 2), tf.int64)


def _batch(n: int, size: int = SIZE) -> tuple[tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return tf.constant(images), tf.constant(rng.integers(0, 2, (n, K)).astype(np.float32))


def test_colour_keeps_flat_grey_grey_and_places_apart() -> None:
    grey = tf.fill([16, SIZE, SIZE, 3], 100.0)
    found = colour.jitter_colour(grey, _seed()).numpy()
    assert np.ptp(found.reshape(16, -1), axis=1).max() < 0.01
    assert 75 < found.min() < 95 < 105 < found.max() < 125
    # The brighter of two pixels stays the brighter one.
    images = tf.cast(_batch(8)[0], tf.float32)
    order = np.corrcoef(
        tf.reduce_mean(images, -1).numpy().ravel(), colour.jitter_colour(images, _seed()).numpy().mean(-1).ravel()
    )
    assert order[0, 1] > 0.9


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)))
def test_mixup_blends_labels_as_it_blends_images(n: int, seed: tuple[int, int]) -> None:
    images, labels = _batch(n)
    images = tf.cast(images, tf.float32)
    mixed_images, mixed_labels = colour.mixup(images, labels, _seed(*seed))
    # The share of each label mass that was given to the partner: the same for the pixels.
    for i in range(n):
        partner = n - 1 - i
        direction = (images[partner] - images[i]).numpy().ravel()
        if not direction.any():
            continue
        share = (mixed_images[i] - images[i]).numpy().ravel() @ direction / (direction @ direction)
        assert -0.001 <= share <= 0.5, "the partner weighs more than the example itself"
        expected = labels[i] * (1 - share) + labels[partner] * share
        np.testing.assert_allclose(mixed_labels[i], expected, atol=1e-3)


def test_mixup_conserves_label_mass() -> None:
    labels = tf.one_hot([0, 1, 2, 0, 1], K)
    mixed = colour.mixup(tf.zeros([5, 2, 2, 3]), labels, _seed())[1].numpy()
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    assert np.all(mixed.argmax(axis=1) == [0, 1, 2, 0, 1]), "an example no longer has its own label most of all"


def test_labels_are_blended_with_their_images() -> None:
    images, labels = _batch(8)
    assert not np.array_equal(colour.jitter_and_mix(images, labels, _seed())[1], labels)
