"""Images of 16 bits: all parts show the upper 8, and what these do not show is rejected or rescaled."""

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from converter.rejects import Reason
from converter.report import pictures
from multihot.errors import UserError
from multihot.images import decoders, prove
from multihot.images.headers import ImageError
from multihot.images.prove import Preparation
from schemas import example
from trainer.input.decoding import Decoder

Draw = Callable[..., bytes]

_PREPARATION = Preparation(max_pixels=10**6)
_RESCALING = Preparation(max_pixels=10**6, rescale_16bit=True)


def _png(values: NDArray[np.integer], channels: int) -> bytes:
    """Returns a PNG of 16 bits, from one channel (grey) to four (colours with alpha), with these values in each."""
    samples = np.repeat(values.astype(np.uint16)[..., None], channels, axis=-1)
    if channels in (2, 4):
        samples[..., -1] = 65535  # Values of alpha are not counted.
    # `encode_png` of TensorFlow writes all four kinds.
    return bytes(tf.io.encode_png(samples).numpy())


def _values(lowest: int, highest: int) -> NDArray[np.int64]:
    values = np.rint(np.linspace(lowest, highest, 48 * 32)).astype(np.int64).reshape(32, 48)
    assert (values.min(), values.max()) == (lowest, highest)
    return values


def _trained(data: bytes) -> NDArray[np.uint8]:
    record = example.encode(image=data, height=0, width=0, labels=[1], filename="a")
    pixels, _ = Decoder(num_classes=1, labels=(0,), all_jpeg=False, size=32, exact=True)(tf.constant([record]))
    return np.asarray(pixels[0])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("lowest", "highest"), [(0, 65535), (0, 8192), (60000, 65535), (0, 0), (300, 300), (4095, 4095)]
)
def test_all_parts_see_the_upper_bits(channels: int, lowest: int, highest: int) -> None:
    values = _values(lowest, highest) if lowest != highest else np.full((32, 32), lowest)
    data = _png(values, channels)
    image = prove.prepare(data, _PREPARATION)
    assert (image.data, image.format, image.rescaled) == (data, "png", False)
    expected = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(tf.io.decode_image(data, channels=3), expected)
    np.testing.assert_array_equal(prove.decode(data, "png"), expected)
    np.testing.assert_array_equal(image.grey, expected[..., 0])
    assert prove.size(data, 10**6) == values.shape
    uri = pictures.thumbnail(data)
    small = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))
    assert np.abs(small.astype(int) - expected).mean() < 2
    if values.shape == (32, 32):
        np.testing.assert_array_equal(_trained(data), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("highest", "level"), [(8191, 31), (4095, 15), (1023, 3), (255, 0), (1, 0)])
def test_values_of_few_bits_are_rejected_with_what_to_do(channels: int, highest: int, level: int) -> None:
    with pytest.raises(ImageError) as caught:
        prove.prepare(_png(_values(0, highest), channels), _PREPARATION)
    assert caught.value.args == (
        Reason.UNSUPPORTED_FORMAT,
        f"16 bits of which the upper ones are not used: its largest value is {highest} of 65535, so that training "
        f"would see levels up to {level} of 255. Map the values of each image to 0 to 255 by --rescale_16bit, or save "
        "the image with 8 bits",
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("lowest", "highest"), [(0, 4095), (1000, 1255), (0, 1), (0, 65535), (60000, 65535)])
def test_rescaled_images_have_the_whole_range_in_8_bits(channels: int, lowest: int, highest: int) -> None:
    values = _values(lowest, highest)
    image = prove.prepare(_png(values, channels), _RESCALING)
    assert (image.format, image.height, image.width, image.rescaled) == ("png", 32, 48, True)
    with Image.open(io.BytesIO(image.data)) as stored:
        assert stored.mode == "L"  # All channels are equal.
        pixels = np.asarray(stored)
    np.testing.assert_array_equal(pixels, np.rint((values - lowest) * (255 / (highest - lowest))))
    np.testing.assert_array_equal(image.grey, pixels)


def test_colours_are_rescaled_together() -> None:
    samples = np.zeros((10, 10, 3), np.uint16)
    samples[..., 0], samples[:5, :, 1] = 4000, 2000
    image = prove.prepare(bytes(tf.io.encode_png(samples).numpy()), _RESCALING)
    with Image.open(io.BytesIO(image.data)) as stored:
        assert (stored.mode, stored.getpixel((0, 0)), stored.getpixel((0, 9))) == ("RGB", (255, 128, 0), (255, 0, 0))


@pytest.mark.parametrize("value", [0, 300, 65535])
def test_an_image_of_one_value_stays_as_it_is(value: int) -> None:
    data = _png(np.full((32, 48), value), 1)
    for preparation in (_PREPARATION, _RESCALING):
        image = prove.prepare(data, preparation)
        assert (image.data, image.rescaled) == (data, False)


def test_images_of_8_bits_are_not_rescaled(draw: Draw) -> None:
    for file_format, mode in (("PNG", "L"), ("PNG", "RGB"), ("PNG", "P"), ("JPEG", "RGB"), ("WEBP", "RGB")):
        data = draw(file_format=file_format, mode=mode)
        image = prove.prepare(data, _RESCALING)
        assert (image.data, image.rescaled) == (data, False)


def test_a_rescaled_image_is_resized_too() -> None:
    image = prove.prepare(
        _png(_values(0, 4095), 1), Preparation(max_pixels=10**6, rescale_16bit=True, resize_shorter=16)
    )
    assert (image.height, image.width, image.rescaled, image.resized) == (16, 24, True, True)
    assert image.grey.max() > 250


def test_damage_is_damage_in_16_bits_as_well() -> None:
    data = _png(_values(0, 65535), 3)
    with pytest.raises(ImageError) as caught:
        prove.prepare(data[:-60], _PREPARATION)
    assert caught.value.args[0] == Reason.CORRUPT_IMAGE


@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("InvalidArgumentError", ImageError),
        ("UnimplementedError", ImageError),
        ("ResourceExhaustedError", MemoryError),
        ("InternalError", decoders.DecoderError),
        ("UnknownError", decoders.DecoderError),
        ("AbortedError", decoders.DecoderError),
        ("CancelledError", decoders.DecoderError),
    ],
)
def test_what_an_error_of_tensorflow_means(
    draw: Draw, monkeypatch: pytest.MonkeyPatch, name: str, raised: type[Exception]
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise getattr(tf.errors, name)(None, None, "words")

    monkeypatch.setattr(tf.io, "decode_image", fail)
    with pytest.raises(raised, match="words"):
        prove.prepare(draw(file_format="PNG"), _PREPARATION)


def test_without_the_memory_to_load_tensorflow_one_sentence_says_so(
    draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ImportError("libtensorflow_framework.so.2: failed to map segment from shared object")

    monkeypatch.setattr(decoders, "tensorflow", fail)
    with pytest.raises(UserError, match="There is not enough memory to load TensorFlow"):
        prove.prepare(draw(file_format="PNG"), _PREPARATION)
