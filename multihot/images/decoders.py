"""Decodes an image as training does, and distinguishes damaged images from failures of the machine.

TensorFlow raises InvalidArgument for bytes that it cannot decode, and other errors if memory is missing or a part of
TensorFlow fails. But it also raises InvalidArgument for all failures of its libraries (libpng, libwebp), and crashes if
it cannot copy the file. So the memory for an image is allocated and freed before TensorFlow decodes it, as a test.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from multihot.errors import UserError
from multihot.images.headers import JPEG, ImageError, check_memory
from multihot.quiet import tensorflow
from multihot.reasons import Reason

# An image of 16 bits whose largest value is below this uses at most 13 of them: training takes the upper 8 bits, and
# would see at most 32 of 256 levels. (12 bits in 16 are common in medicine and microscopy, and would leave 16 levels.)
_MIN_LARGEST = 1 << 13


class DecoderError(Exception):
    """A decoder failed, and the image need not be the cause."""


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """Turns failures that are not caused by an image into UserError, for programs that look at a dataset.

    Args:
        where: the place of the image, for the message.
    """
    try:
        yield
    except MemoryError as error:
        words = f" ({error})" if str(error) else ""
        raise UserError(
            f"{where}: there is not enough memory to decode it{words}. Free some, and try again."
        ) from error
    except DecoderError as error:
        raise UserError(f"{where} cannot be decoded now: {error}. Try again.") from error


def by_tensorflow(data: bytes, image_format: str, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Returns the pixels that training sees: uint8 [height, width, channels].

    Args:
        data: the encoded file. For a JPEG with a warning, libjpeg prints a line.
        image_format: format of the file: see `headers.format_of`.
        channels: 3; or 4 for a PNG, with the opacity last.

    Raises:
        ImageError: the image cannot be decoded.
        MemoryError: there is not enough memory to decode it.
        DecoderError: TensorFlow failed, and the image need not be the cause.
    """
    tf = _tensorflow()
    check_memory(data, image_format)
    try:
        if image_format == JPEG:
            image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        else:
            image = tf.io.decode_image(data, channels=channels, expand_animations=False)
    except tf.errors.OpError as error:
        raise _of(error, image_format) from error
    return np.asarray(memoryview(image))  # `numpy()` would copy it.


def of_16_bits(data: bytes, *, rescale: bool, channels: int = 3) -> tuple[npt.NDArray[np.uint8], bool]:
    """Returns the pixels of a PNG of 16 bits, and whether they were rescaled.

    Args:
        data: the encoded file.
        rescale: whether to map the range of its values to 0 to 255. Otherwise, and for an image of a single value, the
            pixels are the upper 8 bits.
        channels: 3; or 4, with the opacity last, which is never mapped. Values that it hides do not count in the range.

    Returns:
        uint8 [height, width, channels]; and whether the values were mapped.

    Raises:
        ImageError: the image cannot be decoded, or its values are so low that the upper 8 bits hold little of it.
        MemoryError: there is not enough memory to decode it.
        DecoderError: TensorFlow failed, and the image need not be the cause.
    """
    tf = _tensorflow()
    check_memory(data, "png")
    try:
        image = tf.io.decode_png(data, channels=channels, dtype=tf.uint16)
    except tf.errors.OpError as error:
        raise _of(error, "png") from error
    values = np.asarray(memoryview(image))
    colours, opacity = values[..., :3], values[..., 3:]
    seen = opacity > 255 if channels == 4 else np.True_
    lowest = int(colours.min(initial=65535, where=seen))
    highest = int(colours.max(initial=0, where=seen))
    if lowest >= highest or (not rescale and highest >= _MIN_LARGEST):  # (Of no pixel that is seen, lowest is larger.)
        return _upper(values), False
    if not rescale:
        raise ImageError(
            Reason.UNSUPPORTED_FORMAT,
            f"16 bits of which the upper ones are not used: its largest value is {highest} of 65535, so that training "
            f"would see levels up to {highest >> 8} of 255. Map the values of each image to 0 to 255 by "
            "--rescale_16bit, or save the image with 8 bits",
        )
    scale = np.rint(np.arange(highest - lowest + 1) * (255 / (highest - lowest))).astype(np.uint8)
    if channels == 3:
        return scale[colours - lowest], True
    return np.concatenate((scale[np.clip(colours, lowest, highest) - lowest], _upper(opacity)), axis=-1), True


def _upper(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Returns the upper 8 of 16 bits, without a copy of all 16 in between."""
    return np.right_shift(values, 8, out=np.empty(values.shape, np.uint8), casting="unsafe")


def _tensorflow() -> Any:
    try:
        return tensorflow()
    except ImportError as error:
        # A module that failed half way cannot be imported again, so this is not tried again like other errors.
        if re.search("failed to map segment|allocate memory", str(error)):
            raise UserError(
                f"There is not enough memory to load TensorFlow, which decodes all but plain JPEGs: {error}. Free "
                "some, or raise the limit (ulimit -v): it takes 500 MB in each process, and more of the address space."
            ) from error
        raise


def _of(error: Any, image_format: str) -> Exception:
    """Returns the exception that a `tf.errors.OpError` stands for."""
    tf = _tensorflow()
    # The message without the names of the operations around it.
    words = re.sub(r"\{\{.*?\}\}\s*|\[Op:.*|\s+", " ", error.message).strip()[:200]
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return MemoryError(words)
    if not isinstance(error, tf.errors.InvalidArgumentError | tf.errors.UnimplementedError):
        return DecoderError(f"TensorFlow: {type(error).__name__}: {words}")
    return ImageError(Reason.CORRUPT_IMAGE, f"{image_format}: {words}")
