"""Finds the files that paths, folders and patterns name, in an order that is always the same."""

import os
import posixpath
import re
from collections.abc import Iterator, Sequence

from multihot import storage
from multihot.errors import UserError
from multihot.storage import File

# A byte of a name that is not UTF-8, as `storage.list_files` writes it: Python has a surrogate in its place.
_ESCAPED_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")


def files(places: Sequence[str]) -> Iterator[File]:
    """Yields the files that are named, in the order of the places; those of a folder or a pattern by name.

    A folder stands for all files in it and below it, but those whose names, or whose folders' names, begin with a dot.
    Of a folder on this machine, the names are held in memory.

    Args:
        places: paths of files, of folders, or patterns such as `photos/*.jpg`; on this machine or in stores.

    Raises:
        UserError: a place does not exist, or a pattern matches nothing.
        OSError: a folder cannot be listed.
    """
    for place in places:
        storage.check(place)
        yield from _at(place)


def _at(place: str) -> Iterator[File]:
    if storage.folder_exists(place):
        for name in _names(place):
            yield named(posixpath.join(place, name))
    elif storage.exists(place):
        yield named(place)
    elif any(wildcard in place for wildcard in "*?["):
        found = storage.match(place)
        if not found:
            raise UserError(f"No file matches {place!r}. Check the folder and the pattern.")
        yield from map(named, found)
    else:
        raise UserError(f"There is no file and no folder {place!r}. Check the path.")


def _names(folder: str) -> Iterator[str]:
    """Yields the names of the files in a folder, sorted. A listing of a store is sorted, and is not held."""
    found = (file.name for file in storage.list_files(folder) if not _is_hidden(file.name))
    yield from (_openable(folder, name) for name in sorted(found)) if storage.is_local(folder) else found


def _openable(folder: str, name: str) -> str:
    r"""Returns a name by which a file of this machine can be opened: a listing writes bytes as `\udcff`."""
    if not _ESCAPED_BYTE.search(name) or os.path.exists(os.path.join(folder, name)):
        return name
    return _ESCAPED_BYTE.sub(lambda found: chr(int(found[1], 16)), name)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def named(path: str) -> File:
    """Returns the file at a path, of which no more is known."""
    return File(posixpath.basename(path), path, 0)
