"""Returns the cores, the memory and the disk space that this process may use, of its machine and of its container.

All modules of the project use these functions. On a machine with 64 cores, a batch system may give this process four
(`taskset`), and a container may have a quota of one and a half.
"""

import math
import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import psutil

from multihot.errors import UserError

# Environment variables that keep native libraries from starting threads for all cores: with 200 cores, OpenBLAS starts
# 126 and TensorFlow 400 in each process. For programs with threads or processes of their own.
SINGLE_THREADED: Mapping[str, str] = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    # Of the client for stores: with a second thread, which hands requests over, reading an image took half as much
    # processor time again.
    "TOKIO_WORKER_THREADS": "1",
}

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Returns how many cores this process can keep busy, at least 1.

    The smallest of: the cores that the process may be scheduled on (`taskset`, a batch system), and the quotas of its
    control groups, rounded up (https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files).

    Args:
        cgroups: where control groups are mounted.
        membership: the file with the control groups of this process.
    """
    # os.process_cpu_count() does not exist in Python 3.11 and 3.12.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (_quota(folder, version) for folder, version in _groups("cpu", cgroups, membership))
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def available_memory(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Returns the bytes of memory that this process can still take.

    The smallest of: the available memory of the machine, the rest of the limits of the process's control groups, and
    the rest of its limit of address space (`ulimit -v`). Cached files of a group can be dropped, and count as free
    (https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files).

    Args:
        cgroups: where control groups are mounted.
        membership: the file with the control groups of this process.
    """
    rooms = (_memory_left(folder, version) for folder, version in _groups("memory", cgroups, membership))
    left = [psutil.virtual_memory().available, *(room for room in rooms if room is not None)]
    addresses = addresses_left()
    return max(0, min(left if addresses is None else [*left, addresses]))


def addresses_left() -> int | None:
    """Returns the bytes of addresses that this process may still take (`ulimit -v`); None if there is no limit.

    Programs and libraries take many more addresses than memory.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else max(0, limit - psutil.Process().memory_info().vms)


def check_addresses(needed: int, name: str) -> None:
    """Checks the limit of addresses before a library is loaded: at the limit, native libraries end the process.

    Args:
        needed: bytes of addresses.
        name: of the program or of the library, for the message.

    Raises:
        UserError: fewer addresses are left.
    """
    left = addresses_left()
    if left is not None and left < needed:
        raise UserError(
            f"{name} needs {needed / 1e9:g} GB of addresses, and the limit of this shell leaves {left / 1e9:.1f} GB. "
            "Raise it: ulimit -v unlimited. (It counts addresses and not memory, which a control group limits.)"
        )


def _groups(controller: str, cgroups: Path, membership: Path) -> Iterator[tuple[Path, int]]:
    """Yields the folders of the control groups of this process, and the version of their files.

    The limits of all groups above a group apply as well.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # Not Linux.
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # Version 2: one tree for all controllers.
            root, version = cgroups, 2
        elif controller in controllers.split(","):
            # Where cpu and cpuacct share a tree, `cpu` is a symbolic link to it.
            root, version = cgroups / controller, 1
        else:
            continue
        # In a container the root of the tree is often its own group, whatever its path is outside.
        relative = PurePosixPath(path).relative_to("/")
        for folder in {root / part for part in (relative, *relative.parents)}:
            yield folder, version


def _quota(folder: Path, version: int) -> float | None:
    """Returns the number of cores that one group may keep busy; None if it has no limit, or the limit is unknown."""
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        # Without a limit the quota is `max`, and -1 in version 1.
        return int(quota) / int(period) if quota != "max" and int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _memory_left(folder: Path, version: int) -> int | None:
    """Returns the bytes of memory left in one group; None if it has no limit, or the limit is unknown."""
    limit, usage, files = (
        ("memory.max", "memory.current", "inactive_file")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    )
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        statistics = dict(line.split(" ", 1) for line in (folder / "memory.stat").read_text().splitlines())
        return None if most == "max" else int(most) - used + int(statistics.get(files, 0))
    except (OSError, ValueError):
        return None


def check_memory(needed: int, name: str) -> None:
    """Checks the available memory before a library is loaded: the system kills processes that take too much.

    Args:
        needed: bytes of memory.
        name: of the library, for the message.

    Raises:
        UserError: less memory is available.
    """
    left = available_memory()
    if left < needed:
        raise UserError(
            f"{name} needs {needed / 1e6:.0f} MB of memory, and {left / 1e6:.0f} MB are left, of this machine or of "
            "the control group that limits this process. End other programs, or raise that limit."
        )


def free_disk(folder: str) -> int:
    """Returns the bytes that can be written below a folder, which need not exist yet."""
    path = os.path.abspath(folder)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return psutil.disk_usage(path).free
