"""A reader of readers/ in a process of its own, which is asked for one round at a time."""

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import same_images

_FOLDER = Path(__file__).parent / "readers"


class ReaderError(Exception):
    """A reader did not answer; the message says why."""


class ReaderProcess:
    """A running reader."""

    def __init__(self, name: str, python: str | Path):
        """Starts it.

        Args:
            name: of its program.
            python: interpreter of the environment in which it runs.
        """
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, _FOLDER / f"{name}.py"],
            env=same_images.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            # So that its workers can be ended with it.
            start_new_session=True,
        )

    def ask(self, request: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Returns the answer to a request; see readers/serve.py for both.

        Raises:
            ReaderError: it ended, or took longer: it is no longer there.
        """
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        # The line of an answer is shorter than what a pipe holds: it is all there when any of it is.
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_seconds)
        line = self._process.stdout.readline() if ready else b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        reason = f"it ended: {self._last_words()}" if ready else f"no answer within {timeout_seconds:g} s"
        self.kill()
        raise ReaderError(reason)

    def kill(self) -> None:
        """Ends it, and its workers, whatever they are doing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._said):
            # The request may not have reached the process.
            with contextlib.suppress(BrokenPipeError):
                if file:
                    file.close()

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"
