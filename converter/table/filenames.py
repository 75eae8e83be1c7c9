"""Turns the name in a row into the name of a file, relative to the folder of images.

A row and a file belong together if `key` of their names is the same.
"""

import os
import posixpath
import re
from collections.abc import Callable, Collection
from urllib.parse import unquote

from converter.options import ConvertOptions
from converter.rejects import Reason, RowRejectedError
from converter.text import CONTROL, nfc
from multihot import storage
from multihot.errors import UserError

# A name that is normalized already: letters, digits, '_' and '-', with single '.' and '/' between them.
_PLAIN_NAME = re.compile(r"(?:[\w-]+[./])*[\w-]+", re.ASCII)
# The start of an address, and of a path that is relative to no folder.
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+://")
_OUTSIDE = re.compile(r"/|[A-Za-z]:|[\w+.-]+://")
# The ending of a file name, and the query or the fragment of an address behind it.
_QUERY = re.compile(r"(?<=\.)(\w{2,5})[?#].*")
# Endings of image files, which --filename_match=stem ignores.
_ENDING = re.compile(r"\.(?:jpe?g|jpe|jfif|png|gif|bmp|webp|tiff?|avif|hei[cf]|jp2)$", re.IGNORECASE)


def normalized(filename: str) -> str:
    """Returns the normalized file name, without the checks of `checked`."""
    return posixpath.normpath(in_one_spelling(filename))


def in_one_spelling(filename: str) -> str:
    """Returns a name in composed characters, with '/' between folders, and without spaces around it."""
    return nfc(filename.strip()).replace("\\", "/")


def checked(filename: str) -> str:
    """Returns the normalized file name: relative, with '/', in composed characters, without spaces around it.

    Raises:
        RowRejectedError: the name is blank, has control characters, or leads out of the folder of images.
    """
    if _PLAIN_NAME.fullmatch(filename):  # One test instead of five for most names.
        return filename
    name = in_one_spelling(filename)
    if not name:
        raise RowRejectedError(Reason.MISSING_NAME, "the file name is blank")
    if _OUTSIDE.match(name) or ".." in name.split("/"):
        raise RowRejectedError(
            Reason.UNSAFE_PATH, "the file name must be relative to the folder of images: no '..', no drive, no address"
        )
    if CONTROL.search(name):
        raise RowRejectedError(Reason.UNSAFE_PATH, f"the file name has control characters: {name!a}")
    return posixpath.normpath(name)


def reader(options: ConvertOptions, csv: str) -> Callable[[str], str]:
    """Returns the function from the cell of a row to its normalized file name, which raises what `checked` raises.

    Args:
        options: of the conversion.
        csv: path of the table that the cells are from.

    Raises:
        UserError: names are to be relative to the table, which lies outside of the folder of images.
    """
    pattern = re.compile(options.filename_pattern) if options.filename_pattern else None
    suffix, is_base = options.filename_suffix, "basename" in options.filename_match
    folder = _folder_of(csv, options.images) if options.relative_to_csv else ""
    prefixes = _prefixes(options.images)
    is_plain = not (pattern or suffix or is_base or folder)

    def read(cell: str) -> str:
        if is_plain and _PLAIN_NAME.fullmatch(cell):
            return cell
        name = in_one_spelling(cell)
        if pattern and name:
            found = pattern.search(name)
            name = (found[1] or "").strip() if found else ""
            if not name:
                raise RowRejectedError(Reason.MISSING_NAME, f"--filename_pattern finds no name in {cell!r}")
        inside = _below(name, prefixes) if _OUTSIDE.match(name) else None
        name = inside or name
        if is_base:
            name = base(name)
        if suffix and name and not name.lower().endswith(suffix.lower()):
            name += suffix
        if folder and not inside and name and not _OUTSIDE.match(name):
            name = posixpath.normpath(posixpath.join(folder, name))
        return checked(name)

    return read


def key(matches: Collection[str]) -> Callable[[str], str]:
    """Returns the function from a normalized name to the text that the names of a row and of its file have in common.

    Args:
        matches: --filename_match: path, or what is ignored.
    """
    first, *others = (_KEYS[match] for match in matches)

    def combined(name: str) -> str:
        for function in (first, *others):
            name = function(name)
        return name

    return combined if others else first


def without_ending(name: str) -> str:
    """Returns a name without the ending of an image file, if it has one."""
    return _ENDING.sub("", name)


def base(name: str) -> str:
    """Returns the last part of a path or an address, without a query."""
    if _ADDRESS.match(name):
        name = unquote(re.split("[?#]", name, maxsplit=1)[0])
    return _basename(_QUERY.sub(r"\1", name).rstrip("/"))


def _path(name: str) -> str:
    return name


def _basename(name: str) -> str:
    return name.rpartition("/")[2]


_KEYS: dict[str, Callable[[str], str]] = {
    "path": _path,
    "ignore_case": str.lower,
    "basename": _basename,
    "stem": without_ending,
}


def _prefixes(images: str) -> tuple[str, ...]:
    """Returns the absolute paths of the folder of images, each with '/' at its end."""
    if not storage.is_local(images):
        return (posixpath.join(nfc(images), ""),)
    paths = (os.path.abspath(images), os.path.realpath(images))
    return tuple({posixpath.join(in_one_spelling(path), "") for path in paths})


def _below(name: str, prefixes: tuple[str, ...]) -> str | None:
    """Returns an absolute path or an address relative to the folder of images; None if it does not lie there."""
    if name.lower().startswith("file://"):
        name = "/" + nfc(unquote(name[7:])).partition("/")[2]
    path = name if _ADDRESS.match(name) else posixpath.normpath(name)
    return next((path[len(prefix) :] for prefix in prefixes if path.startswith(prefix)), None)


def _folder_of(csv: str, images: str) -> str:
    """Returns the folder of a table, relative to the folder of images.

    Raises:
        UserError: it lies outside.
    """
    folder = posixpath.dirname(csv) or "."
    found = storage.relative(folder, images)
    if found is None:
        raise UserError(
            f"--relative_to_csv: {csv} lies outside of --images={images}. Choose a folder that holds both the tables "
            "and the images."
        )
    return nfc(found)
