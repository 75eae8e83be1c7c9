"""Claims the folder of an unfinished dataset for one conversion.

Two conversions that write into one folder would publish a mixture, or delete the files of each other. So a file in the
folder has the id of the run whose results may be published:

- On this machine the folder of all versions is locked, too, for as long as the process lives (publishing.locked).
- In a store, the program that has started the conversion renews the file. Another one that finds it waits, and is told
  if it changes; if it does not, the first one has ended.

The steps that write shards and publish look at it, wherever they run and however late: a run that has lost its claim
does nothing more.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

from multihot import locking, storage
from multihot.errors import UserError
from multihot.storage import Version, objects

FILE = "claim.json"
# A claim is renewed after so many seconds, and lost after several renewals that did not come.
_RENEWED_SECONDS, _LOST_SECONDS = 10.0, 45.0


@contextlib.contextmanager
def held(folder: str, run: str) -> Iterator[None]:
    """Claims a folder while the context is open.

    Args:
        folder: of the unfinished dataset. Where it is on this machine, the caller has locked it.
        run: id of the run.

    Raises:
        UserError: another conversion holds the folder.
    """
    path = f"{folder}/{FILE}"
    if storage.is_local(folder):
        with _locked(folder, make=True):
            storage.write(path, _text(run, 0))
        try:
            yield
        except KeyboardInterrupt:
            _release(folder, run)
            raise
        return
    version = _taken(path, run)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, run, version, ended), daemon=True)
    renewing.start()
    try:
        yield
    except KeyboardInterrupt:
        _release(folder, run)
        raise
    finally:
        ended.set()
        renewing.join(_RENEWED_SECONDS)
        # The next conversion, which may be in this process, need not wait until the claim is lost.
        with contextlib.suppress(UserError, OSError):
            check(folder, run)
            storage.delete_files([path])


def _release(folder: str, run: str) -> None:
    """Lets nothing be published for a run that was interrupted, whatever its workers still do."""
    with contextlib.suppress(UserError, OSError), _locked(folder, make=False):
        check(folder, run)
        storage.write(f"{folder}/{FILE}", _text("", 0))


@contextlib.contextmanager
def alone(folder: str, run: str) -> Iterator[None]:
    """Lets one attempt at the last step of a run work at a time. In a store, they may work beside each other.

    On this machine, no other conversion can claim the folder meanwhile.

    Raises:
        UserError: the run has lost its claim.
    """
    with _locked(folder, make=not run):
        check(folder, run)
        yield


def check(folder: str, run: str) -> None:
    """Checks that a run has not lost its claim.

    In a store it is not lost if there is none, since the program that has started the conversion deletes it in the end.

    Raises:
        UserError: another run has it.
    """
    path = f"{folder}/{FILE}"
    try:
        holder = json.loads(storage.read(path)).get("run")
    except FileNotFoundError:
        if run and storage.is_local(folder):
            raise _gone(folder) from None
        return
    if run and not holder:
        raise UserError(f"This conversion (run {run}) was interrupted. It publishes nothing.")
    if holder != run:
        raise UserError(
            f"{folder} was taken over by another conversion (run {holder}) while this one (run {run}) was under way. "
            "This one publishes nothing."
        )


@contextlib.contextmanager
def _locked(folder: str, *, make: bool) -> Iterator[None]:
    """Locks a folder of this machine.

    Args:
        folder: of the unfinished dataset.
        make: whether to make the folder if there is none.

    Raises:
        UserError: there is no such folder.
    """
    if not storage.is_local(folder):
        yield
        return
    handle = None
    while handle is None:
        if make:
            storage.make_folder(folder)
        try:
            handle = locking.wait(folder)
        except FileNotFoundError as error:  # The end of another conversion has deleted it.
            if not make:
                raise _gone(folder) from error
    try:
        yield
    finally:
        os.close(handle)


def _gone(folder: str) -> UserError:
    return UserError(f"{folder} was deleted, or its dataset published, while this conversion was under way.")


def _text(run: str, renewals: int) -> str:
    return json.dumps({"run": run, "host": socket.gethostname(), "process": os.getpid(), "renewals": renewals})


def _taken(path: str, run: str) -> Version:
    """Creates or takes over the claim. Returns its version."""
    content = _text(run, 0).encode()
    version = objects.replace_version(path, content, None)
    while version is None:
        found = objects.read_version(path)
        if found and not _has_ended(found[0]):
            print(f"{path} names another conversion. Waiting {_LOST_SECONDS:.0f} s for a sign of it ...", flush=True)
            _wait_for_sign(path, found[1])
        # None again, if the other conversion has renewed it just now: then it is told.
        version = objects.replace_version(path, content, found and found[1])
    return version


def _wait_for_sign(path: str, version: Version) -> None:
    """Waits until a claim is lost.

    Raises:
        UserError: it is renewed meanwhile.
    """
    waited = 0.0
    while waited < _LOST_SECONDS:
        time.sleep(_RENEWED_SECONDS / 2)
        waited += _RENEWED_SECONDS / 2
        now = objects.read_version(path)
        if now is None:  # The other conversion has just ended.
            return
        if now[1] != version:
            raise UserError(
                f"Another conversion is running in {path.rpartition('/')[0]}: {_who(now[0])}. "
                "Wait until it has ended, or choose another --name or --output."
            )


def _has_ended(content: bytes) -> bool:
    """Whether the claim is that of a process of this machine which does not run any more."""
    try:
        claim = json.loads(content)
        if not claim["run"]:
            return True
        if claim["host"] != socket.gethostname():
            return False
        os.kill(claim["process"], 0)
    except ProcessLookupError:
        return True
    except (ValueError, LookupError, TypeError, OSError):
        pass
    return False


def _who(content: bytes) -> str:
    try:
        claim = json.loads(content)
        return f"process {claim['process']} on {claim['host']}"
    except (ValueError, LookupError, TypeError):
        return "its claim cannot be read"


def _renew(path: str, run: str, version: Version, ended: threading.Event) -> None:
    renewals = 0
    while not ended.wait(_RENEWED_SECONDS):
        renewals += 1
        # A store that does not answer now may do so before the claim is lost.
        with contextlib.suppress(OSError):
            renewed = objects.replace_version(path, _text(run, renewals).encode(), version)
            if renewed is None:
                return  # The conversion has ended, or was taken over: the step that publishes will see.
            version = renewed
