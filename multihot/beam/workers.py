"""Checks on a worker, before it does any work, that it can do what the job needs."""

import functools
import hashlib
import importlib
import uuid
from pathlib import Path

import apache_beam as beam

import multihot
from multihot import storage
from multihot.errors import UserError


def check(folder: str, launcher: str, *packages: str) -> None:
    """Checks that this worker has the code of the launcher, and may write to a folder and delete there.

    Args:
        folder: of the unfinished work.
        launcher: what `version` returns on the launcher for these packages.
        packages: with the code of the job.

    Raises:
        UserError: it has other code, or may not.
    """
    here = version(*packages)
    if here != launcher:
        raise UserError(
            f"The workers have {here}, and the job was submitted by {launcher}. Build the image of the workers again, "
            "or install on them what has submitted the job."
        )
    if not storage.is_local(folder):
        check_writable("A worker", folder)


def check_readable(path: str) -> None:
    """Checks that this worker may read an image of a store, of which it has listed the name.

    Raises:
        UserError: it may not.
    """
    if storage.is_local(path):
        return
    try:
        with storage.open_binary(path) as file:
            file.read(1)
    except FileNotFoundError:  # It has gone since it was listed.
        return
    except OSError as error:
        raise UserError(f"A worker cannot read {path}: {error.strerror}") from error


def check_writable(who: str, folder: str) -> None:
    """Checks that files can be written to a folder of a store and deleted there, by doing so.

    Args:
        who: the first words of the sentence about it.
        folder: of the store.

    Raises:
        UserError: they cannot.
    """
    path = f"{folder.rstrip('/')}/check-{uuid.uuid4().hex}"
    try:
        storage.write(path, "multihot")
        storage.delete_files([path])
    except OSError as error:
        raise UserError(f"{who} cannot write files to {folder} and delete them: {error.strerror}") from error


@functools.cache
def version(*packages: str) -> str:
    """Returns the versions of multihot and of Beam here, with a digest of the code of a job.

    Workers with other code could give other bytes. An image of the workers has that of the day when it was built.

    Args:
        packages: with the code of the job, beside that which all have.
    """
    modules = map(importlib.import_module, (*packages, "multihot", "schemas"))
    folders = (Path(str(module.__file__)).parent for module in modules)
    return f"multihot {multihot.__version__} ({digest(*folders)}) on Beam {beam.__version__}"


def digest(*packages: Path) -> str:
    """Returns the digest of the modules in packages, wherever they are installed."""
    made = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            # Other folders are not installed.
            if (path.parent / "__init__.py").exists():
                made.update(f"{path.relative_to(package.parent).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return made.hexdigest()[:12]
