"""Random crops and flips lie within their images, and keep shapes, types and pixels."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.input import cropping

Seed = Callable[..., tf.Tensor]
Batch = Callable[[int], tuple[tf.Tensor, tf.Tensor]]
SIZE = 24


def _crop_and_flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    num = tf.shape(images)[0]
    return cropping.crop_and_resize(images, tf.range(num), cropping.random_crops(num, seed, min_area=0.3), SIZE)


def test_flip_mirrors_about_half_and_changes_nothing_else(seed_of: Seed, batch_of: Batch) -> None:
    images, _ = batch_of(64)
    crops = cropping.random_crops(64, seed_of(), min_area=None)
    flipped = 0
    for image, found in zip(images.numpy(), cropping.flip(images, tf.range(64), crops.mirrored).numpy(), strict=True):
        mirrored = np.array_equal(found, image[:, ::-1])
        assert mirrored != np.array_equal(found, image)
        flipped += mirrored
    assert 16 <= flipped <= 48


@pytest.mark.parametrize("chosen", [[], [3], [0, 1, 2], [4, 4, 0]])
def test_to_flip_is_to_cut_the_whole_image(seed_of: Seed, batch_of: Batch, chosen: list[int]) -> None:
    images, _ = batch_of(5)
    crops = cropping.random_crops(len(chosen), seed_of(), min_area=None)
    np.testing.assert_array_equal(
        cropping.flip(images, tf.constant(chosen, tf.int64), crops.mirrored),
        cropping.crop_and_resize(images, tf.constant(chosen, tf.int64), crops, SIZE),
    )


def _gradient(n: int, size: int) -> np.ndarray:
    """Images whose first channel is the column and whose second is the row, from 0 to 255."""
    line = np.linspace(0, 255, size).round().astype(np.uint8)
    column, row = np.meshgrid(line, line)
    return np.repeat(np.stack([column, row, np.full_like(row, 255)], axis=-1)[np.newaxis], n, axis=0)


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)))
def test_crops_are_boxes_within_the_picture(seed_of: Seed, seed: tuple[int, int]) -> None:
    crops = _crop_and_flip(tf.constant(_gradient(32, 2 * SIZE)), seed_of(*seed)).numpy().astype(float)
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


def test_crops_are_everywhere_and_mirrored_half_the_time(seed_of: Seed) -> None:
    crops = _crop_and_flip(tf.constant(_gradient(500, 2 * SIZE)), seed_of()).numpy().astype(float)
    centre = crops.mean(axis=(1, 2))[:, :2] / 255
    np.testing.assert_allclose(centre.mean(axis=0), 0.5, atol=0.03)
    assert np.all(np.std(centre, axis=0) > 0.05)
    mirrored = crops[:, 0, 0, 0] > crops[:, 0, -1, 0]
    assert 0.4 < mirrored.mean() < 0.6
    # None of them tells of another, as it would if all were drawn with one seed.
    width, height = np.ptp(crops[:, 0, :, 0], axis=1), np.ptp(crops[:, :, 0, 1], axis=1)
    drawn = np.corrcoef([np.log(width * height), np.log(width / height), *centre.T, mirrored])
    assert np.abs(drawn - np.eye(5)).max() < 0.2


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)),
    st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=20),
)
def test_windows_lie_within_their_images_and_are_where_they_were_drawn(
    seed_of: Seed, seed: tuple[int, int], shapes: list[tuple[int, int]]
) -> None:
    crops = cropping.random_crops(len(shapes), seed_of(*seed), min_area=0.3)
    windows, sizes = crops.windows(tf.constant(shapes)).numpy(), np.array(shapes)
    places, extents = windows[:, :2], windows[:, 2:]
    assert (places >= 0).all()
    assert (extents >= 1).all()
    assert (places + extents <= sizes).all()
    assert (np.abs(places - crops.place * sizes) <= 1.01).all()
    assert (np.abs(extents - crops.extent * sizes) <= 1.01).all()


def test_without_cropping_a_window_is_the_whole_image(seed_of: Seed) -> None:
    crops = cropping.random_crops(3, seed_of(), min_area=None)
    np.testing.assert_array_equal(
        crops.windows(tf.constant([[7, 5], [1, 1], [300, 400]])), [[0, 0, 7, 5], [0, 0, 1, 1], [0, 0, 300, 400]]
    )
