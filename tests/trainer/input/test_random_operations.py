"""Random changes of batches, by cropping.py and colour.py: a seed repeats them, and shapes and labels are kept."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from trainer.input import colour, cropping

Seed = Callable[..., tf.Tensor]
Batch = Callable[[int], tuple[tf.Tensor, tf.Tensor]]
SIZE = 24
K = 3
Operation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def _crop_and_flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    num = tf.shape(images)[0]
    return cropping.crop_and_resize(images, tf.range(num), cropping.random_crops(num, seed, min_area=0.3), SIZE)


def _crop(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return _crop_and_flip(images, seed), labels


def _flip(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    num = tf.shape(images)[0]
    return cropping.flip(images, tf.range(num), cropping.random_crops(num, seed, min_area=None).mirrored), labels


def _colour(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return colour.jitter_colour(tf.cast(images, tf.float32), seed), labels


def _mixup(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return colour.mixup(tf.cast(images, tf.float32), labels, seed, max_share=0.4)


def _change(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return colour.change(images, labels, seed, mixup_share=0.4)


OPERATIONS = [
    pytest.param(_crop, id="crop and flip"),
    pytest.param(_flip, id="flip"),
    pytest.param(_colour, id="colour"),
    pytest.param(_mixup, id="mixup"),
    pytest.param(_change, id="colour and mixup"),
]


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_seed_gives_the_same_batch_eagerly_and_in_a_pipeline(
    seed_of: Seed, batch_of: Batch, operation: Operation, n: int
) -> None:
    images, labels = batch_of(n)
    eager = operation(images, labels, seed_of())
    pipeline = tf.data.Dataset.from_tensors((images, labels, seed_of())).repeat(2).map(operation, num_parallel_calls=2)
    for found in pipeline:
        for expected, tensor in zip(eager, found, strict=True):
            np.testing.assert_allclose(tensor, expected, atol=1e-4)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_other_seeds_give_other_batches(seed_of: Seed, batch_of: Batch, operation: Operation) -> None:
    images, labels = batch_of(16)
    batches = {operation(images, labels, seed_of(0, i))[0].numpy().tobytes() for i in range(8)}
    batches |= {operation(images, labels, seed_of(i, 0))[0].numpy().tobytes() for i in range(8)}
    assert len(batches) == 15  # (0, 0) is among both.


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_shapes_dtypes_and_ranges_are_kept(seed_of: Seed, batch_of: Batch, operation: Operation, n: int) -> None:
    images, labels = operation(*batch_of(n), seed_of())
    assert images.shape == (n, SIZE, SIZE, 3)
    assert images.dtype == (tf.uint8 if operation in (_crop, _flip) else tf.float32)
    assert tf.reduce_min(images).numpy() >= 0
    assert tf.reduce_max(images).numpy() <= 255
    assert labels.shape == (n, K)
    assert labels.dtype == tf.float32
    assert 0 <= tf.reduce_min(labels).numpy() <= tf.reduce_max(labels).numpy() <= 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_batch_of_any_number_is_one_graph(seed_of: Seed, batch_of: Batch, operation: Operation) -> None:
    traced = tf.function(
        operation,
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8),
            tf.TensorSpec([None, K], tf.float32),
            tf.TensorSpec([2], tf.int64),
        ],
    )
    for n in (1, 4):
        np.testing.assert_allclose(traced(*batch_of(n), seed_of())[0], operation(*batch_of(n), seed_of())[0], atol=1e-4)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_examples_are_treated_each_in_its_own_way(seed_of: Seed, batch_of: Batch, operation: Operation) -> None:
    images, labels = batch_of(1)
    same = operation(tf.repeat(images, 32, axis=0), tf.repeat(labels, 32, axis=0), seed_of())[0].numpy()
    different = len({image.tobytes() for image in same})
    if operation is _flip:
        assert different == 2
    elif operation is _mixup:  # An image that is blended with itself, but for rounding.
        np.testing.assert_allclose(same, np.repeat(images.numpy(), 32, axis=0), atol=1e-3)
    else:
        assert different == 32


@pytest.mark.parametrize("operation", [_crop, _flip, _colour])
def test_labels_stay_with_their_images(seed_of: Seed, operation: Operation) -> None:
    level = np.arange(10, dtype=np.float32)
    images = tf.constant(np.broadcast_to((level * 25)[:, None, None, None], (10, SIZE, SIZE, 3)).astype(np.uint8))
    found, labels = operation(images, tf.constant(level[:, None]), seed_of())
    np.testing.assert_array_equal(labels.numpy()[:, 0], level)
    assert np.all(np.diff(found.numpy().mean(axis=(1, 2, 3))) > 0) or operation is _colour
    assert np.corrcoef(found.numpy().mean(axis=(1, 2, 3)), level)[0, 1] > 0.95
