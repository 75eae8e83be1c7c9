"""Cropped and reduced images have the pixels of the whole image, and labels keep their order."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from schemas import example
from trainer.input.cropping import Crops
from trainer.input.decoding import Decoder

Box = tuple[float, float, float, float]  # Top, left, height, width, relative to the image.
LABELS = b"\1\0\1"


def _picture(height: int, width: int) -> Image.Image:
    """A smooth picture, of which any part tells where it was cut."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = 127 + 60 * np.sin(4 * rows + 2 * columns)
    return Image.fromarray(np.stack([255 * columns, 255 * rows, waves], axis=-1).astype(np.uint8))


def _record(picture: Image.Image, image_format: str, labels: bytes = LABELS) -> bytes:
    file = io.BytesIO()
    picture.save(file, image_format, **({"quality": 95, "subsampling": 0} if image_format == "JPEG" else {}))
    return example.encode(
        image=file.getvalue(), height=picture.height, width=picture.width, labels=labels, filename="a"
    )


def _decoder(size: int, *, exact: bool = False, all_jpeg: bool = False, labels: Sequence[int] = (0, 1, 2)) -> Decoder:
    return Decoder(num_classes=3, labels=tuple(labels), all_jpeg=all_jpeg, size=size, exact=exact)


def _crops(*boxes: Box, mirrored: bool = False) -> Crops:
    array = np.array(boxes, np.float32)
    return Crops(tf.constant(array[:, :2]), tf.constant(array[:, 2:]), tf.fill([len(boxes)], mirrored))


def _expected(
    picture: Image.Image, size: int, box: tuple[float, float, float, float] = (0, 0, 1, 1)
) -> NDArray[np.int_]:
    top, left, height, width = box
    edges = (
        left * picture.width,
        top * picture.height,
        (left + width) * picture.width,
        (top + height) * picture.height,
    )
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=edges), int)


SIZES = [(40, 30), (64, 64), (100, 333), (257, 255), (640, 480), (37, 2000)]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP"])
@pytest.mark.parametrize("size", [8, 33, 64])
def test_every_image_comes_out_whole_at_the_size(size: int, image_format: str, exact: bool) -> None:
    pictures = [_picture(*shape) for shape in SIZES]
    images, labels = _decoder(size, exact=exact)(tf.constant([_record(one, image_format) for one in pictures]))
    assert images.shape == (len(SIZES), size, size, 3)
    assert images.dtype == tf.uint8
    np.testing.assert_array_equal(labels, [[1, 0, 1]] * len(SIZES))
    for picture, image in zip(pictures, images.numpy(), strict=True):
        difference = np.abs(image - _expected(picture, size))
        # Smooth as it is, whatever filter makes it smaller gives nearly the same.
        assert difference.mean() < 6, picture.size
        assert np.abs((image - _expected(picture, size)).mean()) < 2, picture.size


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("exact", [False, True])
@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(40, 700), st.integers(40, 700)),
    box=st.tuples(*[st.floats(0, 1) for _ in range(4)]),
    mirrored=st.booleans(),
)
def test_a_crop_is_that_part_of_the_image(
    image_format: str, exact: bool, shape: tuple[int, int], box: Box, mirrored: bool
) -> None:
    height, width = 0.3 + 0.7 * box[2], 0.3 + 0.7 * box[3]
    part = (box[0] * (1 - height), box[1] * (1 - width), height, width)
    picture, size = _picture(*shape), 24
    records = tf.constant([_record(picture, image_format)])
    image = _decoder(size, exact=exact, all_jpeg=image_format == "JPEG")(records, _crops(part, mirrored=mirrored))[0][
        0
    ].numpy()
    if mirrored:
        image = image[:, ::-1]
    # Edges fall on pixels, of an image that may have been reduced: up to one of 20 off, a twentieth of the range.
    assert np.abs(image - _expected(picture, size, part)).mean() < 8


def test_mirrored_is_the_mirror_image() -> None:
    records = tf.constant([_record(_picture(90, 70), "JPEG")] * 2)
    crops = Crops(tf.zeros([2, 2]), tf.ones([2, 2]), tf.constant([False, True]))
    straight, mirrored = _decoder(16)(records, crops)[0].numpy()
    np.testing.assert_allclose(straight[:, ::-1].astype(int), mirrored, atol=1)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("size", [16, 32])
def test_a_crop_of_all_is_the_whole_image(shape: tuple[int, int], size: int) -> None:
    records = tf.constant([_record(_picture(*shape), "JPEG")])
    whole, cropped = (_decoder(size)(records, crops)[0] for crops in (None, _crops((0, 0, 1, 1))))
    np.testing.assert_allclose(tf.cast(whole, tf.int32), tf.cast(cropped, tf.int32), atol=1)


def test_where_nothing_can_be_left_out_scaled_is_exact_but_for_the_filter() -> None:
    """An image of the size that is asked for is not touched by any filter."""
    records = tf.constant([_record(_picture(48, 48), "JPEG")])
    np.testing.assert_array_equal(_decoder(48)(records)[0], _decoder(48, exact=True)(records)[0])


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_reduced_images_are_those_of_libjpeg(ratio: int) -> None:
    record = _record(_picture(40 * ratio, 40 * ratio), "JPEG")
    data = tf.io.parse_single_example(record, example.parse_spec(3, [example.IMAGE]))[example.IMAGE]
    expected = tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
    np.testing.assert_array_equal(_decoder(40)(tf.constant([record]))[0][0], expected)
    full = tf.image.resize(tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"), [40, 40], antialias=True)
    assert not np.array_equal(np.round(full), expected)


def test_labels_are_chosen_and_put_in_order() -> None:
    records = tf.constant([_record(_picture(9, 9), "PNG", labels) for labels in (b"\1\0\0", b"\0\1\0")])
    _, labels = _decoder(8, labels=(2, 0))(records)
    np.testing.assert_array_equal(labels, [[0, 1], [0, 0]])
    assert labels.dtype == tf.float32


def test_formats_may_be_mixed() -> None:
    picture = _picture(60, 80)
    images, _ = _decoder(20)(tf.constant([_record(picture, name) for name in ("JPEG", "PNG", "GIF", "BMP", "JPEG")]))
    for image in images.numpy():
        assert np.abs(image - _expected(picture, 20)).mean() < 6  # GIF has 256 colours.


def _square(picture: Image.Image, resize: str) -> Image.Image:
    """Returns the square that an image becomes, by Pillow, as large as one of its sides."""
    width, height = picture.size
    side = min(picture.size) if resize == "crop" else max(picture.size)
    # Both cut where the image is larger, and add black where it is smaller.
    square = Image.new("RGB", (side, side))
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    return square


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [8, 33, 64])
@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_shapes_of_objects_are_kept(resize: str, size: int, image_format: str, exact: bool) -> None:
    pictures = [_picture(*shape) for shape in SIZES[:-1]]
    records = tf.constant([_record(one, image_format) for one in pictures])
    decoder = dataclasses.replace(_decoder(size, exact=exact), resize=resize)
    images, _ = decoder(records)
    assert images.shape == (len(pictures), size, size, 3)
    for picture, image in zip(pictures, images.numpy(), strict=True):
        expected = _expected(_square(picture, resize), size)
        # Pillow blends the picture and a bar where the edge lies within a pixel: an eighth of the smallest images.
        assert np.abs(image - expected).mean() < (6 if resize == "crop" else 6 + 48 / size), picture.size
        bars = np.array(_square(Image.new("RGB", picture.size, "white"), resize).resize((size, size), Image.BOX))
        np.testing.assert_array_equal(image[bars.max(axis=-1) == 0], 0)
    # In a pipeline, pixels are the same.
    [(found, _)] = tf.data.Dataset.from_tensors(records).map(decoder)
    np.testing.assert_array_equal(found, images)
    jpegs = dataclasses.replace(decoder, all_jpeg=True)
    if image_format == "JPEG":
        np.testing.assert_array_equal(jpegs(records)[0], images)


@pytest.mark.parametrize("resize", ["crop", "pad"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_crops_of_originals_keep_the_shapes_of_objects(mirrored: bool, resize: str) -> None:
    picture, part = _picture(300, 420), (0.25, 0.5, 0.5, 0.25)
    decoder = dataclasses.replace(_decoder(24), resize=resize)
    image = decoder(tf.constant([_record(picture, "JPEG")]), _crops(part, mirrored=mirrored))[0][0].numpy()
    if mirrored:
        image = image[:, ::-1]
    whole = _square(picture, "crop") if resize == "crop" else picture
    top, left, height, width = (
        round(share * side) for share, side in zip(part, (whole.height, whole.width) * 2, strict=True)
    )
    window = whole.crop((left, top, left + width, top + height))
    expected = _expected(_square(window, "pad") if resize == "pad" else window, 24)
    assert np.abs(image - expected).mean() < 9


def test_what_fits_already_is_the_same_in_all_ways() -> None:
    records = tf.constant([_record(_picture(64, 64), "JPEG"), _record(_picture(300, 300), "JPEG")])
    stretched, *others = (
        dataclasses.replace(_decoder(32), resize=resize)(records)[0] for resize in ("stretch", "crop", "pad")
    )
    for other in others:
        np.testing.assert_allclose(tf.cast(other, tf.int32), tf.cast(stretched, tf.int32), atol=1)
