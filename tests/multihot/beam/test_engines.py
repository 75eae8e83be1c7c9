"""An engine that is not there is found before any work is done, and is one sentence."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

import ports
from multihot.beam import engines
from multihot.errors import UserError


@pytest.fixture
def web_page() -> Iterator[int]:
    """Returns the port of a server that is not one of jobs."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def _refused(*flags: str) -> str:
    with pytest.raises(UserError) as caught:
        engines.check(PipelineOptions(list(flags)))
    return str(caught.value)


def test_an_engine_that_is_not_there_is_one_sentence(
    web_page: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_ANSWER_SECONDS", 1.0)
    port = ports.free()
    portable = "--runner=PortableRunner"
    assert _refused(portable, f"--job_endpoint=localhost:{port}") == (
        f"--job_endpoint=localhost:{port}: nothing answers there (Connection refused). Start the engine, or name the "
        "end point of its job server."
    )
    assert "what answers there is no job server of Beam" in _refused(portable, f"--job_endpoint=127.0.0.1:{web_page}")
    for endpoint in ("localhost", "8073", "localhost:http", ":8073"):
        assert "must be HOST:PORT, as in localhost:8073" in _refused(portable, f"--job_endpoint={endpoint}")
    assert "nothing answers there" in _refused(portable, "--job_endpoint=no.such.host.example:99999999")
    external = ("--runner=PrismRunner", "--environment_type=EXTERNAL")
    for config in (f"--environment_config=localhost:{port}", f'--environment_config={{"url": "localhost:{port}"}}'):
        assert _refused(*external, config) == (
            f"--environment_config=localhost:{port}: nothing answers there (Connection refused). Start the pool of "
            "workers: python -m apache_beam.runners.worker.worker_pool_main --service_port=PORT"
        )
    assert _refused(*external) == (
        "--environment_type=EXTERNAL: --environment_config must be HOST:PORT, as in localhost:8073. Received: ''"
    )
    engines.check(PipelineOptions([*external, "--environment_config=elsewhere:50000"]))
    prism = "--runner=PrismRunner"
    assert _refused(prism, "--environment_type=FOO") == (
        "--environment_type must be one of LOOPBACK, EXTERNAL, PROCESS, DOCKER. Received: 'FOO'"
    )
    command = '--environment_config={"command": "/no/such/program"}'
    assert _refused(prism, "--environment_type=PROCESS", command) == (
        "--environment_type=PROCESS: --environment_config names no program. Received: '/no/such/program'"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "(--environment_type=DOCKER), which is not installed here." in _refused(prism, "--environment_type=DOCKER")
    location = f"--prism_location={tmp_path}/prism"
    assert _refused(portable) == "--runner=PortableRunner needs the job server of an engine: --job_endpoint=HOST:PORT"
    assert f"there is no file {tmp_path}/prism" in _refused("--runner=PrismRunner", location)


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
        ["--runner=PrismRunner"],
        ["--runner=DataflowRunner"],
        [],
    ],
)
def test_without_an_end_point_nothing_is_asked(flags: list[str]) -> None:
    engines.check(PipelineOptions(flags))
