"""Proves that one image decodes, by the decoder that training uses.

Pillow and TensorFlow do not agree on what a readable image is: a truncated JPEG passes Pillow's `verify()` and stops a
training run, and TIFF passes Pillow and no operation of TensorFlow. So every image is decoded in full by TensorFlow
before it is stored.
"""

import re
from typing import NamedTuple

import tensorflow as tf

from converter.rejects import Reason

# The first bytes of the formats that TensorFlow decodes...
_SUPPORTED = (
    ("jpeg", rb"\xff\xd8\xff"),
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("gif", rb"GIF8[79]a"),
    ("bmp", rb"BM"),
    ("webp", rb"RIFF....WEBP"),
)
# ...and of images that it does not.
_UNSUPPORTED = (
    ("TIFF", rb"II[*+]\x00|MM\x00[*+]"),
    ("HEIC or AVIF", rb"....ftyp(?:hei|hev|mif1|msf1|avi)"),
    ("JPEG 2000", rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"),
    ("JPEG XL", rb"\x00\x00\x00\x0cJXL |\xff\x0a"),
    ("Photoshop", rb"8BPS"),
    ("ICO", rb"\x00\x00[\x01\x02]\x00"),
    ("SVG", rb"\s*(?:<\?xml.{,1000})?<svg\b"),
)


class ImageInfo(NamedTuple):
    """What is known of an image that decodes.

    Attributes:
        format: `jpeg`, `png`, `gif`, `bmp` or `webp`.
        height: pixels.
        width: pixels.
    """

    format: str
    height: int
    width: int


class ImageError(Exception):
    """An image that cannot be used: `args` are its Reason and a detail."""


def inspect(data: bytes) -> ImageInfo:
    """Decodes an image in full.

    Args:
        data: the encoded file.

    Raises:
        ImageError: it is no image, or none that TensorFlow decodes to [height, width, 3].
    """
    image_format = _format(data)
    if image_format == "bmp" and _has_palette(data):
        raise ImageError(
            Reason.UNSUPPORTED_FORMAT, "BMP with a palette: TensorFlow ignores it. Save the image as PNG or JPEG"
        )
    if image_format == "webp" and data[12:16] == b"VP8X" and data[20] & 2:
        raise ImageError(Reason.UNSUPPORTED_FORMAT, "animated WebP: save one of its frames as PNG or JPEG")
    try:
        shape = tf.io.decode_image(data, channels=3, expand_animations=False).shape
    except tf.errors.OpError as error:
        raise ImageError(Reason.CORRUPT_IMAGE, f"{image_format}: {_first_sentence(error)}") from error
    return ImageInfo(image_format, shape[0], shape[1])


def _format(data: bytes) -> str:
    for name, magic in _SUPPORTED:
        if re.match(magic, data, re.DOTALL):
            return name
    for name, magic in _UNSUPPORTED:
        if re.match(magic, data, re.DOTALL):
            raise ImageError(
                Reason.UNSUPPORTED_FORMAT, f"{name} is not decoded by TensorFlow: save the image as JPEG or PNG"
            )
    raise ImageError(Reason.NOT_AN_IMAGE, f"starts with {data[:12]!r}")


def _has_palette(bmp: bytes) -> bool:
    """Whether the pixels of a BMP are indices into colours: TensorFlow takes them for shades of grey."""
    bits_per_pixel = int.from_bytes(bmp[28:30], "little")
    start, end = 14 + int.from_bytes(bmp[14:18], "little"), int.from_bytes(bmp[10:14], "little")
    grey = b"".join(bytes((i, i, i, 0)) for i in range(256))
    return bits_per_pixel in (1, 4, 8) and len(bmp) > end and bmp[start:end] != grey[: max(0, end - start)]


def _first_sentence(error: tf.errors.OpError) -> str:
    """Returns what the decoder says, without the names of operations that it wraps it in."""
    text = re.sub(r"\{\{.*?\}\}\s*|\[Op:.*|\s+", " ", error.message).strip()
    return text[:200]
