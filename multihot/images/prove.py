r"""Proves that an image decodes by the decoder of the training, and prepares the bytes that are stored.

    file -> header -> decoded --\------------------------------------------------------------/-> the same bytes
                                 \-> on a background, oriented, resized, rescaled, encoded anew --> decoded again

Pillow and TensorFlow do not accept the same images: a truncated JPEG passes Pillow's `verify()` and stops a training
run, and Pillow reads TIFF, which TensorFlow does not decode. So every image is decoded to its last byte before it is
stored, with the result that TensorFlow gives. Pillow reads the header, and encodes images that are changed.

Most images are JPEGs without any fault. They are proved by libjpeg-turbo alone, see jpeg.py, and their header is read
by Pillow only if a segment may change how they are shown. For other JPEGs, complaints.py determines whether they are
damaged. TensorFlow never decodes a JPEG with a warning of libjpeg, since it would print the warning without the name of
the image.
"""

import contextlib
import dataclasses
import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile

from multihot import limits
from multihot.images import background, complaints, decoders, jpeg, room
from multihot.images.headers import JPEG, ImageError, corrupt, has_16_bits, orientation, read_header
from multihot.reasons import Reason

__all__ = ["JPEG_QUALITY", "Image", "ImageError", "Preparation", "decode", "picture", "prepare", "size"]


# Of photographs that are encoded anew, with all of their colours (4:4:4).
JPEG_QUALITY = 95

# Smallest side of `Image.grey`, in pixels. Of the copies described in duplicates/neighbours.py, 97.5 % are within 6
# bits with 32 pixels, 98.3 % with 48, 98.4 % with 64; decoding an image of 570 x 470 takes 99, 99 and 116 us.
_MIN_GREY = 48

# Bytes of memory for each pixel of an image that is decoded in full, rotated and encoded again. Measured on 48
# megapixels: BMP 11.2 bytes, rotated PNG 8.4, GIF and rotated JPEG 8.2, progressive JPEG 5.
_PIXEL_BYTES = 12

# Formats of which TensorFlow decodes the common kinds, and refuses or misreads others. Pillow decodes all of them.
_DECODED_IN_PART = {
    "gif": "GIF whose first frame does not fill it",
    "bmp": "BMP with a palette, with run lengths, of 16 bits, or with bytes behind its pixels",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """Settings for every image.

    Attributes:
        max_pixels: largest number of pixels in all frames of a file, before it is resized; 3 bytes of memory each.
        max_bytes: largest size of a file, both of the original and of the stored one.
        resize_shorter: pixels to which a longer shorter side is reduced; 0 leaves the size of all images as it is.
        keep_damaged: whether a damaged JPEG is kept, with the pixels that can be decoded.
        rescale_16bit: whether the values of each image of 16 bits are mapped to the whole range of 8 bits.
        background: the colour on which images with transparency are laid: red, green, blue.
    """

    max_pixels: int
    max_bytes: int = limits.DEFAULT_MAX_IMAGE_MB * 1_000_000
    resize_shorter: int = 0
    keep_damaged: bool = False
    rescale_16bit: bool = False
    background: tuple[int, int, int] = (255, 255, 255)


class Image(NamedTuple):
    """An image in the form in which it is stored.

    Attributes:
        data: the encoded image: the bytes of the file, unless it was oriented, resized, rescaled, damaged or
            transparent.
        format: `jpeg`, `png`, `gif`, `bmp` or `webp`.
        height: pixels.
        width: pixels.
        oriented: whether its EXIF orientation was applied.
        resized: whether it was made smaller.
        grey: a small picture, from which candidates for near duplicates are found: uint8 [h, w]; 48 to 255 pixels a
            side, fewer if the image has fewer.
        rescaled: whether its 16 bits were mapped to the range of 8 bits.
        damage: the warning of libjpeg, if the image is damaged and was kept; otherwise "".
        transparent: whether it has transparency and was laid on a background.
    """

    data: bytes
    format: str
    height: int
    width: int
    oriented: bool
    resized: bool
    grey: npt.NDArray[np.uint8]
    rescaled: bool = False
    damage: str = ""
    transparent: bool = False


class _Decoded(NamedTuple):
    """An image that can be decoded; with its pixels, uint8 [height, width, 3], if it was decoded in full size."""

    height: int
    width: int
    grey: npt.NDArray[np.uint8]
    pixels: npt.NDArray[np.uint8] | None = None
    rescaled: bool = False
    damage: str = ""
    transparent: bool = False


def prepare(data: bytes, preparation: Preparation) -> Image:
    """Proves that an image decodes, and lays it on a background, orients, resizes and rescales it as needed.

    Args:
        data: the encoded file.
        preparation: the limits and settings.

    Raises:
        ImageError: the file is no image, is too large or damaged, or TensorFlow does not decode it to the right pixels.
        MemoryError: there is not enough memory to decode it.
        decoders.DecoderError: the decoder failed, and the image need not be the cause.
    """
    with _Memory() as memory:
        return _prepare(data, preparation, memory)


class _Memory(contextlib.ExitStack):
    """The share of memory for one image, taken at most once: a thread that took a second could wait for its first."""

    def __init__(self) -> None:
        super().__init__()
        self._is_taken = False

    def take(self, height: int, width: int) -> None:
        """Waits until there is memory for an image of this size. Further calls do nothing."""
        if not self._is_taken:
            self.enter_context(room.taken(height * width * _PIXEL_BYTES))
            self._is_taken = True


def _prepare(data: bytes, preparation: Preparation, memory: _Memory) -> Image:
    image_format, turn, decoded = _prove(data, preparation, memory)
    resized = 0 < preparation.resize_shorter < min(decoded.height, decoded.width)
    rescaled, damage, transparent = decoded.rescaled, decoded.damage, decoded.transparent
    if turn is not None or resized or rescaled or damage or transparent:
        memory.take(decoded.height, decoded.width)
        pixels = jpeg.decode(data) if decoded.pixels is None else decoded.pixels
        image = _changed(pixels, turn, preparation.resize_shorter if resized else 0)
        if (rescaled or transparent) and np.array_equal(pixels[..., :2], pixels[..., 1:]):
            image = image.convert("L")
        data, image_format = _encode(image, "png" if transparent else image_format)
        if len(data) > preparation.max_bytes:
            detail = limits.too_many_bytes(len(data), preparation.max_bytes)
            raise ImageError(Reason.TOO_LARGE, f"encoded anew, {detail}")
        decoded = _decode(data, image_format)
    height, width, grey, *_ = decoded
    return Image(data, image_format, height, width, turn is not None, resized, grey, rescaled, damage, transparent)


def _prove(data: bytes, preparation: Preparation, memory: _Memory) -> tuple[str, Transpose | None, _Decoded]:
    """Returns the format of an image, the rotation that makes it upright, and the result of decoding it."""
    proved = jpeg.prove(data, preparation.max_pixels, _MIN_GREY)
    decoded = proved and _Decoded(proved.height, proved.width, _reduced(proved.grey))
    if proved and decoded and proved.shown_as_decoded:
        return JPEG, None, decoded
    image_format, header = read_header(data, preparation.max_pixels)
    turn = orientation(image_format, header, data)
    if not decoded:
        memory.take(header.height, header.width)
    return image_format, turn, decoded or _by_kind(data, image_format, header, preparation)


def _by_kind(data: bytes, image_format: str, header: ImageFile, preparation: Preparation) -> _Decoded:
    """Decodes an image as TensorFlow does, with the checks that its format needs."""
    if image_format == JPEG:
        return _decode_jpeg(data, preparation.keep_damaged)
    if background.may_be_transparent(image_format, header):
        laid = _on_background(data, image_format, header, preparation)
        if laid.transparent or image_format == "png":
            return laid
    if image_format in _DECODED_IN_PART:
        return _compared(data, image_format, header)
    if has_16_bits(data, image_format):
        pixels, rescaled = decoders.of_16_bits(data, rescale=preparation.rescale_16bit)
        return _decoded(pixels)._replace(rescaled=rescaled)
    return _decoded(decoders.by_tensorflow(data, image_format))


def _on_background(data: bytes, image_format: str, header: ImageFile, preparation: Preparation) -> _Decoded:
    """Decodes an image with its transparency, and lays it on the background."""
    rescaled = False
    if has_16_bits(data, image_format):
        pixels, rescaled = decoders.of_16_bits(data, rescale=preparation.rescale_16bit, channels=4)
    elif image_format == "png":
        pixels = decoders.by_tensorflow(data, image_format, channels=4)
    else:  # TensorFlow has no transparency of a GIF, and refuses some WebPs.
        with corrupt(image_format, data):
            pixels = np.asarray(header.convert("RGBA"))
    laid, transparent = background.on_background(pixels, preparation.background)
    # TensorFlow does not decode a WebP with an alpha channel to three channels, even if it is opaque.
    transparent = transparent or image_format == "webp"
    return _decoded(laid)._replace(rescaled=rescaled, transparent=transparent)


def _compared(data: bytes, image_format: str, header: ImageFile) -> _Decoded:
    """Decodes an image by TensorFlow and by Pillow, and checks that the pixels are the same."""
    with corrupt(image_format, data):
        expected = np.asarray(header.convert("RGB"))
    try:
        pixels = decoders.by_tensorflow(data, image_format)
    except ImageError:
        pixels = None
    if pixels is None or not np.array_equal(pixels, expected):
        kind = _DECODED_IN_PART[image_format]
        raise ImageError(Reason.UNSUPPORTED_FORMAT, f"{kind}: TensorFlow misreads it. Save the image as PNG or JPEG")
    return _decoded(pixels)


def size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Returns the height and the width of an image. It decodes all of the image, as trainer/input/decoding.py does.

    Args:
        data: the encoded file.
        max_pixels: largest number of pixels in all frames; a larger image is not decoded.

    Raises:
        ImageError: the image cannot be decoded, is too large or damaged, or is of a kind that no conversion stores.
        MemoryError: there is not enough memory to decode it.
        decoders.DecoderError: the decoder failed, and the image need not be the cause.
    """
    proved = jpeg.prove(data, max_pixels)
    if proved:
        return proved.height, proved.width
    image_format, _ = read_header(data, max_pixels)
    decoded = _decode(data, image_format)
    return decoded.height, decoded.width


def decode(data: bytes, image_format: str) -> npt.NDArray[np.uint8]:
    """Returns the pixels that training sees, also of a damaged JPEG: uint8 [height, width, 3].

    Args:
        data: the encoded file.
        image_format: format of the file: see `headers.format_of`.

    Raises:
        ImageError: the image cannot be decoded.
        MemoryError: there is not enough memory to decode it.
        decoders.DecoderError: the decoder failed, and the image need not be the cause.
    """
    decoded = _decode_jpeg(data, keep_damaged=True) if image_format == JPEG else _decode(data, image_format)
    return jpeg.decode(data) if decoded.pixels is None else decoded.pixels


def picture(image: Image, side: int) -> npt.NDArray[np.uint8]:
    """Returns a small colour picture of an image, resized to a square: uint8 [side, side, 3].

    Args:
        image: from `prepare`.
        side: of the square, pixels.

    Raises:
        MemoryError: there is not enough memory to decode the image.
        decoders.DecoderError: the decoder failed, and the image need not be the cause.
    """
    pixels = jpeg.small(image.data, side) if image.format == JPEG else None
    if pixels is None:
        with room.taken(image.height * image.width * _PIXEL_BYTES):
            return _squeezed(decode(image.data, image.format), side)
    return _squeezed(pixels, side)


def _squeezed(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    # BILINEAR averages all pixels where it reduces.
    return np.asarray(PIL.Image.fromarray(pixels).resize((side, side), Resampling.BILINEAR))


def _decode(data: bytes, image_format: str) -> _Decoded:
    if image_format == JPEG:
        return _decode_jpeg(data)
    return _decoded(decoders.by_tensorflow(data, image_format))


def _decode_jpeg(data: bytes, keep_damaged: bool = False) -> _Decoded:
    proved = jpeg.prove(data, min_side=_MIN_GREY)
    if not proved:
        damage, copy = complaints.hear(data)
        if damage:
            return _damaged(copy, damage, keep_damaged)
        is_sequential = jpeg.prove(copy) is not None
        return _decoded(jpeg.decode(copy) if is_sequential else decoders.by_tensorflow(copy, JPEG))
    return _Decoded(proved.height, proved.width, _reduced(proved.grey))


def _damaged(data: bytes, damage: str, keep: bool) -> _Decoded:
    if keep:
        with contextlib.suppress(ValueError):
            return _decoded(jpeg.decode(data))._replace(damage=damage)
    raise ImageError(Reason.CORRUPT_IMAGE, f"{JPEG}: {damage}"[:200])


def _decoded(pixels: npt.NDArray[np.uint8]) -> _Decoded:
    height, width, _ = pixels.shape
    grey = PIL.Image.fromarray(_reduced(pixels)).convert("L")  # By the weights that the Y of a JPEG has.
    return _Decoded(height, width, np.asarray(grey), pixels)


def _reduced(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns a picture with all sides below 256 pixels, as means of all pixels, so that thin lines are not lost."""
    height, width = picture.shape[:2]
    if max(height, width) < 256:
        return picture
    factors = max(1, width // _MIN_GREY), max(1, height // _MIN_GREY)
    return np.asarray(PIL.Image.fromarray(picture).reduce(factors))


def _changed(pixels: npt.NDArray[np.uint8], turn: Transpose | None, shorter: int) -> PIL.Image.Image:
    """Returns an image, rotated by `turn` and resized to a shorter side of `shorter` pixels unless that is 0."""
    image = PIL.Image.fromarray(pixels)
    if turn is not None:
        image = image.transpose(turn)
    if shorter:
        scale = shorter / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Resampling.LANCZOS)
    return image


def _encode(image: PIL.Image.Image, source_format: str) -> tuple[bytes, str]:
    """Encodes an image, and returns the bytes and the format: JPEG if it was JPEG or WebP, PNG otherwise."""
    file = io.BytesIO()
    if source_format in (JPEG, "webp"):
        image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return file.getvalue(), JPEG
    image.save(file, "PNG")
    return file.getvalue(), "png"
