r"""Proves that one image decodes, by the decoder that training uses, and makes of it what is stored.

    file -> header -> pixels --\--------------------------------------/-> the same bytes
                                \-> oriented, resized, encoded anew -/    other bytes, decoded again

Pillow and TensorFlow do not agree on what a readable image is: a truncated JPEG passes Pillow's `verify()` and stops a
training run, and TIFF passes Pillow and no operation of TensorFlow. So every image is decoded in full as TensorFlow
does it, before it is stored. Pillow reads its header, and encodes what is to be changed.

Most images are JPEGs without any fault: these are proved by libjpeg-turbo alone, see jpeg.py, and where nothing in
their header says how they are to be shown, that is all.
"""

import dataclasses
import io
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
import tensorflow as tf
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile

from converter import jpeg
from converter.headers import ImageError, corrupt, orientation, read_header
from converter.rejects import Reason
from schemas.statistics import JPEG

__all__ = ["JPEG_QUALITY", "NO_PIXELS", "Image", "ImageError", "Preparation", "decode", "prepare"]

# Of photographs that are encoded anew, with all of their colours (4:4:4).
JPEG_QUALITY = 95

# Instead of the pixels of an image that waits to be written.
NO_PIXELS = np.zeros((0, 0, 3), np.uint8)

# Of these, TensorFlow decodes the common kinds, and others not at all or to other pixels. Pillow decodes all of them.
_DECODED_IN_PART = {
    "gif": "GIF that is transparent, or whose first frame does not fill it",
    "bmp": "BMP with a palette, with run lengths, of 16 bits, or with bytes behind its pixels",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """What every image goes through.

    Attributes:
        max_pixels: of all frames of a file, as it is; 3 bytes of memory each.
        resize_shorter: pixels that the shorter side is reduced to where it is longer; 0 leaves all images as they are.
    """

    max_pixels: int
    resize_shorter: int = 0


class Image(NamedTuple):
    """An image as it is stored.

    Attributes:
        data: encoded; the bytes of the file, unless the image was oriented or resized.
        format: `jpeg`, `png`, `gif`, `bmp` or `webp`.
        height: pixels.
        width: pixels.
        oriented: whether its EXIF orientation was applied.
        resized: whether it was made smaller.
        pixels: as training decodes `data`, uint8 [height, width, 3], read-only. Large: not to be kept.
    """

    data: bytes
    format: str
    height: int
    width: int
    oriented: bool
    resized: bool
    pixels: npt.NDArray[np.uint8]


def prepare(data: bytes, preparation: Preparation) -> Image:
    """Proves an image, and applies what is to be applied.

    Args:
        data: the encoded file.
        preparation: what is allowed, and what is to be applied.

    Raises:
        ImageError: it is no image, is too large, or is none that TensorFlow decodes to the right pixels.
    """
    image_format, turn, pixels = _prove(data, preparation.max_pixels)
    resized = 0 < preparation.resize_shorter < min(pixels.shape[:2])
    if turn is not None or resized:
        image = _changed(pixels, turn, preparation.resize_shorter if resized else 0)
        data, image_format = _encode(image, image_format)
        pixels = decode(data, image_format)
    height, width, _ = pixels.shape
    return Image(data, image_format, height, width, turn is not None, resized, pixels)


def _prove(data: bytes, max_pixels: int) -> tuple[str, Transpose | None, npt.NDArray[np.uint8]]:
    """Returns the format, how the image has to be turned to stand upright, and its pixels, which are the right ones."""
    decoded = jpeg.decode(data, max_pixels)
    if decoded and decoded.silent:
        return JPEG, None, decoded.pixels
    image_format, header = read_header(data, max_pixels)
    pixels = decoded.pixels if decoded else _compared(data, image_format, header)
    return image_format, orientation(image_format, header, data), pixels


def _compared(data: bytes, image_format: str, header: ImageFile) -> npt.NDArray[np.uint8]:
    """Returns the pixels, as TensorFlow decodes them, and of some formats Pillow too."""
    if image_format not in _DECODED_IN_PART:
        return _decode(data, image_format)
    with corrupt(image_format):
        expected = np.asarray(header.convert("RGB"))
    try:
        pixels = _decode(data, image_format)
    except ImageError:
        pixels = None
    if pixels is None or not np.array_equal(pixels, expected):
        kind = _DECODED_IN_PART[image_format]
        raise ImageError(Reason.UNSUPPORTED_FORMAT, f"{kind}: TensorFlow misreads it. Save the image as PNG or JPEG")
    return pixels


def decode(data: bytes, image_format: str) -> npt.NDArray[np.uint8]:
    """Returns the pixels of an image, as trainer/dataset.py decodes them: uint8 [height, width, 3], read-only.

    Args:
        data: the encoded file.
        image_format: of it: see `headers.format_of`.

    Raises:
        ImageError: it cannot be decoded.
    """
    decoded = jpeg.decode(data) if image_format == JPEG else None
    return decoded.pixels if decoded else _decode(data, image_format)


def _decode(data: bytes, image_format: str) -> npt.NDArray[np.uint8]:
    """Returns the pixels, by TensorFlow."""
    try:
        if image_format == JPEG:
            image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        else:
            image = tf.io.decode_image(data, channels=3, expand_animations=False)
    except tf.errors.OpError as error:
        raise ImageError(Reason.CORRUPT_IMAGE, f"{image_format}: {_first_sentence(error)}") from error
    return np.asarray(memoryview(image))  # `numpy()` would copy it.


def _changed(pixels: npt.NDArray[np.uint8], turn: Transpose | None, shorter: int) -> PIL.Image.Image:
    """Returns an image upright, and with a shorter side of `shorter` pixels unless that is 0."""
    image = PIL.Image.fromarray(pixels)
    if turn is not None:
        image = image.transpose(turn)
    if shorter:
        scale = shorter / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Resampling.LANCZOS)
    return image


def _encode(image: PIL.Image.Image, source_format: str) -> tuple[bytes, str]:
    """Returns the bytes and the format: JPEG for what was in a format of photographs, PNG for all others."""
    file = io.BytesIO()
    if source_format in (JPEG, "webp"):
        image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return file.getvalue(), JPEG
    image.save(file, "PNG")
    return file.getvalue(), "png"


def _first_sentence(error: tf.errors.OpError) -> str:
    """Returns what the decoder says, without the names of operations that it wraps it in."""
    text = re.sub(r"\{\{.*?\}\}\s*|\[Op:.*|\s+", " ", error.message).strip()
    return text[:200]
