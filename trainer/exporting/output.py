"""Claims the folder of an export for one process at a time, and gives a format its name when it is complete.

export/.unfinished-0f3a5b7c-saved_model   while it is written and compared
export/saved_model                        complete
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from multihot import locking
from multihot.errors import UserError
from trainer import run_folder


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Claims a folder, which is made if it is not there, and removes what a process that was killed has left in it.

    A lock keeps out other processes of this machine. Where a file system has no locks, nothing keeps them out, and
    what they write is complete nevertheless.

    Raises:
        UserError: another process has claimed it, an export or a training.
        OSError: the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = locking.lock(folder)
    if handle is None:
        raise UserError(f"Another process is at work in {folder}. Wait until it has ended, or choose another --output.")
    try:
        if locking.works(handle):
            for path in folder.glob(f"{run_folder.UNFINISHED}*"):
                run_folder.delete(path)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def complete(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside a path; the file or folder that is written to it is renamed when the context ends.

    After an exception it is deleted, and an older file or folder of the name is unchanged.

    Args:
        path: the name of the complete file or folder. An older one is replaced.

    Raises:
        OSError: it cannot be written.
    """
    begin = f"{run_folder.UNFINISHED}{uuid.uuid4().hex[:8]}"
    new, old = path.with_name(f"{begin}-{path.name}"), path.with_name(f"{begin}-old-{path.name}")
    try:
        yield new
        if path.is_dir():  # Only an empty folder can be replaced by renaming.
            path.rename(old)
        new.rename(path)
        run_folder.delete(old)
    finally:
        run_folder.delete(new)
