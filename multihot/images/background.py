"""Lays images with transparency on a background, so that every reader sees the same pixels.

Decoders differ in what they make of transparency: TensorFlow drops it, and shows the colours of transparent pixels,
which no viewer shows; others show black, white or a checkerboard.
"""

import re

import numpy as np
import numpy.typing as npt
from PIL.ImageFile import ImageFile

from multihot.errors import UserError

# Values in rows that are laid on the background at a time: their products take twice their bytes.
_BLOCK = 1 << 20


def parse_colour(text: str) -> tuple[int, int, int]:
    """Returns red, green and blue, from 0 to 255, of `white`, `black`, or a colour as `#ff8800`.

    Raises:
        UserError: something else was received.
    """
    digits = {"white": "ffffff", "black": "000000"}.get(text, text.removeprefix("#"))
    if not re.fullmatch("[0-9a-fA-F]{6}", digits) or text == digits:
        raise UserError(
            f"--background must be white, black, or # and six digits from 0 to f, as in #ff8800. Received: {text!r}"
        )
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def may_be_transparent(image_format: str, header: ImageFile) -> bool:
    """Whether an image has an alpha channel, or a transparent colour. A BMP is taken as opaque, as most programs do.

    Args:
        image_format: format of the file: see `headers.format_of`.
        header: of the image.
    """
    return image_format in ("png", "gif", "webp") and (
        header.mode in ("RGBA", "LA", "PA") or "transparency" in header.info
    )


def on_background(pixels: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> tuple[npt.NDArray[np.uint8], bool]:
    """Lays an image on a background of one colour.

    Args:
        pixels: uint8 [height, width, 4]; the last channel is the opacity.
        colour: of the background: red, green, blue.

    Returns:
        uint8 [height, width, 3]; and whether any pixel is transparent, even in part.
    """
    if pixels[..., 3].min() == 255:
        return np.ascontiguousarray(pixels[..., :3]), False
    laid = np.empty((*pixels.shape[:2], 3), np.uint8)
    step = max(1, _BLOCK // (4 * pixels.shape[1]))
    for top in range(0, len(pixels), step):
        rows = pixels[top : top + step].astype(np.uint16)
        opacity = rows[..., 3:]
        # The products and their sum are at most 255 * 255, and so is what rounds the division by 255.
        total = rows[..., :3] * opacity + np.array(colour, np.uint16) * (255 - opacity) + np.uint16(128)
        laid[top : top + step] = (total + (total >> 8)) >> 8
    return laid, True
