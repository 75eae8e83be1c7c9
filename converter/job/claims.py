"""Claims the folder of an unfinished dataset for one conversion.

Two conversions that write into one folder would publish a mixture, or delete the files of each other. So a file in the
folder has the id of the run whose results may be published:

- On this machine the folder is locked, too, for as long as the process lives (publishing.locked).
- In a store, the program that has started the conversion renews the file. Another one that finds it waits, and is told
  if it changes; if it does not, the first one has ended.

The step that publishes looks at it, wherever it runs and however late: a run that has lost its claim publishes nothing.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

from multihot import storage
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
        storage.write(path, _text(run, 0))
        yield
        return
    version = _taken(path, run)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, run, version, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join(_RENEWED_SECONDS)
        # The next conversion, which may be in this process, need not wait until the claim is lost.
        with contextlib.suppress(UserError, OSError):
            check(folder, run)
            storage.delete(path)


def check(folder: str, run: str) -> None:
    """Checks that a run has not lost its claim. If there is none, it was not lost.

    Raises:
        UserError: another run has it.
    """
    path = f"{folder}/{FILE}"
    try:
        holder = json.loads(storage.read(path)).get("run")
    except FileNotFoundError:
        return
    if holder != run:
        raise UserError(
            f"{folder} was taken over by another conversion (run {holder}) while this one (run {run}) was under way. "
            "This one publishes nothing."
        )


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
