"""Turns the name in a row into the name of a file, relative to the folder of images."""

import posixpath
import re

from converter.rejects import Reason, RowRejectedError
from converter.text import CONTROL, composed

# A name that is normalized already: letters, digits, '_' and '-', with single '.' and '/' between them.
_PLAIN_NAME = re.compile(r"(?:[\w-]+[./])*[\w-]+", re.ASCII)


def normalized(filename: str) -> str:
    """Returns the normalized file name, without the checks of `checked`."""
    return posixpath.normpath(_in_one_spelling(filename))


def _in_one_spelling(filename: str) -> str:
    return composed(filename.strip()).replace("\\", "/")


def checked(filename: str) -> str:
    """Returns the normalized file name: relative, with '/', in composed characters, without spaces around it.

    Raises:
        RowRejectedError: the name is blank, has control characters, or leads out of the folder of images.
    """
    if _PLAIN_NAME.fullmatch(filename):  # One test instead of five for most names.
        return filename
    name = _in_one_spelling(filename)
    if not name:
        raise RowRejectedError(Reason.MISSING_NAME, "the file name is blank")
    if name.startswith("/") or re.match(r"[A-Za-z]:|[\w+.-]+://", name) or ".." in name.split("/"):
        raise RowRejectedError(
            Reason.UNSAFE_PATH, "the file name must be relative to the folder of images: no '..', no drive, no address"
        )
    if CONTROL.search(name):
        raise RowRejectedError(Reason.UNSAFE_PATH, f"the file name has control characters: {name!a}")
    return posixpath.normpath(name)
