"""Defines the limits of one image, in bytes and pixels, for conversions and for all that reads a dataset.

The header of a small file can claim any number of pixels, and a row can name a file of any size. Both are checked
before an image is decoded: the size of the file from the listing, the number of pixels from the header.
"""

import argparse
from typing import NamedTuple

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


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the limits to the command line of a program that reads datasets."""
    for flag, default, most, unit in (
        ("--max_megapixels", DEFAULT_MAX_MEGAPIXELS, MOST_MEGAPIXELS, "megapixels"),
        ("--max_image_mb", DEFAULT_MAX_IMAGE_MB, MOST_IMAGE_MB, "MB"),
    ):

        def number(text: str, most: int = most) -> int:
            if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
                raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {most}. Received: {text[:50]!r}")
            return int(text)

        note = f"larger images are not read (default: {default} {unit})"
        parser.add_argument(flag, type=number, default=default, metavar="N", help=note)


def limits_of(arguments: argparse.Namespace) -> Limits:
    """Returns the limits from the parsed flags of `add_flags`."""
    return Limits(arguments.max_megapixels * 1_000_000, arguments.max_image_mb * 1_000_000)
