"""Describes where a run takes place: machine, device, versions, revisions of code. It names no host and no user."""

import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import tensorflow as tf

import multihot
from multihot import machine

_CPUINFO = Path("/proc/cpuinfo")
_TIMEOUT_SECONDS = 5


def describe() -> dict[str, Any]:
    """Returns the system and the hardware; memory is that of the machine, in GB."""
    gpus = gpu_names()
    cores = machine.usable_cores()
    return {
        "device": gpus[0] if gpus else f"CPU ({cores} core{'s' if cores > 1 else ''})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "cores": cores,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": gpus,
    }


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide what a model computes."""
    return {
        "multihot": multihot.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def gpu_names() -> list[str]:
    """Returns the names of the GPUs that TensorFlow can use."""
    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name") or "GPU" for gpu in gpus]


def processor(cpuinfo: Path = _CPUINFO) -> str:
    """Returns the model of the processor; its architecture where the system does not say more."""
    try:
        model = re.search(r"^model name\s*:\s*(.+?)\s*$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
    except OSError:  # Not Linux.
        model = None
    return model[1] if model else platform.processor() or platform.machine()


def revisions() -> dict[str, dict[str, Any]]:
    """Returns the revisions in git of the checkout of multihot and of the current folder, where they have one.

    Each has the digest of its commit, and whether tracked files differ from it.
    """
    package = Path(multihot.__file__)
    # An installed package may lie in the folder of another project (.venv), whose revision is not its own.
    has_checkout = _git(package.parent, "ls-files", "--error-unmatch", package.name) is not None
    found = {"multihot": revision(package.parent) if has_checkout else None, "current_folder": revision(Path.cwd())}
    return {name: one for name, one in found.items() if one}


def revision(folder: Path) -> dict[str, Any] | None:
    """Returns the commit that a folder is at, and whether tracked files differ from it; None without one."""
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "modified": None if changes is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    """Returns what git prints; None if it fails, takes too long, or is not installed."""
    # It must not write to the repository, or run programs that its settings name.
    options = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder))
    try:
        process = subprocess.run(
            ["git", *options, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() if process.returncode == 0 else None
