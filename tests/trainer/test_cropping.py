"""Random operations on batches: what they may change, what they must keep, and that a seed repeats them."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import cropping

SIZE = 24
K = 3
Operation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def _crop_and_flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    num = tf.shape(images)[0]
    return cropping.cut(images, tf.range(num), cropping.random_crops(num, seed, crop=True), SIZE)


def _crop(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return _crop_and_flip(images, seed), labels


def _flip(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    num = tf.shape(images)[0]
    return cropping.flip(images, tf.range(num), cropping.random_crops(num, seed, crop=False).mirrored), labels


def _colour(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return cropping.jitter_colour(tf.cast(images, tf.float32), seed), labels


def _mixup(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return cropping.mixup(tf.cast(images, tf.float32), labels, seed)


def _change(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return cropping.change(images, labels, seed)


OPERATIONS = [
    pytest.param(_crop, id="crop and flip"),
    pytest.param(_flip, id="flip"),
    pytest.param(_colour, id="colour"),
    pytest.param(_mixup, id="mixup"),
    pytest.param(_change, id="colour and mixup"),
]


def _seed(*numbers: int) -> tf.Tensor:
    return tf.constant(numbers or (1, 2), tf.int64)


def _batch(n: int, size: int = SIZE) -> tuple[tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return tf.constant(images), tf.constant(rng.integers(0, 2, (n, K)).astype(np.float32))


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_seed_gives_the_same_batch_eagerly_and_in_a_pipeline(operation: Operation, n: int) -> None:
    images, labels = _batch(n)
    eager = operation(images, labels, _seed())
    pipeline = tf.data.Dataset.from_tensors((images, labels, _seed())).repeat(2).map(operation, num_parallel_calls=2)
    for found in pipeline:
        for expected, tensor in zip(eager, found, strict=True):
            np.testing.assert_allclose(tensor, expected, atol=1e-4)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_other_seeds_give_other_batches(operation: Operation) -> None:
    images, labels = _batch(16)
    batches = {operation(images, labels, _seed(0, i))[0].numpy().tobytes() for i in range(8)}
    batches |= {operation(images, labels, _seed(i, 0))[0].numpy().tobytes() for i in range(8)}
    assert len(batches) == 15  # (0, 0) is among both.


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_shapes_dtypes_and_ranges_are_kept(operation: Operation, n: int) -> None:
    images, labels = operation(*_batch(n), _seed())
    assert images.shape == (n, SIZE, SIZE, 3)
    assert images.dtype == (tf.uint8 if operation in (_crop, _flip) else tf.float32)
    assert tf.reduce_min(images).numpy() >= 0
    assert tf.reduce_max(images).numpy() <= 255
    assert labels.shape == (n, K)
    assert labels.dtype == tf.float32
    assert 0 <= tf.reduce_min(labels).numpy() <= tf.reduce_max(labels).numpy() <= 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_batch_of_any_number_is_one_graph(operation: Operation) -> None:
    traced = tf.function(
        operation,
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8),
            tf.TensorSpec([None, K], tf.float32),
            tf.TensorSpec([2], tf.int64),
        ],
    )
    for n in (1, 4):
        np.testing.assert_allclose(traced(*_batch(n), _seed())[0], operation(*_batch(n), _seed())[0], atol=1e-4)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_examples_are_treated_each_in_its_own_way(operation: Operation) -> None:
    images, labels = _batch(1)
    same = operation(tf.repeat(images, 32, axis=0), tf.repeat(labels, 32, axis=0), _seed())[0].numpy()
    different = len({image.tobytes() for image in same})
    if operation is _flip:
        assert different == 2
    elif operation is _mixup:  # An image that is blended with itself, but for rounding.
        np.testing.assert_allclose(same, np.repeat(images.numpy(), 32, axis=0), atol=1e-3)
    else:
        assert different == 32


def test_flip_mirrors_about_half_and_changes_nothing_else() -> None:
    images, _ = _batch(64)
    flipped = 0
    for image, found in zip(images.numpy(), _flip(images, images, _seed())[0].numpy(), strict=True):
        mirrored = np.array_equal(found, image[:, ::-1])
        assert mirrored != np.array_equal(found, image)
        flipped += mirrored
    assert 16 <= flipped <= 48


@pytest.mark.parametrize("chosen", [[], [3], [0, 1, 2], [4, 4, 0]])
def test_to_flip_is_to_cut_the_whole_image(chosen: list[int]) -> None:
    images, _ = _batch(5)
    crops = cropping.random_crops(len(chosen), _seed(), crop=False)
    np.testing.assert_array_equal(
        cropping.flip(images, tf.constant(chosen, tf.int64), crops.mirrored),
        cropping.cut(images, tf.constant(chosen, tf.int64), crops, SIZE),
    )


def _gradient(n: int, size: int) -> np.ndarray:
    """Images whose first channel is the column and whose second is the row, from 0 to 255."""
    line = np.linspace(0, 255, size).round().astype(np.uint8)
    column, row = np.meshgrid(line, line)
    return np.repeat(np.stack([column, row, np.full_like(row, 255)], axis=-1)[np.newaxis], n, axis=0)


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)))
def test_crops_are_boxes_within_the_picture(seed: tuple[int, int]) -> None:
    crops = _crop_and_flip(tf.constant(_gradient(32, 2 * SIZE)), _seed(*seed)).numpy().astype(float)
    np.testing.assert_array_equal(crops[..., 2], 255)
    columns, rows = crops[:, :1, :, 0], crops[:, :, :1, 1]
    np.testing.assert_allclose(crops[..., 0], np.repeat(columns, SIZE, axis=1), atol=1)
    np.testing.assert_allclose(crops[..., 1], np.repeat(rows, SIZE, axis=2), atol=1)
    steps = np.diff(columns[:, 0], axis=1)
    assert np.all((steps > 0).all(axis=1) | (steps < 0).all(axis=1))
    assert np.all(np.diff(rows[:, :, 0], axis=1) > 0), "upside down"
    width, height = np.ptp(columns, axis=(1, 2)) / 255, np.ptp(rows, axis=(1, 2)) / 255
    area = width * height
    assert np.all(area > 0.2)
    assert np.all(area <= 1.001)
    assert area.min() < 0.8, "hardly cropped"
    assert np.all(np.abs(np.log(width / height)) < np.log(2)), "distorted"


def test_crops_are_everywhere_and_mirrored_half_the_time() -> None:
    crops = _crop_and_flip(tf.constant(_gradient(500, 2 * SIZE)), _seed()).numpy().astype(float)
    centre = crops.mean(axis=(1, 2))[:, :2] / 255
    np.testing.assert_allclose(centre.mean(axis=0), 0.5, atol=0.03)
    assert np.all(np.std(centre, axis=0) > 0.05)
    mirrored = crops[:, 0, 0, 0] > crops[:, 0, -1, 0]
    assert 0.4 < mirrored.mean() < 0.6
    # None of them tells of another, as it would if all were drawn with one seed.
    width, height = np.ptp(crops[:, 0, :, 0], axis=1), np.ptp(crops[:, :, 0, 1], axis=1)
    drawn = np.corrcoef([np.log(width * height), np.log(width / height), *centre.T, mirrored])
    assert np.abs(drawn - np.eye(5)).max() < 0.2


def test_colour_keeps_flat_grey_grey_and_places_apart() -> None:
    grey = tf.fill([16, SIZE, SIZE, 3], 100.0)
    found = cropping.jitter_colour(grey, _seed()).numpy()
    assert np.ptp(found.reshape(16, -1), axis=1).max() < 0.01
    assert 75 < found.min() < 95 < 105 < found.max() < 125
    # Which of two pixels is the brighter one does not change.
    images = tf.cast(_batch(8)[0], tf.float32)
    order = np.corrcoef(
        tf.reduce_mean(images, -1).numpy().ravel(), cropping.jitter_colour(images, _seed()).numpy().mean(-1).ravel()
    )
    assert order[0, 1] > 0.9


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)))
def test_mixup_blends_labels_as_it_blends_images(n: int, seed: tuple[int, int]) -> None:
    images, labels = _batch(n)
    images = tf.cast(images, tf.float32)
    mixed_images, mixed_labels = cropping.mixup(images, labels, _seed(*seed))
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
    mixed = cropping.mixup(tf.zeros([5, 2, 2, 3]), labels, _seed())[1].numpy()
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    assert np.all(mixed.argmax(axis=1) == [0, 1, 2, 0, 1]), "an example no longer has its own label most of all"


@pytest.mark.parametrize("operation", [_crop, _flip, _colour])
def test_labels_stay_with_their_images(operation: Operation) -> None:
    level = np.arange(10, dtype=np.float32)
    images = tf.constant(np.broadcast_to((level * 25)[:, None, None, None], (10, SIZE, SIZE, 3)).astype(np.uint8))
    found, labels = operation(images, tf.constant(level[:, None]), _seed())
    np.testing.assert_array_equal(labels.numpy()[:, 0], level)
    assert np.all(np.diff(found.numpy().mean(axis=(1, 2, 3))) > 0) or operation is _colour
    assert np.corrcoef(found.numpy().mean(axis=(1, 2, 3)), level)[0, 1] > 0.95


def test_labels_are_blended_with_their_images() -> None:
    images, labels = _batch(8)
    assert not np.array_equal(_change(images, labels, _seed())[1], labels)


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)),
    st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=20),
)
def test_windows_lie_within_their_images_and_are_where_they_were_drawn(
    seed: tuple[int, int], shapes: list[tuple[int, int]]
) -> None:
    crops = cropping.random_crops(len(shapes), _seed(*seed), crop=True)
    windows, sizes = crops.windows(tf.constant(shapes)).numpy(), np.array(shapes)
    places, extents = windows[:, :2], windows[:, 2:]
    assert (places >= 0).all()
    assert (extents >= 1).all()
    assert (places + extents <= sizes).all()
    assert (np.abs(places - crops.place * sizes) <= 1.01).all()
    assert (np.abs(extents - crops.extent * sizes) <= 1.01).all()


def test_without_cropping_a_window_is_the_whole_image() -> None:
    crops = cropping.random_crops(3, _seed(), crop=False)
    np.testing.assert_array_equal(
        crops.windows(tf.constant([[7, 5], [1, 1], [300, 400]])), [[0, 0, 7, 5], [0, 0, 1, 1], [0, 0, 300, 400]]
    )
