"""Moves a finished dataset into its place, and lets one conversion at a time do so.

On this machine, a folder is renamed in one step, and two folders are exchanged in one step. An object store has no
folders: there, the manifest is deleted first and written last, so that readers never see an incomplete dataset.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

from converter.system import storage
from multihot import locking
from multihot.errors import UserError


def publish(source: str, target: str, *, last: str, aside: str) -> None:
    """Moves a folder to its final path, and replaces a folder that is there.

    On this machine, the folder is renamed, or exchanged with the old one. In an object store, the objects are copied
    one after the other: `last`, the file by which readers recognize a dataset, is deleted from the target first and
    copied last. The source is deleted only after that, so that a failed attempt can be repeated.

    Args:
        source: the folder.
        target: its final path.
        last: path of that file, relative to the folder.
        aside: temporary path of the old folder, if the file system cannot exchange the two.
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
    """Restores the old folder from `aside`, if a `publish` was killed between its two renames."""
    if storage.is_local(target) and storage.exists(f"{aside}/{last}") and not storage.exists(target):
        os.replace(aside, target)
    _discard(aside, last)


def _discard(folder: str, last: str) -> None:
    """Deletes a dataset: `last` first, so that no reader takes the remaining files for a dataset."""
    storage.delete(f"{folder}/{last}")
    storage.delete(folder)


def _exchange(one: str, other: str) -> bool:
    """Exchanges two local folders in one step. Returns False if the system or the file system cannot do so."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    at_working_directory, exchange = -100, 2
    paths = os.fsencode(one), os.fsencode(other)
    return rename is not None and rename(at_working_directory, paths[0], at_working_directory, paths[1], exchange) == 0


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Locks a folder against other conversions on this machine. Folders of a store are not locked.

    The system releases the lock when the process ends, however it ends, and no lock file is left behind.

    Raises:
        UserError: another conversion has locked the folder.
        OSError: the folder cannot be made.
    """
    if not storage.is_local(folder):
        yield
        return
    storage.make_folder(folder)
    handle = locking.lock(folder)
    if handle is None:
        raise UserError(
            f"Another conversion is running in {folder}. Wait until it has ended, or choose another --name or --output."
        )
    try:
        yield
    finally:
        os.close(handle)
