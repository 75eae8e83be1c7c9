"""An image that is accepted decodes, to the pixels that Pillow sees; all others are refused with a reason."""

import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from converter.images import ImageError, ImageInfo, inspect
from converter.rejects import Reason

Draw = Callable[..., bytes]

# Of each format, all that Pillow writes: format, mode, options.
_GOOD = [
    *[("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")],
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"quality": 100, "subsampling": 0}),
    ("JPEG", "L", {"progressive": True}),
    *[("PNG", mode, {}) for mode in ("RGB", "L", "LA", "P", "RGBA", "1", "I;16")],
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "RGB", {"interlace": 1}),
    *[("GIF", mode, {}) for mode in ("RGB", "L", "P", "1")],
    ("GIF", "P", {"interlace": 1}),
    *[("BMP", mode, {}) for mode in ("RGB", "L")],
    *[("WEBP", mode, {}) for mode in ("RGB", "L", "RGBA")],
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"lossless": True}),
]
# Of what TensorFlow decodes in part only: to be refused, or to be right.
_ODD: list[tuple[str, str, dict[str, Any]]] = [("BMP", mode, {}) for mode in ("P", "1", "RGBA")]


def _id(case: object) -> str | None:
    return " ".join(f"{key}={value}" for key, value in case.items()) or "plain" if isinstance(case, dict) else None


def _decoded(data: bytes) -> npt.NDArray[np.int64]:
    """Returns an image as training decodes it."""
    return np.asarray(tf.io.decode_image(data, channels=3, expand_animations=False), np.int64)


def _expected(data: bytes) -> npt.NDArray[np.int64]:
    """Returns an image as Pillow decodes it, without its transparency."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I"):
            return np.repeat(np.asarray(image, np.int64)[..., None] >> 8, 3, axis=-1)
        return np.asarray(image.convert("RGB"), np.int64)


def _reason(data: bytes) -> Reason:
    with pytest.raises(ImageError) as caught:
        inspect(data)
    reason, detail = caught.value.args
    assert isinstance(detail, str)
    assert detail
    assert len(detail) < 300
    return Reason(reason)


@pytest.mark.parametrize(("file_format", "mode", "save"), _GOOD, ids=_id)
def test_every_format_and_mode_gives_the_right_pixels(
    draw: Draw, file_format: str, mode: str, save: dict[str, Any]
) -> None:
    data = draw(width=47, height=31, mode=mode, file_format=file_format, **save)
    assert inspect(data) == ImageInfo(file_format.lower(), 31, 47)
    difference = np.abs(_decoded(data) - _expected(data))
    if file_format == "JPEG":  # TensorFlow takes a faster and less exact transform.
        assert difference.max() <= 12
        assert difference.mean() < 2
    else:
        assert difference.max() == 0


@pytest.mark.parametrize(("file_format", "mode", "save"), _ODD, ids=_id)
def test_odd_images_are_right_or_refused(draw: Draw, file_format: str, mode: str, save: dict[str, Any]) -> None:
    data = draw(width=47, height=31, mode=mode, file_format=file_format, **save)
    try:
        info = inspect(data)
    except ImageError as error:
        assert error.args[0] in {Reason.UNSUPPORTED_FORMAT, Reason.CORRUPT_IMAGE}
    else:
        assert info == ImageInfo(file_format.lower(), 31, 47)
        np.testing.assert_array_equal(_decoded(data), _expected(data))


def test_an_animated_gif_gives_its_first_frame(draw: Draw) -> None:
    frames = [Image.open(io.BytesIO(draw(seed, file_format="PNG"))) for seed in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert inspect(file.getvalue()) == ImageInfo("gif", 32, 48)
    np.testing.assert_array_equal(_decoded(file.getvalue()), _expected(file.getvalue()))


def test_an_animated_webp_is_refused(draw: Draw) -> None:
    frames = [Image.open(io.BytesIO(draw(seed, file_format="PNG"))) for seed in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    assert _reason(file.getvalue()) in {Reason.UNSUPPORTED_FORMAT, Reason.CORRUPT_IMAGE}


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (333, 251)], ids="{0[0]}x{0[1]}".format)
def test_height_and_width_are_not_confused(draw: Draw, size: tuple[int, int]) -> None:
    width, height = size
    assert inspect(draw(width=width, height=height)) == ImageInfo("jpeg", height, width)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_truncated_image_is_refused_wherever_it_ends(draw: Draw, file_format: str) -> None:
    data = draw(width=40, height=30, file_format=file_format)
    # A GIF lacks nothing without its last byte, nor a PNG without the checksum of its empty last chunk.
    slack = {"GIF": 2, "PNG": 12, "JPEG": 0}.get(file_format, 0)
    for end in sorted({*range(16), *range(16, len(data) - slack, 53), len(data) - slack - 1}):
        assert _reason(data[:end]) in {Reason.CORRUPT_IMAGE, Reason.NOT_AN_IMAGE}, end


@given(data=st.data())
@settings(max_examples=300)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_damaged_bytes_give_an_image_or_a_reason(draw: Draw, file_format: str, data: st.DataObject) -> None:
    image = bytearray(draw(width=20, height=15, file_format=file_format))
    # Headers are a small part of the file, and the part where damage does most.
    places = st.integers(0, len(image) - 1) | st.integers(0, 40)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=6)).items():
        image[place] = value
    if data.draw(st.booleans()):
        del image[data.draw(st.integers(0, len(image))) :]
    try:
        info = inspect(bytes(image))
    except ImageError as error:
        assert isinstance(error.args[0], Reason)
    else:
        assert _decoded(bytes(image)).shape == (info.height, info.width, 3)


@given(st.binary(max_size=100))
def test_random_bytes_are_no_image(data: bytes) -> None:
    assert _reason(data) in {Reason.NOT_AN_IMAGE, Reason.CORRUPT_IMAGE, Reason.UNSUPPORTED_FORMAT}


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 100, b"<html><body>404 Not Found</body></html>", b"%PDF-1.7", b"PK\x03\x04", b"\x7fELF"],
    ids=["no bytes", "zeros", "a web page", "PDF", "ZIP", "a program"],
)
def test_other_files_are_no_image(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        inspect(data)
    assert caught.value.args == (Reason.NOT_AN_IMAGE, f"starts with {data[:12]!r}")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("HEIC or AVIF", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", id="HEIC"),
        pytest.param("HEIC or AVIF", b"\0\0\0\x24ftypmif1\0\0\0\0mif1heic", id="HEIC of a telephone"),
        pytest.param("HEIC or AVIF", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", id="AVIF"),
        pytest.param("HEIC or AVIF", b"\0\0\0\x1cftypavis\0\0\0\0avisavif", id="AVIF, animated"),
        pytest.param("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>', id="SVG"),
        pytest.param("SVG", b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg width="1"/>', id="SVG with a declaration"),
        pytest.param("Photoshop", b"8BPS\0\x01\0\0\0\0\0\0\0\x03", id="Photoshop"),
        pytest.param("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n", id="JPEG XL"),
        pytest.param("JPEG XL", b"\xff\x0a\xfa\x1f", id="JPEG XL, bare"),
        pytest.param("JPEG 2000", b"\xff\x4f\xff\x51\0\x2f", id="JPEG 2000, bare"),
        pytest.param("TIFF", b"MM\0*\0\0\0\x08", id="TIFF, big-endian"),
        pytest.param("TIFF", b"II+\0\x08\0\0\0", id="BigTIFF"),
        pytest.param("ICO", b"\0\0\x02\0\x01\0", id="a cursor"),
    ],
)
def test_unsupported_formats_are_known_by_their_first_bytes(name: str, data: bytes) -> None:
    _check_unsupported(name, data)


def _check_unsupported(name: str, data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        inspect(data)
    detail = f"{name} is not decoded by TensorFlow: save the image as JPEG or PNG"
    assert caught.value.args == (Reason.UNSUPPORTED_FORMAT, detail)


@pytest.mark.parametrize(
    ("file_format", "name"),
    [("TIFF", "TIFF"), ("JPEG2000", "JPEG 2000"), ("ICO", "ICO"), ("AVIF", "HEIC or AVIF")],
)
def test_unsupported_formats_that_pillow_writes(draw: Draw, file_format: str, name: str) -> None:
    _check_unsupported(name, draw(file_format=file_format))


def test_the_name_of_a_file_says_nothing() -> None:
    """A text that happens to start as a BMP does."""
    assert _reason(b"BMW is a maker of cars. " * 10) == Reason.CORRUPT_IMAGE


def _png(width: int, height: int) -> bytes:
    """Returns a PNG of one bit a pixel, all black: a few kilobytes whatever its size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([1, 0, 0, 0, 0])
    compressor = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    lines = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def test_a_png_of_one_bit() -> None:
    assert inspect(_png(100, 70)) == ImageInfo("png", 70, 100)


def test_a_decompression_bomb_is_refused() -> None:
    bomb = _png(60_000, 60_000)
    assert len(bomb) < 1_000_000
    assert _reason(bomb) in {Reason.CORRUPT_IMAGE, Reason.UNSUPPORTED_FORMAT}
