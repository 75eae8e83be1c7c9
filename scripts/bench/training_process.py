"""A training in a process of its own: when each of its epochs ended, and how good its model was then."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

# A line of trainer/training/loop.py, and of readers/plain_pytorch.py.
_EPOCH = re.compile(r"Epoch \d+/\d+: (?:.*, )?val_mean_average_precision ([\d.]+)")
# The lines after it say what the training leaves.
_ERROR = re.compile(r"[\w.]*error\b", re.IGNORECASE)
_MAX_REASON = 300


class TrainingError(Exception):
    """A training has failed; the message says why."""


class Epoch(NamedTuple):
    """The end of an epoch.

    Attributes:
        seconds: from the start of the command until its validation was done.
        mean_average_precision: of the validation split.
    """

    seconds: float
    mean_average_precision: float


class Training(NamedTuple):
    """A training that has ended.

    Attributes:
        epochs: that ended.
        seconds: of the whole command; None if it was stopped before its end.
    """

    epochs: Sequence[Epoch]
    seconds: float | None

    def seconds_to(self, target: float) -> float | None:
        """Returns the seconds until the end of the first epoch with this mean average precision; None without one."""
        return next((one.seconds for one in self.epochs if one.mean_average_precision >= target), None)


def run(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    until: float | None = None,
    timeout_seconds: float,
) -> Training:
    """Runs a training.

    All its times are those at which this process reads its lines: the clock is the same for all programs.

    Args:
        command: program and arguments; it prints a line for each epoch.
        env: all variables of its environment.
        until: the mean average precision from which on it is killed; None for a training to its end.
        timeout_seconds: after which it is killed.

    Raises:
        TrainingError: it failed, took longer, or ended without an epoch.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        start = time.monotonic()
        # In a session of its own, so that its workers can be ended with it.
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=said, text=True, errors="replace", start_new_session=True
        )
        late = threading.Event()

        def give_up() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(timeout_seconds, give_up)
        timer.start()
        try:
            assert process.stdout
            epochs, reached = _epochs(process.stdout, start, until)
            if not reached:
                process.wait()
        finally:
            timer.cancel()
            _kill(process)
            process.wait()
        seconds = time.monotonic() - start
        if late.is_set():
            raise TrainingError(f"it did not end within {timeout_seconds:g} s")
        if not reached and process.returncode:
            raise TrainingError(f"it ended with status {process.returncode}: {_reason(said)}")
    if not epochs:
        raise TrainingError("it printed no epoch with a mean average precision")
    return Training(epochs, None if reached else seconds)


def _epochs(lines: IO[str], start: float, until: float | None) -> tuple[list[Epoch], bool]:
    """Reads lines until a training ends, or is as good as asked for. Returns its epochs, and whether it is."""
    epochs: list[Epoch] = []
    with lines:
        for line in lines:
            if found := _EPOCH.match(line):
                epochs.append(Epoch(time.monotonic() - start, float(found[1])))
                if until is not None and epochs[-1].mean_average_precision >= until:
                    return epochs, True
    return epochs, False


def _kill(process: subprocess.Popen[str]) -> None:
    """Ends a training, and its workers, if any of them is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _reason(said: IO[str]) -> str:
    """Returns the last line of a program that begins with an error; without one, its last line."""
    said.seek(0)
    lines = said.read().strip().splitlines() or ["it said nothing"]
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])[:_MAX_REASON]
