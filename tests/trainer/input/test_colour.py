"""Random colours and mixup change pixels and labels within their limits, and keep shapes and ranges."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.input import colour

Seed = Callable[..., tf.Tensor]
Batch = Callable[[int], tuple[tf.Tensor, tf.Tensor]]
SIZE = 24
K = 3


def test_colour_keeps_flat_grey_grey_and_places_apart(seed_of: Seed, batch_of: Batch) -> None:
    grey = tf.fill([16, SIZE, SIZE, 3], 100.0)
    found = colour.jitter_colour(grey, seed_of()).numpy()
    assert np.ptp(found.reshape(16, -1), axis=1).max() < 0.01
    assert 75 < found.min() < 95 < 105 < found.max() < 125
    # The brighter of two pixels stays the brighter one.
    images = tf.cast(batch_of(8)[0], tf.float32)
    order = np.corrcoef(
        tf.reduce_mean(images, -1).numpy().ravel(), colour.jitter_colour(images, seed_of()).numpy().mean(-1).ravel()
    )
    assert order[0, 1] > 0.9


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)))
def test_mixup_blends_labels_as_it_blends_images(seed_of: Seed, batch_of: Batch, n: int, seed: tuple[int, int]) -> None:
    images, labels = batch_of(n)
    images = tf.cast(images, tf.float32)
    mixed_images, mixed_labels = colour.mixup(images, labels, seed_of(*seed), max_share=0.4)
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


def test_mixup_conserves_label_mass(seed_of: Seed) -> None:
    labels = tf.one_hot([0, 1, 2, 0, 1], K)
    mixed = colour.mixup(tf.zeros([5, 2, 2, 3]), labels, seed_of(), max_share=0.4)[1].numpy()
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    assert np.all(mixed.argmax(axis=1) == [0, 1, 2, 0, 1]), "an example no longer has its own label most of all"


def test_labels_are_blended_with_their_images(seed_of: Seed, batch_of: Batch) -> None:
    images, labels = batch_of(8)
    assert not np.array_equal(colour.change(images, labels, seed_of(), mixup_share=0.4)[1], labels)
