"""An image that is accepted gives the trainer the pixels that Pillow sees; all others are refused with a reason."""

import io
import resource
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from converter.rejects import Reason
from multihot.images.prove import Image as Prepared
from multihot.images.prove import ImageError, Preparation, prepare
from schemas import example
from trainer.input.decoding import Decoder

Draw = Callable[..., bytes]

_AS_IT_IS = Preparation(max_pixels=10_000_000)
# Of each format, all that Pillow writes and TensorFlow reads: format, mode, options.
_GOOD: list[tuple[str, str, dict[str, Any]]] = [
    *[("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")],
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"quality": 100, "subsampling": 0}),
    ("JPEG", "RGB", {"keep_rgb": True}),
    ("JPEG", "L", {"progressive": True}),
    *[("PNG", mode, {}) for mode in ("RGB", "L", "LA", "P", "RGBA", "1", "I;16")],
    ("PNG", "P", {"transparency": 3}),
    *[("PNG", "P", {"bits": bits}) for bits in (1, 2, 4)],
    ("PNG", "L", {"transparency": 3}),
    ("PNG", "RGB", {"transparency": (1, 2, 3)}),
    *[("GIF", mode, {}) for mode in ("RGB", "L", "P", "1")],
    ("GIF", "P", {"interlace": 1}),
    *[("BMP", mode, {}) for mode in ("RGB", "L", "RGBA")],
    *[("WEBP", mode, {}) for mode in ("RGB", "L", "RGBA")],
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"lossless": True}),
]


def _id(case: object) -> str | None:
    return " ".join(f"{key}={value}" for key, value in case.items()) or "plain" if isinstance(case, dict) else None


def _expected(data: bytes) -> npt.NDArray[np.int64]:
    """Returns an image as Pillow decodes it, without its transparency."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I"):
            return np.repeat(np.asarray(image, np.int64)[..., None] >> 8, 3, axis=-1)
        return np.asarray(image.convert("RGB"), np.int64)


def _trained(data: bytes, *, all_jpeg: bool) -> npt.NDArray[np.int64]:
    """Returns an image, at most 32 pixels wide and high, as the trainer decodes it from its record."""
    record = example.encode(image=data, height=0, width=0, labels=[1], filename="a")
    decoder = Decoder(num_classes=1, labels=(0,), all_jpeg=all_jpeg, size=32, exact=True)
    pixels, _ = decoder(tf.constant([record]))
    return np.asarray(pixels[0], np.int64)


def _save(image: Image.Image, file_format: str, **save: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **save)
    return file.getvalue()


def _reason(data: bytes) -> Reason:
    with pytest.raises(ImageError) as caught:
        prepare(data, _AS_IT_IS)
    reason, detail = caught.value.args
    assert isinstance(detail, str)
    assert detail
    assert len(detail) < 300
    return Reason(reason)


def _pixels(data: bytes) -> npt.NDArray[np.int64]:
    """Returns an image as TensorFlow decodes it, in full."""
    if data[:3] == b"\xff\xd8\xff":
        return np.asarray(tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"), np.int64)
    return np.asarray(tf.io.decode_image(data, channels=3, expand_animations=False), np.int64)


def _check_pixels(image: Prepared) -> None:
    """Checks that what is stored has the pixels that Pillow gives, and the picture that is compared theirs."""
    expected = _expected(image.data)
    np.testing.assert_array_equal(_pixels(image.data), expected)
    assert (image.height, image.width) == expected.shape[:2]
    assert image.grey.dtype == np.uint8
    assert all(side >= min(48, whole) for side, whole in zip(image.grey.shape, expected.shape, strict=False))
    grey = expected @ (0.299, 0.587, 0.114)
    # Where the picture has as many pixels as the image they are the same; smaller, they are still as light.
    difference = image.grey - grey if image.grey.shape == grey.shape else image.grey.mean() - grey.mean()
    assert np.abs(difference).max() < 6


def _check(data: bytes, file_format: str, height: int, width: int) -> Prepared:
    """Checks that an image is stored as it is, with the pixels that Pillow gives."""
    image = prepare(data, _AS_IT_IS)
    assert image[:6] == (data, file_format, height, width, False, False)
    _check_pixels(image)
    return image


@pytest.mark.parametrize(("file_format", "mode", "save"), _GOOD, ids=_id)
def test_every_format_and_mode_gives_the_right_pixels(
    draw: Draw, file_format: str, mode: str, save: dict[str, Any]
) -> None:
    _check(draw(width=47, height=31, mode=mode, file_format=file_format, **save), file_format.lower(), 31, 47)


@pytest.mark.parametrize(("file_format", "mode", "save"), _GOOD, ids=_id)
def test_the_trainer_gets_the_right_pixels(draw: Draw, file_format: str, mode: str, save: dict[str, Any]) -> None:
    data = draw(width=32, height=32, mode=mode, file_format=file_format, **save)
    for all_jpeg in {False, file_format == "JPEG"}:
        np.testing.assert_array_equal(_trained(data, all_jpeg=all_jpeg), _expected(data))


def _bmp(bits: int, *, masks: tuple[int, ...] = (), height: int = 3, header: int = 40, compression: int = 0) -> bytes:
    """Returns a BMP, 4 pixels wide, of the kinds that Pillow reads and does not write."""
    pixels = bytes(range(7, 7 + bits // 2 * min(abs(height), 3)))
    words = b"".join(mask.to_bytes(4, "little") for mask in masks)
    if header == 12:
        fields = struct.pack("<IHHHH", 12, 4, height, 1, bits)
    else:
        kind = 3 if masks else compression
        fields = struct.pack("<IiiHHIIiiII", header, 4, height, 1, bits, kind, len(pixels), 0, 0, 0, 0)
        fields = (fields + words).ljust(header, b"\0") if header > 40 else fields + words
    start = 14 + len(fields)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + fields + pixels


_BGR, _RGB = (0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_bmp(24), id="24 bits"),
        pytest.param(_bmp(24, height=-3), id="rows from the top"),
        pytest.param(_bmp(32), id="32 bits"),
        pytest.param(_bmp(32, masks=_BGR), id="masks of the usual order"),
        pytest.param(_bmp(32, masks=(*_BGR, 0xFF000000), header=124), id="version 5 with transparency"),
        pytest.param(_bmp(32, header=108), id="version 4"),
    ],
)
def test_a_bmp_of_a_common_kind(data: bytes) -> None:
    _check(data, "bmp", 3, 4)


def _gif(*frames: Image.Image, screen: tuple[int, int] = (48, 32), left: int = 0) -> bytes:
    """Returns a GIF of frames in shades of grey, with a screen that need not fit them."""
    greys = bytes(grey for grey in range(256) for _ in range(3))
    blocks = []
    for frame in frames:
        encoded = _save(frame.convert("L"), "GIF", optimize=False)
        assert encoded[10:781] == b"\x87\0\0" + greys
        assert encoded[781:784] == b",\0\0"
        blocks.append(b"," + struct.pack("<H", left) + encoded[784:-1])
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0x87, 0, 0) + greys + b"".join(blocks) + b";"


@pytest.fixture(scope="module")
def frames(draw: Draw) -> list[Image.Image]:
    """Returns three images of the same size."""
    return [Image.open(io.BytesIO(draw(seed, file_format="PNG"))) for seed in range(3)]


def test_an_animated_gif_gives_its_first_frame(frames: list[Image.Image]) -> None:
    _check(_save(frames[0], "GIF", save_all=True, append_images=frames[1:]), "gif", 32, 48)
    _check(_gif(*frames), "gif", 32, 48)
    _check(_gif(frames[0], frames[1].crop((0, 0, 9, 9))), "gif", 32, 48)


_GIF = "GIF whose first frame does not fill it: TensorFlow misreads it. Save the image as PNG or JPEG"
_BMP = (
    "BMP with a palette, with run lengths, of 16 bits, or with bytes behind its pixels: TensorFlow misreads it. "
    "Save the image as PNG or JPEG"
)


def _check_refused(data: bytes, detail: str) -> None:
    assert _expected(data).ndim == 3  # Pillow reads it.
    with pytest.raises(ImageError) as caught:
        prepare(data, _AS_IT_IS)
    assert caught.value.args == (Reason.UNSUPPORTED_FORMAT, detail)


def test_a_gif_that_tensorflow_misreads_is_refused(frames: list[Image.Image]) -> None:
    small = frames[0].crop((0, 0, 30, 20))
    _check_refused(_gif(small), _GIF)
    _check_refused(_gif(small, left=5), _GIF)
    _check_refused(_gif(small, frames[1], screen=small.size), _GIF)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_bmp(16), id="16 bits"),
        pytest.param(_bmp(16, masks=(0xF800, 0x7E0, 0x1F)), id="16 bits, 565"),
        pytest.param(_bmp(32, masks=(*_RGB, 0xFF000000), header=108), id="masks of another order"),
        pytest.param(_bmp(24, header=12), id="OS/2"),
        pytest.param(_bmp(24) + b"\0\0", id="bytes behind the pixels"),
    ],
)
def test_a_bmp_that_tensorflow_misreads_is_refused(data: bytes) -> None:
    _check_refused(data, _BMP)


def test_a_bmp_with_run_lengths_is_refused() -> None:
    """The file has as many bytes as an uncompressed one, so that its size does not show that it is compressed."""
    palette, pixels = bytes(range(256)) * 4, b"\4\1\0\0\4\2\0\0\4\3\0\1"
    fields = struct.pack("<IiiHHIIiiII", 40, 4, 3, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    _check_refused(b"BM" + struct.pack("<IHHI", 1090, 0, 0, 1078) + fields + palette + pixels, _BMP)


@pytest.mark.parametrize("mode", ["P", "1"])
def test_a_bmp_with_a_palette_is_refused(draw: Draw, mode: str) -> None:
    _check_refused(draw(mode=mode, file_format="BMP"), _BMP)


def test_an_animated_webp_is_refused(frames: list[Image.Image]) -> None:
    animated = _save(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    _check_refused(animated, "animated WebP: save the image as PNG, or as JPEG in RGB")


def test_cmyk_is_right_or_refused(draw: Draw) -> None:
    """By the marker of Adobe a decoder knows that inks are stored inverted; without it Pillow takes it for granted."""
    data = draw(mode="CMYK")
    marker = data.index(b"\xff\xee\0\x0eAdobe")
    _check(data[: marker + 15] + b"\x02" + data[marker + 16 :], "jpeg", 32, 48)  # YCCK
    detail = "CMYK without an Adobe marker, which decoders read as two different pictures"
    _check_refused(data[:marker] + data[marker + 16 :], f"{detail}: save the image as PNG, or as JPEG in RGB")


def _png(width: int, height: int, *, bits: int = 1, colours: int = 0, before: bytes = b"", interlace: int = 0) -> bytes:
    """Returns a PNG, all black if it is of one bit: a few kilobytes whatever its size."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlace)
    compressor = zlib.compressobj(9)
    samples = {0: 1, 2: 3}[colours]
    row = bytes(1) + (bytes((width + 7) // 8) if bits == 1 else bytes(range(width * bits // 8 * samples)))
    lines = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + before + _chunk(b"IDAT", lines) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="one bit"),
        pytest.param({"bits": 16, "colours": 2}, id="16 bits, RGB"),
        pytest.param({"before": _chunk(b"gAMA", (100_000).to_bytes(4))}, id="a gamma"),
        pytest.param(
            {"before": _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(3_000_000)))}, id="a colour profile of 3 MB"
        ),
    ],
)
def test_a_png_of_an_uncommon_kind(given: dict[str, Any]) -> None:
    data = _png(10, 7, **given)
    image = prepare(data, _AS_IT_IS)
    assert image[:6] == (data, "png", 7, 10, False, False)
    if given.get("bits") == 16:
        high = np.arange(10 * 2 * 3)[::2].reshape(10, 3)
        np.testing.assert_array_equal(_pixels(data), np.broadcast_to(high, (7, 10, 3)))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (333, 251)], ids="{0[0]}x{0[1]}".format)
def test_height_and_width_are_not_confused(draw: Draw, size: tuple[int, int]) -> None:
    width, height = size
    _check(draw(width=width, height=height), "jpeg", height, width)


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
        prepared = prepare(bytes(image), _AS_IT_IS)
    except ImageError as error:
        assert isinstance(error.args[0], Reason)
    else:
        assert _pixels(prepared.data).shape == (prepared.height, prepared.width, 3)


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
        prepare(data, _AS_IT_IS)
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
        prepare(data, _AS_IT_IS)
    detail = f"{name} is not decoded by TensorFlow: save the image as JPEG or PNG"
    assert caught.value.args == (Reason.UNSUPPORTED_FORMAT, detail)


@pytest.mark.parametrize(
    ("file_format", "name"),
    [("TIFF", "TIFF"), ("JPEG2000", "JPEG 2000"), ("ICO", "ICO"), ("AVIF", "HEIC or AVIF")],
)
def test_unsupported_formats_that_pillow_writes(draw: Draw, file_format: str, name: str) -> None:
    _check_unsupported(name, draw(file_format=file_format))


def test_a_tga_is_not_taken_for_a_cursor(draw: Draw) -> None:
    assert _reason(draw(file_format="TGA")) == Reason.NOT_AN_IMAGE


def test_the_name_of_a_file_says_nothing() -> None:
    """A text that happens to start as a BMP does."""
    assert _reason(b"BMW is a maker of cars. " * 10) == Reason.CORRUPT_IMAGE


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_orientation_is_applied(draw: Draw, file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    save = {"quality": 100} if file_format == "JPEG" else {"lossless": True} if file_format == "WEBP" else {}
    data = draw(width=40, height=24, file_format=file_format, exif=exif, **save)
    image = prepare(data, _AS_IT_IS)
    with Image.open(io.BytesIO(data)) as original, Image.open(io.BytesIO(image.data)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(original).convert("RGB"), np.int64)
        assert stored.getexif() == {}
        assert stored.format == ("PNG" if file_format == "PNG" else "JPEG")
    assert image[1:6] == ("png" if file_format == "PNG" else "jpeg", *expected.shape[:2], True, False)
    _check_pixels(image)
    difference = np.abs(_pixels(image.data) - expected)
    assert difference.max() <= (0 if file_format == "PNG" else 20)
    assert difference.mean() < 4


def test_an_orientation_behind_the_pixels_of_a_png_is_found(draw: Draw) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = draw(width=40, height=24, file_format="PNG")
    end = data.index(b"IEND") - 4
    image = prepare(data[:end] + _chunk(b"eXIf", exif.tobytes()[6:]) + data[end:], _AS_IT_IS)
    assert (image.height, image.width, image.oriented) == (40, 24, True)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\1\0\0\0\0\0\0", id="upright"),
        pytest.param(b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x09\0\0\0\0\0\0", id="nine"),
        pytest.param(b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\4abc\0\0\0\0\0", id="a text"),
        pytest.param(b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\x10\0\2\0\0", id="cut"),
        pytest.param(b"Exif\0\0MM\0*\xff\xff\xff\xff", id="a place far away"),
        pytest.param(b"Exif\0\0", id="nothing"),
        pytest.param(b"Exif\0\0" + b"\xff" * 40, id="noise"),
    ],
)
def test_without_an_orientation_the_bytes_stay(draw: Draw, file_format: str, exif: bytes) -> None:
    data = draw(width=40, height=24, file_format=file_format, exif=exif)
    assert exif[6:] in data
    _check(data, file_format.lower(), 24, 40)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize(("width", "height"), [(90, 60), (60, 90), (40, 300)])
def test_the_shorter_side_is_reduced(draw: Draw, file_format: str, width: int, height: int) -> None:
    data = draw(width=width, height=height, file_format=file_format)
    image = prepare(data, Preparation(max_pixels=10**6, resize_shorter=32))
    size = (round(32 * width / min(width, height)), round(32 * height / min(width, height)))
    kept = "jpeg" if file_format in ("JPEG", "WEBP") else "png"
    assert image[1:6] == (kept, size[1], size[0], False, True)
    expected = Image.fromarray(_expected(data).astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)
    if kept == "jpeg":
        assert image.data == _save(expected, "JPEG", quality=95, subsampling=0)
    else:
        np.testing.assert_array_equal(_pixels(image.data), np.asarray(expected))
    _check_pixels(image)


@given(width=st.integers(1, 70), height=st.integers(1, 70), shorter=st.integers(0, 70))
def test_nothing_is_enlarged(draw: Draw, width: int, height: int, shorter: int) -> None:
    data = draw(width=width, height=height)
    image = prepare(data, Preparation(max_pixels=10**6, resize_shorter=shorter))
    assert image.resized == (0 < shorter < min(width, height))
    assert (image.data == data) == (not image.resized)
    assert min(image.height, image.width) == (shorter if image.resized else min(width, height))
    assert abs(image.width / image.height - width / height) <= 1 / image.height * (1 + width / height)


def test_an_image_that_is_turned_and_resized_is_encoded_once(draw: Draw) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = draw(width=80, height=60, exif=exif)
    image = prepare(data, Preparation(max_pixels=10**6, resize_shorter=30))
    assert image[1:6] == ("jpeg", 40, 30, True, True)
    upright = Image.fromarray(_expected(data).astype(np.uint8)).transpose(Image.Transpose.ROTATE_270)
    assert image.data == _save(upright.resize((30, 40), Image.Resampling.LANCZOS), "JPEG", quality=95, subsampling=0)


def test_pillow_warns_nobody(draw: Draw, tmp_path: Path) -> None:
    """On the terminal of a user, that is: in pytest the filters are those of setup.cfg."""
    path = tmp_path / "image.jpg"
    path.write_bytes(draw(exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\x10\0\2\0\0"))
    script = (
        "import sys; from pathlib import Path; from multihot.images import headers; data = "
        "Path(sys.argv[1]).read_bytes(); "
        "print(headers.orientation(*headers.read_header(data, 10**6), data))"
    )
    process = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, "None\n", "")
    without = script.replace("data =", "import warnings; warnings.resetwarnings(); data =")
    process = subprocess.run([sys.executable, "-c", without, path], capture_output=True, text=True, check=False)
    assert "Corrupt EXIF data" in process.stderr


def _patched(jpeg: bytes, width: int, height: int) -> bytes:
    """Returns a JPEG that says that it is of another size."""
    frame = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:frame] + struct.pack(">HH", height, width) + jpeg[frame + 4 :]


_DOT = b"\2\2\x4c\1\0"  # The pixels of a GIF, as many as it likes.
_BOMBS: list[tuple[str, Callable[[Draw], bytes], str]] = [
    ("PNG", lambda _: _BIG_PNG, "60000 x 60000, 3600.0"),
    ("JPEG", lambda draw: _patched(draw(), 65500, 65500), "65500 x 65500, 4290.2"),
    ("WebP", lambda _: _save(Image.new("RGB", (8000, 4000)), "WEBP", lossless=True), "8000 x 4000, 32.0"),
    ("BMP", lambda _: _bmp(24, height=2**31 - 1), "4 x 2147483647, 8589.9"),
    ("BMP from the top", lambda _: _bmp(24, height=-(2**24) + 1), "4 x 16777215, 67.1"),
    ("GIF with a large screen", lambda _: _frames([(1, 1)], screen=65535), "65535 x 65535, 4294.8"),
    ("GIF with a large frame", lambda _: _frames([(65535, 65535)]), "65535 x 65535, 4294.8"),
    ("GIF with a large second frame", lambda _: _frames([(1, 1), (9000, 9000)]), "9000 x 9000, 81.0"),
    ("GIF with many frames", lambda _: _frames([(100, 100)] * 1500), "100 x 100, 15.0"),
    ("GIF with frames that cross", lambda _: _frames([(65535, 1), (1, 65535)]), "65535 x 65535, 4294.8"),
]


def _frames(sizes: list[tuple[int, int]], screen: int = 1) -> bytes:
    blocks = b"".join(b",\0\0\0\0" + struct.pack("<HHB", *size, 0) + _DOT for size in sizes)
    return b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + bytes(6) + blocks + b";"


_BIG_PNG = _png(60_000, 60_000)


@pytest.mark.parametrize(("make", "size"), [pytest.param(make, size, id=name) for name, make, size in _BOMBS])
def test_a_bomb_is_refused_by_its_header(draw: Draw, make: Callable[[Draw], bytes], size: str) -> None:
    data = make(draw)
    tracemalloc.start()
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError) as caught:
        prepare(data, _AS_IT_IS)
    seconds = time.process_time() - start
    python_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    limit = "--max_megapixels=10 are allowed. Save a smaller image, or raise the limit"
    assert caught.value.args == (Reason.TOO_LARGE, f"{size} megapixels in all, and {limit}")
    assert seconds < 0.1
    assert python_bytes < 2_000_000 + 2 * len(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # Kilobytes.


def test_what_is_encoded_anew_is_limited_too(draw: Draw) -> None:
    """A file that the limit admits can grow when it is turned upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    data = draw(width=300, height=300, quality=20, exif=exif)
    size = len(prepare(data, _AS_IT_IS).data)
    assert len(data) < size
    with pytest.raises(ImageError, match="encoded anew, the file has") as caught:
        prepare(data, Preparation(max_pixels=10**6, max_bytes=size - 1))
    assert caught.value.args[0] == Reason.TOO_LARGE


def test_the_limit_is_inclusive(draw: Draw) -> None:
    data = draw(width=50, height=40)
    assert prepare(data, Preparation(max_pixels=2000)).data == data
    with pytest.raises(ImageError, match=r"50 x 40, 0\.0 megapixels"):
        prepare(data, Preparation(max_pixels=1999))


def test_a_jpeg_of_thousands_of_scans_is_refused(draw: Draw) -> None:
    """Eleven bytes each, and each goes through all pixels."""
    data = draw(width=400, height=400, subsampling=0)
    scan = data.index(b"\xff\xda")
    scans = b"".join(b"\xff\xda\0\x08\1" + bytes([component]) + b"\0\0\x3f\0\0" for component in (1, 2, 3)) * 400
    with pytest.raises(ImageError) as caught:
        prepare(data[:scan] + scans + b"\xff\xd9", _AS_IT_IS)
    assert caught.value.args[0] == Reason.UNSUPPORTED_FORMAT
    assert caught.value.args[1].startswith("JPEG of more than 500 scans: ")
