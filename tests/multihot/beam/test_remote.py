"""Jobs on engines outside of this process, as far as they need no engine: see tests/converter/job/test_prism.py."""

from typing import Any

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from multihot.beam import remote
from multihot.errors import UserError

_WORDS = remote.Words("publish the dataset", "publishes nothing", "")


class _Refused(grpc.RpcError):
    """An error as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


class _Ends(beam.Pipeline):
    """A job whose stream ends with an error."""

    error: _Refused

    def run(self, test_runner_api: Any = "AUTO") -> None:
        raise self.error


@pytest.mark.parametrize(
    ("seconds", "code", "said"),
    [
        (0, grpc.StatusCode.DEADLINE_EXCEEDED, "The job has not ended in 0 s (--job_server_timeout)."),
        (900, grpc.StatusCode.DEADLINE_EXCEEDED, "The job has not ended in 900 s (--job_server_timeout)."),
        # The job server saw the deadline first.
        (0, grpc.StatusCode.CANCELLED, "The job has not ended in 0 s (--job_server_timeout)."),
        (900, grpc.StatusCode.CANCELLED, "The job could not be started: Stream removed"),
    ],
)
def test_a_deadline_is_named_at_whichever_end_it_is_seen(seconds: int, code: grpc.StatusCode, said: str) -> None:
    options = PipelineOptions(["--runner=PortableRunner", "--job_endpoint=there:1", f"--job_server_timeout={seconds}"])
    pipeline = _Ends(options=PipelineOptions(["--runner=DirectRunner"]))
    pipeline.error = _Refused(code, "Stream removed")
    with pytest.raises(UserError) as raised:
        remote.Job(options, _WORDS).run(pipeline, lambda _: None)
    assert f"{raised.value}" == said
