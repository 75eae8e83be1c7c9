"""Moves a finished dataset into its place, and lets one conversion at a time do so.

On this machine a folder changes its name in one step, and so do two folders that change places. In an object store,
which has no folders, the file that makes a dataset goes first and comes last.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

from converter.system import storage
from schemas import locking
from schemas.errors import UserError


def publish(source: str, target: str, *, last: str, aside: str) -> None:
    """Moves a folder into its place, instead of what may be there.

    On this machine that is a rename of the whole folder, or an exchange of the two. An object store has no folders:
    there the objects are copied one after the other, and `last`, the file that makes readers take them for a dataset,
    goes first and comes last. Nothing of the source is deleted before, so that it can be done again after a failure.

    Args:
        source: the folder.
        target: the path that it gets.
        last: path of that file, relative to the folder.
        aside: where what was there waits until the folder is in its place, if the file system cannot exchange them.
    """
    if not storage.is_local(target):
        storage.delete(f"{target}/{last}")
        storage.delete(target)
        names = [file.name for file in storage.list_files(source) if file.name != last]
        for name in [*names, last]:
            storage.link(f"{source}/{name}", f"{target}/{name}")
        _discard(source, last)
        return
    _discard(aside, last)
    if storage.exists(target) and _exchange(source, target):
        os.replace(source, aside)
    else:
        if storage.exists(target):
            os.replace(target, aside)
        os.replace(source, target)
    _discard(aside, last)


def restore(target: str, *, last: str, aside: str) -> None:
    """Mends what a `publish` that was killed between its renames has left: puts back what it had set aside."""
    if storage.is_local(target) and storage.exists(f"{aside}/{last}") and not storage.exists(target):
        os.replace(aside, target)
    _discard(aside, last)


def _discard(folder: str, last: str) -> None:
    """Deletes a dataset, so that no reader takes what is left of it on the way for one."""
    storage.delete(f"{folder}/{last}")
    storage.delete(folder)


def _exchange(one: str, other: str) -> bool:
    """Lets two folders of this machine change places in one step. Returns whether it could: Linux can, mostly."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    at_working_directory, exchange = -100, 2
    paths = os.fsencode(one), os.fsencode(other)
    return rename is not None and rename(at_working_directory, paths[0], at_working_directory, paths[1], exchange) == 0


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keeps other conversions on this machine out of a folder. A store has no locks.

    The system lets go of the lock when the process ends, however it ends, and no file is left behind.

    Raises:
        UserError: another conversion is in there.
        OSError: the folder cannot be made.
    """
    if not storage.is_local(folder):
        yield
        return
    storage.make_folder(folder)
    handle = locking.lock(folder)
    if handle is None:
        raise UserError(
            f"Another conversion is at work in {folder}. Wait until it has ended, or choose another --name or --output."
        )
    try:
        yield
    finally:
        os.close(handle)
