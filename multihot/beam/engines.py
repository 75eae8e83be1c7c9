"""Checks before any work that there is the engine that the flags of Beam name, as far as this machine can tell.

Beam waits for an engine that is not there, or raises the text of gRPC.
"""

import contextlib
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, PrismRunnerOptions

from multihot import proxies
from multihot.beam import runners
from multihot.errors import UserError

# Seconds for an engine to answer.
_ANSWER_SECONDS = 20.0
_WORKERS = ("LOOPBACK", "EXTERNAL", "PROCESS", "DOCKER")
# The job service of Beam in this process.
_EMBEDDED = "embed"


def check(options: PipelineOptions) -> None:
    """Checks that there is the engine, and what starts its workers.

    Raises:
        UserError: something is missing.
    """
    if not runners.is_portable(options):
        return
    portable = options.view_as(PortableOptions)
    endpoint = portable.job_endpoint or ""
    proxies.avoid([] if endpoint == _EMBEDDED else [endpoint.rpartition(":")[0]])
    if endpoint not in ("", _EMBEDDED):
        _check_job_server(endpoint)
    elif not endpoint and runners.needs_endpoint(options):
        raise UserError("--runner=PortableRunner needs the job server of an engine: --job_endpoint=HOST:PORT")
    location = options.view_as(PrismRunnerOptions).prism_location
    if runners.is_prism(options) and location and "://" not in location and not Path(location).is_file():
        raise UserError(f"--prism_location: there is no file {location}. `scripts/prism path` builds one.")
    is_here = endpoint in ("", _EMBEDDED) or proxies.is_here(endpoint.rpartition(":")[0])
    _check_workers(portable, runners.workers(options), is_here)


def _check_workers(options: PortableOptions, kind: str, is_here: bool) -> None:
    """Checks what starts the workers, if the engine is on this machine. Prism ends, or hangs, if it is missing."""
    if kind == "EXTERNAL":
        address = _configured(options, "url", "external_service_address")
        host, _ = _parsed("--environment_type=EXTERNAL: --environment_config", address)
        if is_here and proxies.is_here(host):
            advice = "python -m apache_beam.runners.worker.worker_pool_main --service_port=PORT"
            _connect("environment_config", address, f"Start the pool of workers: {advice}")
    elif kind == "PROCESS":
        command = _configured(options, "command", "process_command")
        if is_here and not shutil.which(command):
            raise UserError(f"--environment_type=PROCESS: --environment_config names no program. Received: {command!r}")
    elif kind == "DOCKER":
        if is_here and not shutil.which("docker"):
            raise UserError(
                "Workers run in containers of Docker (--environment_type=DOCKER), which is not installed here. Workers "
                "of other kinds: --environment_type=LOOPBACK or EXTERNAL."
            )
    elif kind != "LOOPBACK" and not kind.startswith("BEAM:ENV:"):
        raise UserError(
            f"--environment_type must be one of {', '.join(_WORKERS)}. Received: {options.environment_type!r}"
        )


def _configured(options: PortableOptions, key: str, option: str) -> str:
    """Returns a value of --environment_config, which is JSON or the value itself, or else of --environment_option."""
    config: Any = options.environment_config or options.lookup_environment_option(option) or ""
    with contextlib.suppress(ValueError):
        found = json.loads(config)
        config = found.get(key) or "" if isinstance(found, dict) else config
    return str(config)


def _parsed(what: str, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"{what} must be HOST:PORT, as in localhost:8073. Received: {address!r}")
    return host, int(port)


def _connect(flag: str, address: str, advice: str) -> None:
    host, port = _parsed(f"--{flag}", address)
    try:
        socket.create_connection((host.strip("[]"), port), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--{flag}={address}: nothing answers there ({reason}). {advice}") from error


def _check_job_server(endpoint: str) -> None:
    _connect("job_endpoint", endpoint, "Start the engine, or name the end point of its job server.")
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise UserError(
                f"--job_endpoint={endpoint}: what answers there is no job server of Beam. Is the port another one?"
            ) from error
