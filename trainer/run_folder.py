"""Claims the folder of a run for one run at a time, and gives a file its name when it is complete.

<output>/
    config.json          flags, dataset fingerprints, versions: all that is needed to repeat the run
    checkpoints/         last.keras, from which the same command goes on; best.keras, by validation loss
    tensorboard/         for `tensorboard --logdir`
    model.keras          the model after the last epoch, which evaluation.json evaluates
    history.json         metrics of every epoch
    MODEL_CARD.md  training.png  samples.png
    evaluation.json      written last: a run that has it is finished

A run claims its folder before it builds a model, and begins to write when training begins. Until then nothing changes:
a folder that was made is removed when the run fails, and a run that is to be overwritten stays. A run that has begun
and is not finished is gone on with by the same command.
"""

import contextlib
import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multihot import locking
from multihot.errors import UserError

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
MODEL = "model.keras"
EVALUATION = "evaluation.json"
HISTORY = "history.json"

# Start of the name of a file or a folder while it is written. A process that was killed may leave such files.
UNFINISHED = ".unfinished-"
# The config.json of a run that is being overwritten.
_REPLACED = f"{CONFIG}.replaced"
# How often a folder is made again if another run removes it at the same moment.
_ATTEMPTS = 100
# Without a change for this long, a run is not at work: where a file system has no locks, there is no other sign.
_QUIET_SECONDS = 600


class RunFolder:
    """A folder that belongs to this run.

    Attributes:
        path: of the folder.
        begun: whether anything of this run is in it.
        unfinished: config.json of a run that is to be gone on with; None if a new one begins.
    """

    def __init__(self, path: Path):
        self.path = path
        self.begun = False
        self.unfinished: dict[str, Any] | None = None
        self._old = os.listdir(path)
        self._old_config = _identity(path / CONFIG)

    def go_on(self, description: Mapping[str, Any]) -> None:
        """Goes on with the run that is in the folder.

        Args:
            description: the new contents of config.json.

        Raises:
            OSError: the folder cannot be written to.
        """
        self.begun = True
        for folder in (self.path, self.path / CHECKPOINTS):
            for file in folder.glob(f"{UNFINISHED}*"):
                file.unlink(missing_ok=True)
        write_text(self.path / CONFIG, json.dumps(description, indent=1) + "\n")

    def begin(self, description: Mapping[str, Any]) -> None:
        """Removes the run that is to be overwritten, and writes config.json, which makes the folder a run.

        Args:
            description: the contents of config.json.

        Raises:
            UserError: another run has begun in the meantime, where a file system has no locks.
            OSError: the folder cannot be written to.
        """
        if self._old_config:
            self._rename_old_config()
        self.begun = True
        for name in self._old:
            if name not in (CONFIG, _REPLACED):
                delete(self.path / name)
        _create(self.path / CONFIG, json.dumps(description, indent=1) + "\n")
        (self.path / _REPLACED).unlink(missing_ok=True)

    def _rename_old_config(self) -> None:
        """Renames the old config.json, which one run alone can do; by the new name the folder is still known as a run.

        Raises:
            UserError: another run was first.
        """
        config, replaced = self.path / CONFIG, self.path / _REPLACED
        try:
            config.rename(replaced)
        except FileNotFoundError:
            raise _in_use(self.path) from None
        if _identity(replaced) != self._old_config:  # It is already that of another run.
            replaced.rename(config)
            raise _in_use(self.path)


def datasets(config: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Returns the description of each dataset in a config.json; None if another program wrote the file."""
    # Older runs have one `dataset`.
    found = config.get("datasets", [config.get("dataset")])
    if not isinstance(found, list) or not found:
        return None
    return found if all(isinstance(one, dict) and isinstance(one.get("fingerprint"), str) for one in found) else None


@contextlib.contextmanager
def claimed(output: str, *, overwrite: bool) -> Iterator[RunFolder]:
    """Claims a folder for a run until it ends; other processes are refused from the first moment on.

    A lock keeps out other runs on this machine. Where a file system has no locks, or another machine writes to it, the
    run that is first to create config.json has the folder, and an unfinished run is gone on with when its files have
    not changed for some minutes.

    Args:
        output: the folder. It is made, and removed again if the run ends before it has begun to write.
        overwrite: whether a run may be there.

    Raises:
        UserError: the folder holds a finished run, or something else; or another run is at work in it.
        OSError: the folder cannot be made.
    """
    path = Path(output)
    handle, made = _claim(path)
    # The files are listed before they are checked: files that another run writes later are no part of the old run.
    folder = RunFolder(path)
    try:
        folder.unfinished = None if overwrite else unfinished(path)
        if not folder.unfinished:
            _check(path, overwrite)
        elif not locking.works(handle):
            _check_quiet(path)
        yield folder
    finally:
        if not folder.begun:
            _remove(made)
        os.close(handle)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path with the same ending; the file that is written to it is renamed when the context ends.

    After an exception the temporary file is deleted, and an older file of this name is unchanged.

    Raises:
        OSError: the file cannot be written. The error names it, whatever library was writing.
    """
    unfinished = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(unfinished)):
            raise
        raise OSError(error.errno, error.strerror or os.strerror(error.errno), str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with atomic_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _create(path: Path, text: str) -> None:
    """Writes a file that nobody else has written, whole or not at all.

    Raises:
        UserError: it is there.
    """
    with atomic_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
        try:
            os.link(unfinished, path)
        except FileExistsError:
            raise _in_use(path.parent) from None
        except OSError:  # A file system without hard links. This is as exclusive, but not whole at every moment.
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                raise _in_use(path.parent) from None


def _claim(path: Path) -> tuple[int, list[Path]]:
    """Makes and locks a folder.

    Returns:
        The descriptor with the lock, and the folders that were made, the innermost first.
    """
    missing = FileNotFoundError(errno.ENOENT, "Other processes remove the folder each time it is made", str(path))
    for _ in range(_ATTEMPTS):
        try:
            made = _make(path)
            handle = locking.lock(path)
        except FileNotFoundError as error:
            missing = error
            continue
        if handle is None:
            raise _in_use(path)
        with contextlib.suppress(FileNotFoundError):
            # If they differ, another run has removed the folder that was opened.
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle, made
        os.close(handle)
    raise missing


def _make(path: Path) -> list[Path]:
    """Makes a folder and those above it. Returns those that were not there, the innermost first."""
    made: list[Path] = []
    for folder in (*reversed(path.parents), path):
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError:
            # This process may not make the folder, but if it exists, nothing is wrong.
            if not os.path.isdir(folder):
                _remove(made)
                raise
        else:
            made.insert(0, folder)
    if not path.is_dir():
        raise _not_a_run(path)
    return made


def _remove(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):  # Another run has made a folder in one of them.
        for folder in folders:
            folder.rmdir()


def _check(path: Path, overwrite: bool) -> None:
    """Refuses a folder whose contents may not be replaced."""
    # The list comes before the check. Where there are no locks, another run may begin between them, and the first file
    # that it writes is config.json.
    names = os.listdir(path)
    if _is_run(path):
        if not overwrite:
            raise UserError(f"{path} holds a run already. Choose another --output, or replace it: --overwrite")
    elif not all(name.startswith(UNFINISHED) for name in names):
        raise _not_a_run(path)


def _check_quiet(path: Path) -> None:
    """Refuses an unfinished run that may be at work, where there are no locks: its files have changed recently."""
    with contextlib.suppress(FileNotFoundError):
        changed = max(file.stat().st_mtime for file in (path, *path.iterdir()))
        if time.time() - changed < _QUIET_SECONDS:
            raise UserError(
                f"{path} holds an unfinished run that may be at work: its files have just changed, and this file "
                f"system has no locks. Try again after {_QUIET_SECONDS // 60} minutes, or choose another --output."
            )


def unfinished(path: Path) -> dict[str, Any] | None:
    """Returns the config.json of a run that has begun and is not finished; None if there is none."""
    return None if (path / EVALUATION).exists() else _read_config(path / CONFIG)


def _is_run(path: Path) -> bool:
    return any(_read_config(path / name) for name in (CONFIG, _REPLACED))


def _read_config(path: Path) -> dict[str, Any] | None:
    """Returns a config.json; None if there is none, or another program wrote it."""
    with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
        config: dict[str, Any] = json.loads(path.read_bytes())
        if datasets(config) is not None:
            return config
    return None


def _identity(path: Path) -> tuple[int, int] | None:
    """Returns values that differ between a file and older or newer files of the same name; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def delete(path: Path) -> None:
    """Deletes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _in_use(path: Path) -> UserError:
    return UserError(f"Another run is at work in {path}. Wait until it has ended, or choose another --output.")


def _not_a_run(path: Path) -> UserError:
    return UserError(f"{path} exists and is not a run of multihot. Choose another --output.")
