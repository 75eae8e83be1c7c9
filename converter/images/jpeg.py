"""Decodes JPEGs by libjpeg-turbo alone: a call of TensorFlow from Python costs as much again.

TensorFlow, too, calls libjpeg-turbo. A file without a complaint here is decoded there as well, and to the same
pixels, with two exceptions that TensorFlow decodes as well: progressive files, of which scans may be missing, and inks
(CMYK), which the two turn into RGB by arithmetic of their own. tests/fuzz/test_jpeg.py holds them against each other.

    FF D8 | FF marker length ... | FF marker length ... | FF C0 length ... | FF C4 length ... | FF DA length ...
            APP0 to APP15, tables                         start of frame     tables             start of scan

To prove a file, every bit of it goes through the decoder of Huffman codes, which is where a file can be wrong: what
makes pixels of coefficients is arithmetic that takes any. So a small picture proves as much as one in full size, and
takes a third less time. The fuzz test also holds these two against each other.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
import simplejpeg

# Starts of frames that are sequential with Huffman codes, tables, the restart interval, APP0 (JFIF), comments...
_SILENT = frozenset((0xC0, 0xC1, 0xC4, 0xDB, 0xDD, 0xE0, 0xFE))
# ...and what may say how the picture is to be shown: EXIF, profiles, the colours of Adobe.
_SPEAKING = frozenset(range(0xE1, 0xF0))
_APP0, _START_OF_SCAN = 0xE0, 0xDA
_JFIF_BYTES = 16
_COLOURS = ("YCbCr", "Gray", "RGB")
INKS = ("CMYK", "YCCK")
# In the words of libjpeg-turbo. simplejpeg raises ValueError for these as for damage.
_NO_MEMORY = re.compile("insufficient memory|memory allocation", re.IGNORECASE)


class Proved(NamedTuple):
    """A JPEG without any fault.

    Attributes:
        height: pixels.
        width: pixels.
        grey: uint8 [h, w], a small picture of it: at 1/8, 2/8, ... of its size.
        silent: whether nothing in its header says how the picture is to be shown.
    """

    height: int
    width: int
    grey: npt.NDArray[np.uint8]
    silent: bool


def prove(data: bytes, max_pixels: int | None = None, min_side: int = 1) -> Proved | None:
    """Proves that a sequential JPEG can be decoded.

    Args:
        data: the file.
        max_pixels: that it may have; None for any number.
        min_side: of the small picture, pixels; less where the original has less.

    Returns:
        None where it is of another kind or larger, or libjpeg-turbo has anything to say of it: see complaints.py.

    Raises:
        MemoryError: there is not enough memory to decode it.
    """
    silent = _is_silent(data)
    if silent is None:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=True)
        if colours not in _COLOURS or (max_pixels is not None and height * width > max_pixels):
            return None
        grey = simplejpeg.decode_jpeg(data, colorspace="GRAY", min_height=min_side, min_width=min_side, strict=True)
    except ValueError as error:
        _raise_memory_error(error)
        return None
    return Proved(height, width, grey[:, :, 0], silent)


def small(data: bytes, min_side: int) -> npt.NDArray[np.uint8] | None:
    """Returns a small picture in colours, reduced as in `prove`: uint8 [h, w, 3].

    Args:
        data: the file.
        min_side: of the picture, pixels; less where the original has less.

    Returns:
        None where `prove` returns None for the kind of the file, or for its faults.

    Raises:
        MemoryError: there is not enough memory to decode it.
    """
    if _is_silent(data) is None:
        return None
    try:
        if simplejpeg.decode_jpeg_header(data, strict=True)[2] not in _COLOURS:
            return None
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, min_height=min_side, min_width=min_side, strict=True
        )
    except ValueError as error:
        _raise_memory_error(error)
        return None
    return pixels


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Returns the pixels of a JPEG as far as they can be decoded, whatever libjpeg-turbo complains of in its codes.

    Args:
        data: the file, or `complaints.Heard.data`: what is odd in the header is an error for simplejpeg.

    Returns:
        uint8 [height, width, 3]. Where codes are missing, libjpeg-turbo paints grey.

    Raises:
        ValueError: nothing can be decoded.
        MemoryError: there is not enough memory to decode it.
    """
    with memory_errors():
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        inks = colours in INKS
        # Of zeros, since an error may leave a part of it as it is.
        pixels = np.zeros((height, width, 4 if inks else 3), np.uint8)
        simplejpeg.decode_jpeg(data, "CMYK" if inks else "RGB", strict=False, buffer=pixels)
    return np.asarray(PIL.Image.fromarray(255 - pixels, "CMYK").convert("RGB")) if inks else pixels


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Raises MemoryError where libjpeg-turbo says that memory is missing."""
    try:
        yield
    except ValueError as error:
        _raise_memory_error(error)
        raise


def _raise_memory_error(error: ValueError) -> None:
    if _NO_MEMORY.search(str(error)):
        raise MemoryError(f"libjpeg-turbo: {error}") from error


def _is_silent(data: bytes) -> bool | None:
    """Whether nothing before the first scan says how to show the picture; None if that is not sequential, or odd."""
    silent = True
    at = 2
    while data[at : at + 1] == b"\xff" and len(data) > at + 3:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if marker == _START_OF_SCAN:
            return silent
        if marker in _SPEAKING or (marker == _APP0 and length < _JFIF_BYTES):
            silent = False
        elif marker not in _SILENT:
            return None
        at += 2 + length
    return None
