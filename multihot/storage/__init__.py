"""Opens, lists and moves files on this machine and in stores (`gs://`, `s3://`, `az://`): the one place that does.

    files.py        an entry of a listing, and errors
    local.py        files of this machine
    objects.py      objects of stores, by their client
    listing.py      listings of stores
    connections.py  buckets: their end points and credentials
    ahead.py        reads many objects of stores ahead of their use
    transfers.py    fetches objects by libcurl, which costs less than the client
    signing.py      requests for it
    libcurl.py      pycurl, apart from the libcurl of TensorFlow

A path with `://` is that of a store.
"""

import contextlib
import hashlib
import os
import posixpath
import stat
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from multihot.errors import UserError
from multihot.storage import listing, local, objects
from multihot.storage.files import File, FileTooLargeError, StoreError
from multihot.storage.listing import Part
from multihot.storage.objects import Version

__all__ = ["MAX_READ_BYTES", "File", "FileTooLargeError", "Part", "StoreError", "Version"]

# Largest size of a file that is read as a whole: rejects.csv with ten million rows has this size.
MAX_READ_BYTES = 1_000_000_000
_SHORT_READS = 64


def check(path: str) -> None:
    """Checks that there is a client for a path, without looking for the file.

    Raises:
        UserError: there is none, or the path is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"A path must be UTF-8, that of a folder too. Rename it. Received: {path!a}") from error
    if not is_local(path):
        objects.check(path)


def is_local(path: str) -> bool:
    """Whether a path is on this machine."""
    return "://" not in path


def parts(folder: str) -> list[Part]:
    """Returns parts of a listing, which can be listed at the same time; on this machine there is one."""
    return [Part()] if is_local(folder) else listing.parts(folder)


def list_files(folder: str, part: Part = Part()) -> Iterator[File]:  # noqa: B008
    r"""Yields every file in a folder and below it, with one listing and no request per file.

    Bytes of a name that are not UTF-8 are written as `\udcff`: no row can name such a file, since there `\` stands
    between folders. A folder that does not exist is empty, as in a store.

    Args:
        folder: to list.
        part: of the listing, from `parts`; by default all of it.

    Raises:
        OSError: the folder cannot be listed.
    """
    return local.list_files(folder) if is_local(folder) else listing.list_files(folder, part)


def relative(path: str, folder: str) -> str | None:
    """Returns a path relative to a folder, with symbolic links resolved; None if it is not in the folder."""
    path, folder = (os.path.realpath(p) if is_local(p) else p.rstrip("/") for p in (path, folder))
    prefix = posixpath.join(folder, "")
    return f"{path}/".removeprefix(prefix).rstrip("/") if f"{path}/".startswith(prefix) else None


def exists(path: str) -> bool:
    """Whether there is a file at a path; or, if the path is local, a folder."""
    return os.path.exists(path) if is_local(path) else objects.size(path) is not None


def folder_exists(path: str) -> bool:
    """Whether there is a folder; in a store, whether any file is in it."""
    return os.path.isdir(path) if is_local(path) else next(listing.list_files(path), None) is not None


def list_folders(folder: str) -> list[str]:
    """Returns the names of the folders directly in a folder, sorted; none if it does not exist."""
    return local.list_folders(folder) if is_local(folder) else listing.list_folders(folder)


def size(path: str) -> int:
    """Returns the size of a file in bytes; 0 if there is none."""
    if is_local(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return objects.size(path) or 0


def read(path: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
    """Returns the contents of a file.

    Args:
        path: of the file.
        max_bytes: largest number of bytes to read. The size from a listing is no limit, since a file may grow.

    Raises:
        FileTooLargeError: the file has more bytes, of which little more than `max_bytes` have been read.
        StoreError: the store refuses the request, or does not answer.
        OSError: the file cannot be read, or is a pipe, a socket or a device, which might block for ever.
    """
    return local.read(path, max_bytes) if is_local(path) else objects.read(path, max_bytes)


def read_if_there(path: str) -> bytes | None:
    """Returns the contents of a file; None if there is none. It raises what `read` does otherwise."""
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def open_binary(path: str) -> BinaryIO:
    """Opens a file for reading; the file is a context manager.

    Raises:
        OSError: the file cannot be opened, or is a pipe, a socket or a device, which might block for ever.
    """
    return local.open_binary(path) if is_local(path) else objects.open_binary(path)


def sha256(path: str) -> str:
    """Returns the hex digest of a file, without holding it in memory.

    Raises:
        OSError: the file cannot be read.
    """
    with open_binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def match(pattern: str) -> list[str]:
    """Returns the files that a pattern such as `parts/*.csv` matches, sorted by name.

    If a file has exactly this name, it is returned alone. A name without `*`, `?` and `[` is returned without a check
    that the file exists.
    """
    if not any(wildcard in pattern for wildcard in "*?[") or exists(pattern):
        return [pattern]
    return sorted({*(local.match(pattern) if is_local(pattern) else listing.match(pattern))})


@contextlib.contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading.

    Raises:
        UserError: there is no such file, or it cannot be opened.
    """
    try:
        if is_local(path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"Cannot read {path}: it is no file. All files of a folder are --csv='folder/*.csv'")
        file = open_binary(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error}") from error
    with file:
        yield file


@contextlib.contextmanager
def create(path: str, below: str = "") -> Iterator[BinaryIO]:
    """Creates a file atomically: it appears under its name when it is complete, and not at all after an exception.

    Args:
        path: of the file.
        below: a folder above it that has to be there, on this machine; by default all folders above it are made.

    Raises:
        OSError: the file cannot be written, or the folder is not there.
    """
    try:
        with local.create(path, below) if is_local(path) else objects.create(path) as file:
            yield file
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), path) from error
        raise


def write(path: str, content: bytes | str, below: str = "") -> None:
    """Writes a whole file, atomically. See `create`."""
    with create(path, below) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def move(source: str, target: str) -> None:
    """Renames a file, and replaces a file of the new name. In a store, it is copied before the old one is deleted."""
    if is_local(target):
        local.make_folder(posixpath.dirname(target))
        os.replace(source, target)
    elif source != target:
        objects.copy([(source, target)])
        objects.delete([source])


def delete(path: str) -> None:
    """Deletes a file, or a folder with its contents, if it exists."""
    if is_local(path):
        local.delete(path)
        return
    found = [file.path for file in list_files(path)]
    is_bucket = "/" not in path.partition("://")[2].rstrip("/")
    objects.delete(found if is_bucket else [*found, path])


def delete_files(paths: Collection[str]) -> None:
    """Deletes files, if they exist: in a store by one request, which does not look for folders of these names.

    Args:
        paths: of the files, all on this machine or all in one bucket.
    """
    paths = list(paths)
    if paths and not is_local(paths[0]):
        objects.delete(paths)
        return
    for path in paths:
        local.delete(path)


def keep_only(folder: str, names: Collection[str]) -> None:
    """Deletes all files in a folder and below it except the named ones, and the folders that are then empty."""
    others = [file for file in list_files(folder) if file.name not in names]
    if is_local(folder):
        for file in others:
            local.delete(file.path)
        local.delete_empty_folders(folder)
    else:
        objects.delete([file.path for file in others])


def link(pairs: Iterable[tuple[str, str]], below: str = "") -> None:
    """Gives files a second name, and replaces files of these names. In a store, the files are copied.

    Args:
        pairs: the old and the new path of each file, both on this machine or both in one bucket.
        below: as in `create`, for the new paths.
    """
    pairs = list(pairs)
    if pairs and not is_local(pairs[0][1]):
        objects.copy(pairs)
        return
    for source, target in pairs:
        local.link(source, target, below)


def in_parallel(path: str) -> ThreadPoolExecutor:
    """Returns threads for short reads below a path: several in a store, which takes its time, and one here."""
    return ThreadPoolExecutor(1 if is_local(path) else _SHORT_READS)


def make_folder(path: str) -> None:
    """Makes a folder and the folders above it. In a store, which has no folders, it does nothing.

    Raises:
        OSError: the folder cannot be made.
    """
    if is_local(path):
        local.make_folder(path)
