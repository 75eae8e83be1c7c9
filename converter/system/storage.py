"""Opens, lists and moves files on this machine, or in any store that Beam can open (`gs://`, `s3://`).

Stores are opened by Beam's file systems, since workers have them with the options of the job (end points, credentials).
Files of this machine are opened by Python: opening one by Beam takes as long as all other work on an image, and
importing Beam takes longer than a small conversion.
"""

import contextlib
import errno
import glob
import hashlib
import os
import posixpath
import shutil
import stat
import uuid
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO, NamedTuple

from multihot.errors import UserError

_BLOCK_BYTES = 1 << 20
# Largest size of a file that is read as a whole: rejects.csv with ten million rows has this size.
MAX_READ_BYTES = 1_000_000_000
# One of Beam's CompressionTypes. By default, Beam compresses files depending on the ending of their name.
_UNCOMPRESSED = "uncompressed"


def _stores() -> Any:
    """Returns Beam's file systems."""
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def check(path: str) -> None:
    """Checks that there is a file system for a path, without looking for the file.

    Raises:
        UserError: the file system is not installed, or the path is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"A path must be UTF-8, that of a folder too. Rename it. Received: {path!a}") from error
    if is_local(path):
        return
    try:
        _stores().get_filesystem(path)
    except ValueError as error:
        raise UserError(
            f"No file system for {path} is installed. For gs://, in the checkout: pip install '.[gcp]'; "
            "for s3://: pip install '.[aws]'"
        ) from error


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


def is_local(path: str) -> bool:
    """Whether a path is on this machine."""
    return "://" not in path


def list_files(folder: str) -> Iterator[File]:
    r"""Yields every file in a folder and below it, with one listing and no request per file.

    Bytes of a name that are not UTF-8 are written as `\udcff`: no row can name such a file, since there `\` stands
    between folders. A folder that does not exist is empty, as in a store.
    """
    if is_local(folder):
        if os.path.isdir(folder):
            yield from _list_local(folder)
        return
    prefix = folder.rstrip("/") + "/"
    for match in _stores().match([prefix + "**"]):
        for metadata in match.metadata_list:
            modified = int((metadata.last_updated_in_seconds or 0) * 1_000_000_000)
            yield File(metadata.path.removeprefix(prefix), metadata.path, metadata.size_in_bytes, modified)


def _list_local(folder: str) -> Iterator[File]:
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


def relative(path: str, folder: str) -> str | None:
    """Returns a path relative to a folder, with symbolic links resolved; None if it is not in the folder."""
    path, folder = (os.path.realpath(p) if is_local(p) else p.rstrip("/") for p in (path, folder))
    prefix = posixpath.join(folder, "")
    return f"{path}/".removeprefix(prefix).rstrip("/") if f"{path}/".startswith(prefix) else None


def exists(path: str) -> bool:
    """Whether there is a file at a path; or, if the path is local, a folder."""
    return os.path.exists(path) if is_local(path) else bool(_stores().exists(path))


def size(path: str) -> int:
    """Returns the size of a file in bytes; 0 if there is none."""
    if is_local(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return sum(metadata.size_in_bytes for match in _stores().match([path]) for metadata in match.metadata_list)


class FileTooLargeError(OSError):
    """A file has more bytes than may be read into memory."""

    def __init__(self, path: str, max_bytes: int):
        self.sentence = f"the file has more than the {max_bytes / 1e6:g} MB that are allowed"
        super().__init__(errno.EFBIG, self.sentence, path)


def read(path: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
    """Returns the contents of a file.

    Args:
        path: of the file.
        max_bytes: largest number of bytes to read. The size from a listing is no limit, since a file may grow.

    Raises:
        FileTooLargeError: the file has more bytes, of which little more than `max_bytes` have been read.
        OSError: the file cannot be read.
    """
    if is_local(path):
        return _read_local(path, max_bytes)
    with open_binary(path) as file:
        content = bytes(file.read(max_bytes + 1))
    if len(content) > max_bytes:
        raise FileTooLargeError(path, max_bytes)
    return content


def _read_local(path: str, max_bytes: int) -> bytes:
    """Returns the contents of a local file. It opens descriptors and no file objects, which take longer to create."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
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
    """Opens a file for reading; the file is a context manager.

    Raises:
        OSError: the file cannot be opened, or is a pipe, a socket or a device, which might block for ever.
    """
    if is_local(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "is no file", path)
        return open(path, "rb")
    try:
        file: BinaryIO = _stores().open(path, compression_type=_UNCOMPRESSED)
    except OSError:
        raise
    except Exception as error:  # Clients of stores have exceptions of their own.
        raise OSError(errno.EIO, str(error), path) from error
    return file


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
    if is_local(pattern):
        return sorted(path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path))
    return sorted(metadata.path for match in _stores().match([pattern]) for metadata in match.metadata_list)


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
def create(path: str) -> Iterator[BinaryIO]:
    """Creates a file atomically: it appears under its name when it is complete, and not at all after an exception."""
    folder, name = posixpath.split(path)
    temporary = posixpath.join(folder, f".{name}.{uuid.uuid4().hex}")
    make_folder(folder)
    try:
        with _create(temporary) as file:
            yield file
        move(temporary, path)
    except BaseException as error:
        # Closing a file in an object store publishes the bytes written so far, also after an exception.
        delete(temporary)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), path) from error
        raise


def _create(path: str) -> BinaryIO:
    if is_local(path):
        return open(path, "wb")
    file: BinaryIO = _stores().create(path, mime_type="application/octet-stream", compression_type=_UNCOMPRESSED)
    return file


def write(path: str, content: bytes | str) -> None:
    """Writes a whole file, atomically."""
    with create(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def move(source: str, target: str) -> None:
    """Renames a file, and replaces a file of the new name."""
    if is_local(target):
        make_folder(posixpath.dirname(target))
        os.replace(source, target)
    elif source != target:
        _stores().rename([source], [target])


def delete(path: str) -> None:
    """Deletes a file, or a folder with its contents, if it exists."""
    if is_local(path):
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.remove(path)
        return
    found = [m.path for match in _stores().match([path, path.rstrip("/") + "/**"]) for m in match.metadata_list]
    if found:
        _stores().delete(found)


def keep_only(folder: str, names: Collection[str]) -> None:
    """Deletes all files in a folder and below it except the named ones, and the folders that are then empty."""
    for file in list(list_files(folder)):
        if file.name not in names:
            delete(f"{folder}/{file.name}")
    if is_local(folder):
        for path, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):  # The folder is not empty.
                os.rmdir(path)


def link(source: str, target: str) -> None:
    """Gives a file a second name, and replaces a file of that name. It copies the file only if links are impossible."""
    if not is_local(target):
        _stores().copy([source], [target])
        return
    make_folder(posixpath.dirname(target))
    temporary = f"{target}.{uuid.uuid4().hex}"
    try:
        os.link(source, temporary)
    except OSError:  # Some file systems have no links.
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def make_folder(path: str) -> None:
    """Makes a folder and the folders above it. In a store, which has no folders, it does nothing.

    Raises:
        OSError: the folder cannot be made.
    """
    if path and is_local(path):
        os.makedirs(path, exist_ok=True)
