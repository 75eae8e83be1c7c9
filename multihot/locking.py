"""Locks a folder or an open file against other processes."""

import errno
import fcntl
import os
from pathlib import Path

# Errors of file systems that have no locks, or no locks of folders.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF}


def lock(folder: str | Path) -> int | None:
    """Locks a folder against other processes of this machine. On a file system without locks, it has no effect.

    If another process has the lock, there are two ways: this function returns at once, and `wait` waits.

    The system releases the lock when the returned descriptor is closed, and when the process ends in any way. No file
    is left behind.

    Returns:
        A descriptor to close; None if another process has the lock.

    Raises:
        OSError: the folder cannot be opened.
    """
    return _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait(folder: str | Path) -> int:
    """Locks a folder like `lock`, as soon as no other process has the lock.

    Returns:
        A descriptor to close.

    Raises:
        FileNotFoundError: there is no such folder, or it was deleted or renamed meanwhile.
        OSError: the folder cannot be opened.
    """
    while True:
        handle = _lock(folder, fcntl.LOCK_EX)
        assert handle is not None
        try:
            if os.path.samestat(os.fstat(handle), os.stat(folder)):
                return handle
        except OSError:
            os.close(handle)
            raise
        os.close(handle)  # A new folder has come in its place.


def _lock(folder: str | Path, operation: int) -> int | None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, operation)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(handle)
            raise
    return handle


def hold(handle: int) -> bool:
    """Locks an open file against other processes of this machine. On a file system without locks, it has no effect.

    The system releases the lock when the file is closed, and when the process ends in any way.

    Args:
        handle: of the file, which is open for writing.

    Returns:
        Whether no other process has the lock.

    Raises:
        OSError: the system refuses the lock.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def works(handle: int) -> bool:
    """Returns whether a lock has an effect.

    Args:
        handle: that `lock` has returned.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
