"""Lets one process at a time work in a folder."""

import errno
import fcntl
import os
from pathlib import Path

# Some network file systems have no locks, or none of folders.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF}


def lock(folder: str | Path) -> int | None:
    """Locks a folder against other processes of this machine; on a file system without locks nothing is locked.

    The lock ends when the returned descriptor is closed, and with the process, however it ends. No file is left behind.

    Returns:
        A descriptor to close; None if another process has the lock.

    Raises:
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(handle)
            raise
    return handle
