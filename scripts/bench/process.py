"""Runs a command in a process of its own, and tells what it took: time, CPU time, memory."""

import contextlib
import ctypes
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

# How exactly the end of the command is known, in seconds.
_TICK = 0.01
# Looking at all processes of the machine takes some milliseconds.
_TICKS_PER_LOOK = 50


class Run(NamedTuple):
    """The costs of a command.

    Attributes:
        seconds: from its start to its end.
        cpu_seconds: of all its threads and processes, also of those that nobody has waited for.
        peak_mb: resident memory, at its highest: that of its processes together, looked at twice a second, or of the
            largest one, which the kernel knows exactly, whichever is more. Never less than the process has that calls
            this, since a new process starts as its copy.
        seen_seconds: from its start until there was a file of `wanted`; None if there never was.
        output: what it printed.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    seen_seconds: float | None
    output: str


def run(command: Sequence[str | Path], env: Mapping[str, str], wanted: tuple[Path, str] | None = None) -> Run:
    """Runs a command to its end.

    Args:
        command: program and arguments.
        env: variables of the environment, beside those that there are.
        wanted: a folder, and the pattern of files that are waited for in it and below.

    Raises:
        SystemExit: it failed; what it printed is printed.
    """
    _adopt_orphans()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start, peak, seen, ticks = time.perf_counter(), 0, None, 0
        started: set[int] = set()  # By the command, directly or not.
        process = subprocess.Popen(command, stdout=output, stderr=errors, env={**os.environ, **env})
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            now = time.perf_counter() - start
            if wanted and seen is None and next(wanted[0].rglob(wanted[1]), None):
                seen = now
            if pid:
                break
            if ticks % _TICKS_PER_LOOK == 0:
                resident, below = _resident(process.pid)
                peak, started = max(peak, resident), started | below
            ticks += 1
            time.sleep(_TICK)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.exit(f"{errors.read()}\nerror: this failed, see above: {' '.join(map(str, command))}")
        peak_mb = max(peak / 1e6, usage.ru_maxrss * 1024 / 1e6)
        cpu_seconds = usage.ru_utime + usage.ru_stime + _orphans(started)
        return Run(now, cpu_seconds, peak_mb, seen, output.read())


@functools.cache
def _adopt_orphans() -> None:
    """Lets this process wait for those that its children leave behind, and so know their CPU time (Linux)."""
    set_child_subreaper = 36
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _orphans(pids: Iterable[int]) -> float:
    """Waits for those processes that have been left to this one, and returns their CPU seconds."""
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(ChildProcessError):  # It was waited for, or is not ours.
            _, _, usage = os.wait4(pid, 0)
            seconds += usage.ru_utime + usage.ru_stime
    return seconds


def _resident(pid: int) -> tuple[int, set[int]]:
    """Returns the bytes of a process and of those that it started, and which these are."""
    resident, below = 0, set()
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        children = top.children(recursive=True)
        below = {child.pid for child in children}
        for process in [top, *children]:
            with contextlib.suppress(psutil.NoSuchProcess):
                resident += process.memory_info().rss
    return resident, below
