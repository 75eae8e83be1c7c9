"""Defines File, an entry of a listing, and the errors that files of this machine and of stores have in common."""

import errno
from typing import NamedTuple


class File(NamedTuple):
    """A file in a folder.

    Attributes:
        name: path relative to the folder, separated by '/'; composed or decomposed as on disk.
        path: path by which it can be opened.
        size: in bytes.
        modified: time of the last change, in nanoseconds, with the resolution of the store.
        inside: False for a symbolic link that leads out of the folder.
    """

    name: str
    path: str
    size: int
    modified: int = 0
    inside: bool = True


class FileTooLargeError(OSError):
    """A file has more bytes than may be read into memory."""

    def __init__(self, path: str, max_bytes: int):
        self.sentence = f"the file has more than the {max_bytes / 1e6:g} MB that are allowed"
        super().__init__(errno.EFBIG, self.sentence, path)


class StoreError(OSError):
    """A store has refused a request, or has not answered it in several attempts. The cause is no file."""
