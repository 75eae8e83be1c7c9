"""Opens, lists and moves the files of this machine.

They are opened by Python, and not by a library for stores: opening one there takes as long as all other work on an
image.
"""

import contextlib
import errno
import glob
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from multihot.storage.files import File, FileTooLargeError

_BLOCK_BYTES = 1 << 20


def list_files(folder: str) -> Iterator[File]:
    """Yields every file in a folder and below it. See storage.list_files."""
    if not os.path.isdir(folder):
        return
    root = os.path.realpath(folder)
    folders = [(folder, "")]
    while folders:  # A loop and no recursion: folders can be nested deeper than calls.
        path, prefix = folders.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, name + "/"))
                elif file := _file(entry, name, root):
                    yield file


def list_folders(folder: str) -> list[str]:
    """Returns the names of the folders directly in a folder. See storage.list_folders."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _file(entry: "os.DirEntry[str]", name: str, root: str) -> File | None:
    """Returns a regular file; None for anything else, such as a pipe, which might block a reader for ever."""
    try:
        status = entry.stat()
    except OSError:  # A broken link, or a circle of links.
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    inside = not entry.is_symlink() or os.path.realpath(entry.path).startswith(root + os.sep)
    return File(_utf8(name), _utf8(entry.path), status.st_size, status.st_mtime_ns, inside)


def _utf8(name: str) -> str:
    return name if name.isascii() else name.encode(errors="backslashreplace").decode()


def read(path: str, max_bytes: int) -> bytes:
    """Returns the contents of a file. It opens descriptors and no file objects, which take longer to create.

    Raises:
        OSError: the file cannot be read, or is a pipe, a socket or a device, which might block for ever.
    """
    # Without this flag, a pipe blocks until another process opens it too. It has no effect on files.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # Of a folder, the system says so.
            raise OSError(errno.EINVAL, "is no file")
        blocks, num_bytes = [], 0
        while block := os.read(descriptor, _BLOCK_BYTES):
            blocks.append(block)
            num_bytes += len(block)
            if num_bytes > max_bytes:
                raise FileTooLargeError(path, max_bytes)
    except FileTooLargeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def open_binary(path: str) -> BinaryIO:
    """Opens a file for reading.

    Raises:
        OSError: the file cannot be opened, or is a pipe, a socket or a device, which might block for ever.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "is no file", path)
    return open(path, "rb")


def match(pattern: str) -> list[str]:
    """Returns the files that a pattern matches."""
    return [path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)]


@contextlib.contextmanager
def create(path: str, below: str = "") -> Iterator[BinaryIO]:
    """Creates a file atomically, under a temporary name in its folder.

    Args:
        path: of the file.
        below: a folder above it, which has to be there; by default all folders above it are made.

    Raises:
        OSError: the file cannot be written, or the folder is not there.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}")
    make_folder(folder, below)
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        delete(temporary)
        raise


def delete(path: str) -> None:
    """Deletes a file, or a folder with its contents, if it exists."""
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.remove(path)


def delete_empty_folders(folder: str) -> None:
    """Deletes the folders in a folder that hold no file, and the folder itself if it holds none."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # The folder is not empty.
            os.rmdir(path)


def link(source: str, target: str, below: str = "") -> None:
    """Gives a file a second name, and replaces a file of that name. It copies the file only if links are impossible."""
    make_folder(os.path.dirname(target), below)
    temporary = f"{target}.{uuid.uuid4().hex}"
    try:
        os.link(source, temporary)
    except OSError:  # Some file systems have no links.
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def make_folder(path: str, below: str = "") -> None:
    """Makes a folder and the folders above it; with `below`, those below a folder that is there.

    Raises:
        OSError: the folder cannot be made, or there is none to make it in.
    """
    if not below:
        if path:
            os.makedirs(path, exist_ok=True)
        return
    for name in os.path.relpath(path, below).split(os.sep):
        below = os.path.join(below, name)
        with contextlib.suppress(FileExistsError):
            os.mkdir(below)
