"""Moves a finished dataset into its place.

On this machine, a folder is renamed in one step, and two folders are exchanged in one step.

An object store has no folders. There, the files are copied to their place one by one, and the manifest, by which
readers recognize a dataset, says meanwhile that the dataset is being published. It is replaced only if it is still the
one that was read before: so an attempt that wakes up late changes nothing, and each may be repeated at any point.
"""

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator

from multihot import locking, storage
from multihot.errors import UserError
from multihot.storage import Version, objects
from schemas import metadata


def publish(source: str, target: str, *, commit_marker: str, backup: str) -> None:
    """Moves a folder of this machine to its final path, and replaces a folder that is there.

    Args:
        source: the folder.
        target: its final path.
        commit_marker: path of the file by which readers recognize a dataset (the manifest), relative to the folder.
        backup: temporary path of the old folder, if the file system cannot exchange the two.
    """
    _discard(backup, commit_marker)
    if storage.exists(target) and _exchange(source, target):
        os.replace(source, backup)
    else:
        if storage.exists(target):
            os.replace(target, backup)
        os.replace(source, target)
    _discard(backup, commit_marker)


class Place:
    """The place of a dataset in a store, while it is published."""

    def __init__(self, target: str, commit_marker: str, run: str) -> None:
        """Reads what is there.

        Args:
            target: folder of the dataset.
            commit_marker: path of the manifest, relative to it.
            run: id of the run that publishes.
        """
        self._target, self._marker = target, commit_marker
        self._path = f"{target}/{commit_marker}"
        self._mark = json.dumps({metadata.PUBLISHING: run}).encode()
        self._found = objects.read_version(self._path)

    @property
    def manifest(self) -> bytes | None:
        """The manifest that is there; None where there is none, or a dataset is being published."""
        return None if self._found is None or is_mark(self._found[0]) else self._found[0]

    def begin(self) -> None:
        """Makes sure that no reader takes what is there for a dataset.

        Raises:
            UserError: another conversion has published a dataset meanwhile.
        """
        content, version = self._found or (b"", None)
        # Of an earlier attempt of this run, beside which this one may work: both copy the same files.
        if content != self._mark:
            self._found = self._mark, self._swapped(self._mark, version)

    def keep_only(self, names: Collection[str]) -> None:
        """Deletes what an earlier dataset has left beside the named files.

        Raises:
            UserError: another conversion has published a dataset meanwhile.
        """
        kept = {*names, self._marker}
        others = [file.path for file in storage.list_files(self._target) if file.name not in kept]
        if others:
            self._check()
            objects.delete(others)

    def _check(self) -> None:
        assert self._found is not None
        found = objects.read_version(self._path)
        if found is None or found[1] != self._found[1]:
            raise self._lost()

    def finish(self, manifest: bytes) -> None:
        """Makes the folder a dataset.

        Raises:
            UserError: another conversion has published a dataset meanwhile.
        """
        assert self._found is not None
        self._found = manifest, self._swapped(manifest, self._found[1])

    def _swapped(self, content: bytes, version: Version | None) -> Version:
        new = objects.replace_version(self._path, content, version)
        if new is None:
            raise self._lost()
        return new

    def _lost(self) -> UserError:
        return UserError(
            f"{self._path} was written by another conversion, or by another attempt of this one, while this one was "
            "publishing its dataset. This one publishes nothing."
        )


def copy(source: str, target: str, names: Iterable[str]) -> None:
    """Copies files of an unfinished dataset to the place of the dataset, unless they are in it already.

    In a store, all that is written to the place is copied: an attempt that wakes up after the end of another one, which
    has deleted the unfinished dataset, finds nothing to copy, and harms nothing.
    """
    if source != target:
        storage.link((f"{source}/{name}", f"{target}/{name}") for name in names)


def is_mark(manifest: bytes) -> bool:
    """Whether a manifest says that its dataset is being published."""
    try:
        return metadata.PUBLISHING in json.loads(manifest)
    except (ValueError, TypeError):
        return False


def restore(target: str, *, commit_marker: str, backup: str) -> None:
    """Restores the old folder from `backup`, if a `publish` was killed between its two renames. In a store none is."""
    if not storage.is_local(target):
        return
    if storage.exists(f"{backup}/{commit_marker}") and not storage.exists(target):
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
