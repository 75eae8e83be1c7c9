"""Transparent pixels show the background, whatever colour is hidden in them; images without them keep their bytes."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from converter.dataset.summary import summary
from converter.options import ConvertOptions
from converter.rejects import Reason
from converter.verify.dataset_checks import verify
from multihot.errors import UserError
from multihot.images import background
from multihot.images.background import parse_colour
from multihot.images.prove import ImageError, Preparation, prepare

_ORANGE = (255, 136, 0)
_ON_ORANGE = Preparation(max_pixels=10**6, background=_ORANGE)


def _save(image: Image.Image, file_format: str, **save: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **save)
    return file.getvalue()


def _rgba(opacity: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """Returns an image of noise, 30 pixels wide and 20 high, in which all opacities occur."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4)).astype(np.uint8)
    pixels[0, :3, 3] = 0, 255, 128
    if opacity is not None:
        pixels[..., 3] = opacity
    return pixels


def _laid(pixels: npt.NDArray[Any], colour: tuple[int, int, int] = _ORANGE) -> npt.NDArray[np.uint8]:
    """By definition."""
    opacity = pixels[..., 3:].astype(float) / 255
    return np.rint(pixels[..., :3] * opacity + np.array(colour) * (1 - opacity)).astype(np.uint8)


def _trained(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(tf.io.decode_image(data, channels=3, expand_animations=False))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def _png16(values: npt.NDArray[np.uint16], colours: int, *chunks: bytes) -> bytes:
    """Returns a PNG of 16 bits, which Pillow cannot write: colours are 2 (RGB), 4 (LA) or 6 (RGBA)."""
    height, width = values.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), *chunks, _chunk(b"IDAT", zlib.compress(lines)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _grey_and_opacity() -> Image.Image:
    return Image.merge("LA", [Image.fromarray(_rgba()[..., i].copy()) for i in (0, 3)])


def _palette() -> Image.Image:
    return Image.fromarray(_rgba()[..., :3].copy()).quantize(16)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_save(Image.fromarray(_rgba()), "PNG"), id="PNG, RGBA"),
        pytest.param(_save(_grey_and_opacity(), "PNG"), id="PNG, grey with opacity"),
        pytest.param(_save(_palette(), "PNG", transparency=3), id="PNG, a colour of a palette"),
        pytest.param(_save(_palette(), "PNG", transparency=bytes(range(0, 256, 16))), id="PNG, a palette of opacities"),
        pytest.param(
            _save(Image.fromarray(_rgba()[..., 0].copy()), "PNG", transparency=int(_rgba()[3, 3, 0])), id="PNG, a grey"
        ),
        pytest.param(
            _save(Image.fromarray(_rgba()[..., :3].copy()), "PNG", transparency=tuple(map(int, _rgba()[3, 3, :3]))),
            id="PNG, a colour",
        ),
        pytest.param(_save(_palette(), "GIF", transparency=3), id="GIF"),
        pytest.param(
            _save(_palette(), "GIF", transparency=3, save_all=True, append_images=[_palette().rotate(180)]),
            id="GIF, animated",
        ),
        pytest.param(_save(Image.fromarray(_rgba()), "WEBP", lossless=True), id="WebP, lossless"),
        pytest.param(_save(Image.fromarray(_rgba()), "WEBP"), id="WebP, lossy"),
    ],
)
def test_every_reader_sees_the_background(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        expected = _laid(np.asarray(image.convert("RGBA")))
    prepared = prepare(data, _ON_ORANGE)
    assert (prepared.transparent, prepared.format, prepared.oriented) == (True, "png", False)
    np.testing.assert_array_equal(_trained(prepared.data), expected)
    with Image.open(io.BytesIO(prepared.data)) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), expected)
    assert prepare(data, _ON_ORANGE).data == prepared.data
    again = prepare(prepared.data, _ON_ORANGE)
    assert (again.data, again.transparent) == (prepared.data, False)


_VALUES = np.random.default_rng(0).integers(0, 65536, (20, 30, 4)).astype(np.uint16)


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        pytest.param(_png16(_VALUES, 6), _VALUES >> 8, id="RGBA"),
        pytest.param(_png16(_VALUES[..., ::3], 4), _VALUES[..., [0, 0, 0, 3]] >> 8, id="grey with opacity"),
        pytest.param(
            _png16(_VALUES[..., :3], 2, _chunk(b"tRNS", _VALUES[3, 3, :3].astype(">u2").tobytes())),
            np.dstack((_VALUES[..., :3] >> 8, np.where((_VALUES[3, 3] == _VALUES).all(-1), 0, 255))),
            id="a colour",
        ),
    ],
)
def test_images_of_16_bits(data: bytes, pixels: npt.NDArray[Any]) -> None:
    prepared = prepare(data, _ON_ORANGE)
    assert prepared.transparent
    np.testing.assert_array_equal(_trained(prepared.data), _laid(pixels))


def test_what_transparency_hides_does_not_count_in_the_range_of_16_bits() -> None:
    values = np.full((20, 30, 4), 65535, np.uint16)
    values[..., 3] = 0
    values[5:15, 5:15] = np.arange(1000, 1100).reshape(10, 10, 1)
    values[5:15, 5:15, 3] = 65535
    with pytest.raises(ImageError) as caught:
        prepare(_png16(values, 6), _ON_ORANGE)
    assert caught.value.args[0] == Reason.UNSUPPORTED_FORMAT
    prepared = prepare(_png16(values, 6), Preparation(max_pixels=10**6, rescale_16bit=True))
    assert (prepared.rescaled, prepared.transparent) == (True, True)
    pixels = _trained(prepared.data)
    assert set(map(tuple, pixels[0])) == {(255, 255, 255)}
    assert (pixels[5, 5, 0], pixels[14, 14, 0]) == (0, 255)
    hidden = np.full((2, 2, 4), 77, np.uint16)
    hidden[..., 3] = 0
    assert set(_trained(prepare(_png16(hidden, 6), _ON_ORANGE).data).reshape(-1, 3)[0]) == set(_ORANGE)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_save(Image.fromarray(_rgba(np.full((20, 30), 255, np.uint8))), "PNG"), id="PNG, RGBA"),
        pytest.param(_save(_palette(), "PNG", transparency=200), id="PNG, a colour that no pixel has"),
        pytest.param(_save(_palette(), "GIF", transparency=200), id="GIF, a colour that no pixel has"),
        pytest.param(_png16(_VALUES | np.array([0, 0, 0, 65535], np.uint16), 6), id="PNG, 16 bits"),
        pytest.param(_save(Image.fromarray(_rgba()[..., :3].copy()), "WEBP"), id="WebP"),
    ],
)
def test_an_opaque_image_keeps_its_bytes(data: bytes) -> None:
    prepared = prepare(data, _ON_ORANGE)
    assert (prepared.data, prepared.transparent) == (data, False)


def test_a_transparent_image_is_turned_and_resized_too() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    prepared = prepare(
        _save(Image.fromarray(_rgba()), "PNG", exif=exif), Preparation(max_pixels=10**6, resize_shorter=10)
    )
    assert (prepared.height, prepared.width) == (15, 10)
    assert (prepared.transparent, prepared.oriented, prepared.resized) == (True, True, True)


def test_grey_on_grey_stays_grey() -> None:
    prepared = prepare(_save(_grey_and_opacity(), "PNG"), Preparation(max_pixels=10**6))
    with Image.open(io.BytesIO(prepared.data)) as image:
        assert image.mode == "L"


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (1, 128, 254)])
def test_every_opacity_of_every_value_is_rounded_exactly(colour: tuple[int, int, int]) -> None:
    values, opacity = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.dstack((values, values, values, opacity)).astype(np.uint8)
    laid, transparent = background.on_background(np.tile(pixels, (8, 4, 1)), colour)
    assert transparent
    exact = (2 * (values * opacity)[..., None] + 2 * np.array(colour) * (255 - opacity)[..., None] + 255) // 510
    np.testing.assert_array_equal(laid, np.tile(exact, (8, 4, 1)))


@pytest.mark.parametrize(
    ("text", "colour"),
    [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#ff8800", _ORANGE), ("#FF8800", _ORANGE)],
)
def test_colours_are_read(text: str, colour: tuple[int, int, int]) -> None:
    assert parse_colour(text) == colour


@pytest.mark.parametrize("text", ["", "red", "ff8800", "#ff880", "#ff88000", "#gg8800", "# ff880", "White"])
def test_no_other_colour_is_accepted(text: str) -> None:
    with pytest.raises(UserError, match=f"--background must be white, black, or .* as in #ff8800. Received: {text!r}"):
        ConvertOptions(csv="a.csv", images="images", output="data", background=text)


def test_transparent_images_are_counted_and_said(convert: Any, write_csv: Any, tmp_path: Any, draw: Any) -> None:
    (tmp_path / "images").mkdir()
    for i in range(9):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(draw(i))
    (tmp_path / "images" / "a.png").write_bytes(_save(Image.fromarray(_rgba()), "PNG"))
    rows = [(name, 1) for name in ("a.png", *(f"{i}.jpg" for i in range(9)))]
    table = write_csv(tmp_path / "labels.csv", [("file", "sea"), *rows])
    info = convert(csv=table, images=tmp_path / "images", background="#ff8800", num_shards={"": 1})
    assert (info.statistics.transparent, info.background, info.format_version) == (1, "#ff8800", 1)
    folder = tmp_path / "out/scenes/1.0.0"
    told = summary(info, str(folder))
    assert (
        "Images with transparency: 1: they are shown on #ff8800 (--background=#ff8800; encoded anew as PNG)"
        in told.splitlines()
    )
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "With transparency, and therefore shown on #ff8800 and encoded anew as PNG: 1." in page
    assert "All files are as they were" not in page
    assert not list(verify(str(folder), info))
