"""Keeps arrays on disk, for this run and for later ones.

    <root>/<key>/             key: a digest of the description of the contents
        inputs, labels        the arrays, raw
        description.json      the description of the contents, for people; written last
    <root>/<key>.incomplete/  while a process makes it, which has locked <key>.lock

The folder gets its name when it is complete, so that the files of a killed run are not mistaken for a cache; the next
run removes them. A run that needs a cache that another process makes waits for it. A complete folder is only read, so
that it may be on a read-only disk.
"""

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multihot.errors import UserError

_DESCRIPTION = "description.json"
_LOCK, _INCOMPLETE = ".lock", ".incomplete"

Description = dict[str, Any]


def is_complete(root: Path, description: Description) -> bool:
    """Returns whether there is a complete cache with this description."""
    return os.path.isdir(_folder(root, description))


def is_writable(root: Path) -> bool:
    """Returns whether a cache can be written in a folder, which need not exist yet."""
    there = root.absolute()
    while not os.path.exists(there) and there != there.parent:
        there = there.parent
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def remove_unfinished(root: Path) -> None:
    """Removes the unfinished caches of runs that were killed."""
    with contextlib.suppress(OSError):  # There are none, or this process may not remove them.
        for lock in sorted(root.glob(f"*{_LOCK}")):
            with contextlib.suppress(OSError), _locked(lock, wait=False):
                shutil.rmtree(lock.with_suffix(_INCOMPLETE), ignore_errors=True)


def find_or_make(root: Path, description: Description, names: Sequence[str], chunks: Iterator[Sequence[Any]]) -> Path:
    """Returns the folder of a cache, and makes it if it is not there.

    Args:
        root: folder of all caches.
        description: everything that determines the contents.
        names: of the arrays.
        chunks: a part of each array, one after the other; not read if the cache is there.

    Raises:
        UserError: the disk is full, or cannot be written to.
    """
    folder = _folder(root, description)
    if os.path.isdir(folder):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        remove_unfinished(root)
        with _locked(folder.with_suffix(_LOCK)):
            if not folder.is_dir():  # Another process may have made it in the meantime.
                unfinished = folder.with_suffix(_INCOMPLETE)
                try:
                    _write(unfinished, description, names, chunks)
                    unfinished.rename(folder)
                finally:
                    shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"The cache cannot be written to {root}: {error.strerror or error}. Choose another --cache_dir or --cache."
        ) from error
    return folder


def write_chunks(files: Sequence[Any], chunks: Iterator[Sequence[Any]]) -> None:
    """Writes arrays to files, one chunk after the other."""
    for chunk in chunks:
        for file, array in zip(files, chunk, strict=True):
            file.write(np.ascontiguousarray(array).data)


def map_file(path: Path, num_bytes: int) -> mmap.mmap:
    """Returns a file as memory.

    Args:
        path: of a file in a cache.
        num_bytes: the size that the file must have.

    Raises:
        UserError: it has another size, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == num_bytes:
                # TensorFlow requires writable memory, but does not write to it.
                return mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_COPY)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UserError(
            f"The cache {path.parent} cannot be read: {error.strerror or error}. Choose another --cache_dir or --cache."
        ) from error
    raise UserError(f"The cache {path.parent} is damaged: {path.name} must have {num_bytes} bytes. Remove the folder.")


def _folder(root: Path, description: Description) -> Path:
    return root / hashlib.sha256(_text(description).encode()).hexdigest()[:32]


def _text(description: Description) -> str:
    return json.dumps(description, indent=1, sort_keys=True)


def _write(folder: Path, description: Description, names: Sequence[str], chunks: Iterator[Sequence[Any]]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in names]
        write_chunks(files, chunks)
        for file in files:
            file.flush()
            os.fsync(file.fileno())
    (folder / _DESCRIPTION).write_text(_text(description) + "\n")


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Lets one process at a time make a cache. The lock ends with its process, and its file is removed.

    Raises:
        BlockingIOError: another process has it, and `wait` is false.
    """
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                # The process that had the lock has removed the file, and another one may have made a new one.
                if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    continue
            except FileNotFoundError:
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
