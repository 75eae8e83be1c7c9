"""Decodes JPEGs by libjpeg-turbo alone, without the overhead of calling TensorFlow.

A call of TensorFlow from Python takes as long as decoding an image. TensorFlow itself uses libjpeg-turbo: a file that
decodes without a warning here decodes to the same pixels there. Two kinds are left to TensorFlow: progressive files,
whose scans may be missing without a warning, and CMYK, which TensorFlow converts to RGB by its own arithmetic.
tests/fuzz/test_jpeg.py compares the two decoders.

    FF D8 | FF marker length ... | FF marker length ... | FF C0 length ... | FF C4 length ... | FF DA length ...
            APP0 to APP15, tables                         start of frame     tables             start of scan

To prove a file, all of its Huffman codes are decoded, since a file can be wrong only there: any coefficients can be
turned into pixels. So decoding a small picture proves as much as decoding the full size, in a third less time. The
fuzz test compares these two as well.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image
import simplejpeg

# Markers of segments that do not change how the picture is shown: start of a sequential frame with Huffman codes,
# tables, restart interval, APP0 (JFIF), comment.
_DECODING_MARKERS = frozenset((0xC0, 0xC1, 0xC4, 0xDB, 0xDD, 0xE0, 0xFE))
# Markers of segments that may change how it is shown: EXIF, profiles, the colours of Adobe.
_DISPLAY_MARKERS = frozenset(range(0xE1, 0xF0))
_APP0, _START_OF_SCAN = 0xE0, 0xDA
_JFIF_BYTES = 16
_COLOURS = ("YCbCr", "Gray", "RGB")
INKS = ("CMYK", "YCCK")
# Messages of libjpeg-turbo for missing memory, for which simplejpeg raises ValueError, as it does for damage.
_NO_MEMORY = re.compile("insufficient memory|memory allocation", re.IGNORECASE)


class Proved(NamedTuple):
    """A JPEG without any fault.

    Attributes:
        height: pixels.
        width: pixels.
        grey: uint8 [h, w], the picture at 1/8, 2/8, ... of its size.
        shown_as_decoded: whether the header has no segment that may change how the picture is shown (EXIF, profiles,
            colours).
    """

    height: int
    width: int
    grey: npt.NDArray[np.uint8]
    shown_as_decoded: bool


def prove(data: bytes, max_pixels: int | None = None, min_side: int = 1) -> Proved | None:
    """Proves that a sequential JPEG can be decoded.

    Args:
        data: the file.
        max_pixels: largest number of its pixels; None for any.
        min_side: pixels of the shorter side of the small picture, at least; fewer if the original has fewer.

    Returns:
        None if the file is of another kind or larger, or libjpeg-turbo has a warning about it: see complaints.py.

    Raises:
        MemoryError: there is not enough memory to decode it.
    """
    shown_as_decoded = _is_shown_as_decoded(data)
    if shown_as_decoded is None:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=True)
        if colours not in _COLOURS or (max_pixels is not None and height * width > max_pixels):
            return None
        grey = simplejpeg.decode_jpeg(data, colorspace="GRAY", min_height=min_side, min_width=min_side, strict=True)
    except ValueError as error:
        _raise_memory_error(error)
        return None
    return Proved(height, width, grey[:, :, 0], shown_as_decoded)


def small(data: bytes, min_side: int) -> npt.NDArray[np.uint8] | None:
    """Returns a small picture in colours, reduced as in `prove`: uint8 [h, w, 3].

    Args:
        data: the file.
        min_side: pixels of the shorter side of the picture, at least; fewer if the original has fewer.

    Returns:
        None if `prove` returns None because of the kind of the file or its faults.

    Raises:
        MemoryError: there is not enough memory to decode it.
    """
    if _is_shown_as_decoded(data) is None:
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
    """Returns the pixels of a JPEG as far as they can be decoded, despite warnings of libjpeg-turbo about its codes.

    Args:
        data: the file, or `complaints.Heard.data`, since simplejpeg refuses some odd headers that libjpeg decodes.

    Returns:
        uint8 [height, width, 3]. Pixels whose codes are missing are grey.

    Raises:
        ValueError: no pixel can be decoded.
        MemoryError: there is not enough memory to decode it.
    """
    with memory_errors():
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        inks = colours in INKS
        # Zeros, since a damaged file may leave a part of the array unwritten.
        pixels = np.zeros((height, width, 4 if inks else 3), np.uint8)
        simplejpeg.decode_jpeg(data, "CMYK" if inks else "RGB", strict=False, buffer=pixels)
    return np.asarray(PIL.Image.fromarray(255 - pixels, "CMYK").convert("RGB")) if inks else pixels


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turns the ValueError that simplejpeg raises for missing memory into MemoryError."""
    try:
        yield
    except ValueError as error:
        _raise_memory_error(error)
        raise


def _raise_memory_error(error: ValueError) -> None:
    if _NO_MEMORY.search(str(error)):
        raise MemoryError(f"libjpeg-turbo: {error}") from error


def _is_shown_as_decoded(data: bytes) -> bool | None:
    """Whether no segment may change how the picture is shown; None if the JPEG is not sequential, or is odd."""
    shown_as_decoded = True
    at = 2
    while data[at : at + 1] == b"\xff" and len(data) > at + 3:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if marker == _START_OF_SCAN:
            return shown_as_decoded
        if marker in _DISPLAY_MARKERS or (marker == _APP0 and length < _JFIF_BYTES):
            shown_as_decoded = False
        elif marker not in _DECODING_MARKERS:
            return None
        at += 2 + length
    return None
