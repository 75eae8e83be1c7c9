"""Runs Beam's engine Prism, and pools of workers, as processes of their own."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apache_beam
import pytest

import ports

_ROOT = Path(__file__).parents[3]


@functools.cache
def binary() -> str:
    """Returns the path of Prism, which is built once; where it cannot be built, the test is skipped."""
    environment = {**os.environ, "BEAM_VERSION": apache_beam.__version__}
    done = subprocess.run(
        [_ROOT / "scripts/prism", "path"], env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode:
        pytest.skip(f"there is no Prism here: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


@contextlib.contextmanager
def serving(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server and all processes that it starts."""
    # A pool starts its workers with the `python` that it finds.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=_ROOT, env=environment, start_new_session=True, **silent) as process:
        try:
            while not ports.answers(port):
                assert process.poll() is None, command
                time.sleep(0.05)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def job_server(path: str) -> Iterator[str]:
    """Runs Prism, and yields the end point of its job server."""
    port = ports.free()
    with serving([path, f"--job_port={port}", "--serve_http=false"], port):
        yield f"localhost:{port}"


@contextlib.contextmanager
def pool() -> Iterator[tuple[str, int]]:
    """Runs a pool of workers, and yields its address and the id of its process."""
    port = ports.free()
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    with serving(command, port) as process:
        yield f"localhost:{port}", process.pid
