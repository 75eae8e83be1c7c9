"""Defines the limits of one image, in bytes and pixels, for conversions and for all that reads a dataset.

The header of a small file can claim any number of pixels, and a row can name a file of any size. Both are checked
before an image is decoded: the size of the file from the listing, the number of pixels from the header.
"""

import dataclasses
from dataclasses import field
from typing import NamedTuple

from multihot.errors import UserError
from multihot.settings import setting

# More than the images of cameras: 102 megapixels of medium format, 108 of telephones. A decoded image of this size
# takes 384 MB, and three times as much while a progressive JPEG is decoded.
DEFAULT_MAX_MEGAPIXELS = 128
# An uncompressed image of DEFAULT_MAX_MEGAPIXELS (a BMP, a PNG of noise) has 384 MB.
DEFAULT_MAX_IMAGE_MB = 400
# The largest record has 2147 MB, some of which its other fields need.
MOST_IMAGE_MB = 2000
# TensorFlow does not decode images of 2**29 pixels or more.
MOST_MEGAPIXELS = 536
# Bytes for the label vector of a million classes, the longest name and the keys.
_OTHER_FIELDS_BYTES = 16_000_000


class Limits(NamedTuple):
    """Limits of one image.

    Attributes:
        max_pixels: largest number of pixels in all of its frames; 3 bytes of memory each.
        max_image_bytes: largest size of the encoded file.
    """

    max_pixels: int = DEFAULT_MAX_MEGAPIXELS * 1_000_000
    max_image_bytes: int = DEFAULT_MAX_IMAGE_MB * 1_000_000

    @property
    def max_record_bytes(self) -> int:
        """The size of the largest record with such an image, in bytes."""
        return self.max_image_bytes + _OTHER_FIELDS_BYTES


DEFAULT = Limits()


def too_many_bytes(num_bytes: int, max_bytes: int) -> str:
    """Returns the detail of a reject whose file has too many bytes."""
    return (
        f"the file has {num_bytes / 1e6:.1f} MB, and --max_image_mb={max_bytes / 1e6:g} are allowed. Save a smaller "
        "image, or raise the limit"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """The settings that are the limits of an image, for all programs that read a dataset."""

    max_pixels: int = field(
        default=DEFAULT_MAX_MEGAPIXELS * 1_000_000,
        metadata=setting(
            "Do not decode images of more megapixels: 3 MB of memory each.", flag="max_megapixels", unit=1_000_000
        ),
    )
    max_image_bytes: int = field(
        default=DEFAULT_MAX_IMAGE_MB * 1_000_000,
        metadata=setting("Do not read larger image files, in MB.", flag="max_image_mb", unit=1_000_000),
    )

    def __post_init__(self) -> None:
        for flag, value, most in (
            ("--max_megapixels", self.max_pixels, MOST_MEGAPIXELS),
            ("--max_image_mb", self.max_image_bytes, MOST_IMAGE_MB),
        ):
            if not 1 <= value <= most * 1_000_000:
                # The number may have thousands of digits.
                raise UserError(f"{flag} must be from 1 to {most}. Received: {str(value // 1_000_000)[:50]}")

    @property
    def limits(self) -> Limits:
        """The limits of an image."""
        return Limits(self.max_pixels, self.max_image_bytes)
