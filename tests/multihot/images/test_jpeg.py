"""JPEGs that libjpeg-turbo proves by a small picture have the pixels of TensorFlow; see tests/fuzz/test_jpeg.py too."""

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from multihot.images import jpeg

Draw = Callable[..., bytes]

_TAKEN: list[dict[str, Any]] = [
    *[{"subsampling": subsampling} for subsampling in ("4:4:4", "4:2:2", "4:2:0")],
    {"mode": "L"},
    {"keep_rgb": True},
    {"restart_marker_blocks": 1},
    {"restart_marker_rows": 1},
    {"quality": 1},
    {"quality": 100, "optimize": True},
]
_LEFT: list[dict[str, Any]] = [{"progressive": True}, {"mode": "CMYK"}, {"mode": "L", "progressive": True}]
_SIZES = [(1, 1), (1, 17), (17, 1), (47, 31), (333, 251)]


def _with_tensorflow(data: bytes) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    return pixels


def _check(data: bytes, *, shown_as_decoded: bool = True) -> None:
    """Checks that a JPEG is taken, with the pixels of TensorFlow."""
    proved = jpeg.prove(data)
    assert proved
    assert proved.shown_as_decoded == shown_as_decoded
    _check_pixels(proved, data)


def _check_pixels(proved: jpeg.Proved, data: bytes) -> None:
    expected = _with_tensorflow(data)
    assert (proved.height, proved.width) == expected.shape[:2]
    np.testing.assert_array_equal(jpeg.decode(data), expected)


@pytest.mark.parametrize("size", _SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("kind", _TAKEN, ids=str)
def test_the_kinds_that_are_taken_have_the_pixels_of_tensorflow(
    draw: Draw, kind: dict[str, Any], size: tuple[int, int]
) -> None:
    # Pillow marks RGB by the segment of Adobe.
    _check(draw(width=size[0], height=size[1], **kind), shown_as_decoded="keep_rgb" not in kind)


def test_colours_that_are_halved_from_top_to_bottom(draw: Draw) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(draw(width=47, height=31))))
    _check(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 90, "rgb", "440"))


@pytest.mark.parametrize("kind", _LEFT, ids=str)
def test_other_kinds_are_left_to_tensorflow(draw: Draw, kind: dict[str, Any]) -> None:
    data = draw(**kind)
    assert jpeg.prove(data) is None
    assert _with_tensorflow(data).shape == (32, 48, 3)


@pytest.mark.parametrize("marker", [0xC2, 0xC3, 0xC9, 0xCA, 0xCB], ids="{:X}".format)
def test_another_start_of_frame_is_left_to_tensorflow(draw: Draw, marker: int) -> None:
    """Progressive, lossless, and with arithmetic coding."""
    data = draw()
    at = data.index(b"\xff\xc0\0\x11")
    assert jpeg.prove(data[:at] + bytes([0xFF, marker]) + data[at + 2 :]) is None


def test_twelve_bits_are_left_to_tensorflow(draw: Draw) -> None:
    data = draw()
    at = data.index(b"\xff\xc0\0\x11\x08")
    assert jpeg.prove(data[:at] + b"\xff\xc1\0\x11\x0c" + data[at + 5 :]) is None


def test_what_speaks_of_how_it_is_shown_is_not_silent(draw: Draw) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _check(draw(exif=exif), shown_as_decoded=False)
    _check(draw(icc_profile=b"profile"), shown_as_decoded=False)
    _check(draw(comment=b"not a word of it"))
    plain = draw()
    assert plain[2:6] == b"\xff\xe0\0\x10"
    # Shorter than JFIF is, so that Pillow cannot read it.
    _check(plain[:2] + b"\xff\xe0\0\x08JFIF\0\1" + plain[20:], shown_as_decoded=False)


def test_bytes_behind_the_end_do_not_matter(draw: Draw) -> None:
    _check(draw() + b"behind" * 100)


def test_more_pixels_than_allowed_are_not_decoded(draw: Draw) -> None:
    data = draw(width=48, height=32)
    assert jpeg.prove(data, 48 * 32)
    assert jpeg.prove(data, 48 * 32 - 1) is None


@pytest.mark.parametrize("kind", _TAKEN, ids=str)
@pytest.mark.parametrize(("size", "least"), [((333, 251), (48, 48)), ((900, 500), (57, 102)), ((50, 20), (20, 50))])
def test_the_picture_is_small_and_grey(
    draw: Draw, kind: dict[str, Any], size: tuple[int, int], least: tuple[int, int]
) -> None:
    data = draw(width=size[0], height=size[1], **kind)
    proved = jpeg.prove(data, min_side=48)
    assert proved
    assert all(side >= at_least for side, at_least in zip(proved.grey.shape, least, strict=True))
    assert max(proved.grey.shape) <= max(2 * 48 * max(size) / min(size), 50)
    grey = Image.open(io.BytesIO(data)).convert("L").resize(proved.grey.shape[::-1], Image.Resampling.BOX)
    assert np.abs(np.asarray(grey, np.float64) - proved.grey).mean() < 4
    colours = jpeg.small(data, 48)
    assert colours is not None
    assert colours.shape == (*proved.grey.shape, 3)
    expected = Image.open(io.BytesIO(data)).convert("RGB").resize(proved.grey.shape[::-1], Image.Resampling.BOX)
    assert np.abs(np.asarray(expected, np.float64) - colours).mean() < 4


@pytest.mark.parametrize("kind", [{}, {"mode": "L"}, {"restart_marker_blocks": 2}], ids=str)
def test_no_part_of_a_jpeg_is_taken(draw: Draw, kind: dict[str, Any]) -> None:
    data = draw(width=20, height=15, **kind)
    assert [end for end in range(len(data)) if jpeg.prove(data[:end])] == []


def test_a_flipped_bit_leaves_a_jpeg_that_tensorflow_decodes_to_the_same_pixels(draw: Draw) -> None:
    data = draw(width=20, height=15)
    taken = 0
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << random.Random(at).randrange(8)
        proved = jpeg.prove(bytes(flipped), 1_000_000)
        if proved:
            taken += 1
            _check_pixels(proved, bytes(flipped))
    assert 0 < taken < len(data)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\0" * 99], ids=repr
)
def test_other_bytes_are_left(data: bytes) -> None:
    assert jpeg.prove(data) is None


@pytest.mark.slow
def test_the_real_photographs(miml: Path) -> None:
    for path in (miml / "images").iterdir():
        data = path.read_bytes()
        proved = jpeg.prove(data)
        if proved:
            _check_pixels(proved, data)
        else:
            assert _with_tensorflow(data).ndim == 3
