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


def publish(source: str, target: str, *, commit_marker: str, backup: str) -> None:
    """Moves a folder to its final path, and replaces a folder that is there.

    On this machine, the folder is renamed, or exchanged with the old one. In an object store, the objects are copied
    one after the other: the commit marker, the file by which readers recognize a dataset, is deleted from the target
    first and copied last. The source is deleted only after that, so that a failed attempt can be repeated.

    Args:
        source: the folder.
        target: its final path.
        commit_marker: path of that file (the manifest), relative to the folder.
        backup: temporary path of the old folder, if the file system cannot exchange the two.
    """
    if not storage.is_local(target):
        storage.delete(f"{target}/{commit_marker}")
        storage.delete(target)
        names = [file.name for file in storage.list_files(source) if file.name != commit_marker]
        for name in [*names, commit_marker]:
            storage.link(f"{source}/{name}", f"{target}/{name}")
        _discard(source, commit_marker)
        return
    _discard(backup, commit_marker)
    if storage.exists(target) and _exchange(source, target):
        os.replace(source, backup)
    else:
        if storage.exists(target):
            os.replace(target, backup)
        os.replace(source, target)
    _discard(backup, commit_marker)


def restore(target: str, *, commit_marker: str, backup: str) -> None:
    """Restores the old folder from `backup`, if a `publish` was killed between its two renames."""
    if storage.is_local(target) and storage.exists(f"{backup}/{commit_marker}") and not storage.exists(target):
        os.replace(backup, target)
    _discard(backup, commit_marker)


def _discard(folder: str, commit_marker: str) -> None:
    """Deletes a dataset: its commit marker first, so that no reader takes the remaining files for a dataset."""
    storage.delete(f"{folder}/{commit_marker}")
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
