"""How much memory there is left: for the machine, and for the container that this runs in."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

_CGROUPS = Path("/sys/fs/cgroup")


def available(cgroups: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Returns the bytes that this process can still take, as far as the system tells.

    A container's limit is that of its control group and of all those that this is in; what they hold of files can be
    given up for other uses, and counts as free (https://docs.kernel.org/admin-guide/cgroup-v2.html).

    Args:
        cgroups: where control groups are mounted.
        membership: which of them this process is in.
    """
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups(cgroups, membership)]))


def _left_in_groups(cgroups: Path, membership: Path) -> Iterator[int]:
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # Not Linux.
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # Version 2: one tree for all controllers.
            root, limit, usage, files = cgroups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage, files = (
                cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            )  # fmt: skip
        else:
            continue
        # In a container the root of the tree is often its own group, whatever its path is outside.
        relative = PurePosixPath(path).relative_to("/")
        for folder in {root / part for part in (relative, *relative.parents)}:
            left = _left(folder, limit, usage, files)
            if left is not None:
                yield left


def _left(folder: Path, limit: str, usage: str, files: str) -> int | None:
    """Returns what is left in one group; None if it has no limit, or does not tell."""
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        statistics = dict(line.split(" ", 1) for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if most == "max" else int(most) - used + int(statistics.get(files, 0))


def free_disk(folder: str) -> int:
    """Returns the bytes that can be written below a folder, which need not be there yet."""
    path = os.path.abspath(folder)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return psutil.disk_usage(path).free
