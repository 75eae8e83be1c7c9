"""Reads the format, size and orientation of an image from its header, before any of it is decoded.

TensorFlow cannot return the size of an image without decoding it, and decoding a file of some kilobytes can take all
memory. So Pillow reads the header first. For damaged or malicious bytes, it raises exceptions of almost any class.
"""

import contextlib
import io
import re
import struct
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
from PIL import PngImagePlugin
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from multihot.reasons import Reason

# The name of the most common format, which training decodes by an operation of its own.
JPEG = "jpeg"
# The first bytes of the formats that TensorFlow decodes...
_SUPPORTED = (
    (JPEG, rb"\xff\xd8\xff"),
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("gif", rb"GIF8[79]a"),
    ("bmp", rb"BM"),
    ("webp", rb"RIFF....WEBP"),
)
# ...and of formats that it does not decode.
_UNSUPPORTED = (
    ("TIFF", rb"II[*+]\x00|MM\x00[*+]"),
    ("HEIC or AVIF", rb"....ftyp(?:hei|hev|mif1|msf1|avi)"),
    ("JPEG 2000", rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"),
    ("JPEG XL", rb"\x00\x00\x00\x0cJXL |\xff\x0a"),
    ("Photoshop", rb"8BPS"),
    ("ICO", rb"\x00\x00[\x01\x02]\x00(?!\x00\x00)"),  # With a count of 0 pictures, the file is a TGA.
    ("SVG", rb"\s*(?:<\?xml.{,1000})?<svg\b"),
)
# Classes of Pillow, used in place of `PIL.Image.open`, which would determine the format again, and opens a JPEG with
# further pictures after the first one as another format.
_READERS: dict[str, type[ImageFile]] = {
    JPEG: JpegImageFile,
    "png": PngImageFile,
    "gif": GifImageFile,
    "bmp": BmpImageFile,
    "webp": WebPImageFile,
}
# Largest number of scans in a JPEG: encoders make about ten. A scan can be eleven bytes long, and a decoder processes
# all pixels for each.
_MAX_SCANS = 500
# Messages of Pillow (OSError) and zlib for missing memory.
_NO_MEMORY = re.compile("out of memory|Error -4 while")
# `check_memory` allocates memory for the pixels only up to this number, since a damaged header may claim any; and these
# bytes more for the decoder.
_MAX_CLAIMED, _WORKING_BYTES = 1 << 27, 1 << 25
# Bytes in a PNG that may have an orientation. Without them Pillow is not asked, since it would decode all pixels to
# look for EXIF after them.
_PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"com.adobe.xmp")
_TRANSPOSE = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

# Pillow's limit is replaced by `max_pixels`, which is checked before each decoding.
PIL.Image.MAX_IMAGE_PIXELS = None
# The limit of libpng for a comment or a profile. By default, Pillow refuses an image with one of more than a megabyte.
PngImagePlugin.MAX_TEXT_CHUNK = 8_000_000
# Pillow's warnings about odd metadata need no action by the user.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class ImageError(Exception):
    """An image that cannot be used: `args` are its Reason and a detail."""


def read_header(data: bytes, max_pixels: int) -> tuple[str, ImageFile]:
    """Reads the header of an image.

    Args:
        data: the encoded file.
        max_pixels: of all frames together.

    Returns:
        `jpeg`, `png`, `gif`, `bmp` or `webp`; and Pillow's image, of which nothing is decoded.

    Raises:
        ImageError: the file is no image, is too large, or is of a kind that TensorFlow does not decode.
    """
    image_format = format_of(data)
    with corrupt(image_format, data):
        if image_format == "gif":
            _check_size(*_gif_size(data), max_pixels)
        header = _READERS[image_format](io.BytesIO(data))
        _check_size(*header.size, header.width * header.height, max_pixels)
        _check_kind(image_format, header, data)
    return image_format, header


def format_of(data: bytes) -> str:
    """Returns `jpeg`, `png`, `gif`, `bmp` or `webp`, by the first bytes of a file.

    Raises:
        ImageError: the file is in another format, or no image.
    """
    for name, magic in _SUPPORTED:
        if re.match(magic, data, re.DOTALL):
            return name
    for name, magic in _UNSUPPORTED:
        if re.match(magic, data, re.DOTALL):
            raise ImageError(
                Reason.UNSUPPORTED_FORMAT, f"{name} is not decoded by TensorFlow: save the image as JPEG or PNG"
            )
    raise ImageError(Reason.NOT_AN_IMAGE, f"starts with {data[:12]!r}")


def orientation(image_format: str, header: ImageFile, data: bytes) -> Transpose | None:
    """Returns the rotation or flip that its EXIF orientation asks for; None if EXIF is missing or broken."""
    if image_format == "png" and not any(marker in data for marker in _PNG_EXIF):
        return None
    try:
        value: Any = header.getexif().get(Base.Orientation)
        return _TRANSPOSE.get(value)
    except Exception:
        return None


def has_16_bits(data: bytes, image_format: str) -> bool:
    """Whether the samples of an image have 16 bits. Of the formats that are stored, only PNG can have 16.

    Args:
        data: the encoded file.
        image_format: format of the file: see `format_of`.
    """
    return image_format == "png" and data[12:16] == b"IHDR" and data[24:25] == b"\x10"


def in_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Returns an image in RGB as training sees it. Of grey with 16 bits the upper 8 are taken, unlike in Pillow."""
    if image.mode.startswith("I"):
        image = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def check_memory(data: bytes, image_format: str) -> None:
    """Allocates and frees the memory that decoding an image takes: decoders report missing memory as damage.

    Args:
        data: the encoded file.
        image_format: format of the file: see `format_of`.

    Raises:
        MemoryError: there is less memory than that.
    """
    width = height = 0
    if image_format == "png":
        width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    elif image_format == "webp" and data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif image_format == "webp" and data[12:16] == b"VP8L":
        size = int.from_bytes(data[21:25], "little")
        width, height = 1 + (size & 0x3FFF), 1 + (size >> 14 & 0x3FFF)
    elif image_format == "webp":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    num_pixels = width * height if width * height <= _MAX_CLAIMED else 0
    np.empty(_WORKING_BYTES + 2 * len(data) + 8 * num_pixels, np.uint8)


@contextlib.contextmanager
def corrupt(image_format: str, data: bytes) -> Iterator[None]:
    """Turns any exception of Pillow for an image into an ImageError with the reason `corrupt_image`.

    Args:
        image_format: format of the file: see `format_of`.
        data: the encoded file.

    Raises:
        ImageError: Pillow cannot read the image.
        MemoryError: there is not enough memory to read it.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if _NO_MEMORY.match(str(error)):
            raise MemoryError(str(error)) from error
        check_memory(data, image_format)
        raise ImageError(Reason.CORRUPT_IMAGE, f"{image_format}: cannot be read ({error})"[:200]) from error


def _check_size(width: int, height: int, num_pixels: int, max_pixels: int) -> None:
    if num_pixels > max_pixels:
        raise ImageError(
            Reason.TOO_LARGE,
            f"{width} x {height}, {num_pixels / 1e6:.1f} megapixels in all, and --max_megapixels={max_pixels / 1e6:g} "
            "are allowed. Save a smaller image, or raise the limit",
        )


def _check_kind(image_format: str, header: ImageFile, data: bytes) -> None:
    """Checks that TensorFlow decodes the image to three channels, and to the same picture as other decoders."""
    kind = None
    if image_format == "webp" and data[12:16] == b"VP8X" and data[20] & 2:
        kind = "animated WebP"
    elif image_format == JPEG and header.mode == "CMYK" and "adobe" not in header.info:
        kind = "CMYK without an Adobe marker, which decoders read as two different pictures"
    elif image_format == JPEG and data.count(b"\xff\xda") > _MAX_SCANS:
        kind = f"JPEG of more than {_MAX_SCANS} scans"
    if kind:
        raise ImageError(Reason.UNSUPPORTED_FORMAT, f"{kind}: save the image as PNG, or as JPEG in RGB")


def _gif_size(data: bytes) -> tuple[int, int, int]:
    """Returns the width, the height and the number of pixels that TensorFlow decodes of a GIF.

    TensorFlow decodes all frames to get the first one, and its image is as large as the largest frame, whatever the
    size of the screen: Pillow does not return that. At blocks that end too early, decoders stop, and so does this.
    """
    frames = []
    with contextlib.suppress(IndexError, struct.error):
        at = 13 + _gif_colours(data[10])
        while data[at] in b"!,":
            if data[at] == ord(","):
                width, height, flags = struct.unpack_from("<HHB", data, at + 5)
                frames.append((width, height))
                at += 11 + _gif_colours(flags)
            else:
                at += 2
            while data[at]:
                at += 1 + data[at]
            at += 1
    width, height = (max(sizes, default=0) for sizes in (zip(*frames, strict=True) if frames else ((), ())))
    return width, height, max(width * height, sum(w * h for w, h in frames))


def _gif_colours(flags: int) -> int:
    """Returns the size of a colour table, in bytes."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
