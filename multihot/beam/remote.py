"""Runs a job on an engine outside of this process. If it fails, a sentence says why, and what became of the job."""

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners.runner import PipelineResult
from apache_beam.runners.worker import sdk_worker

from multihot.beam import engine_text, runners, watching
from multihot.beam.watching import Progress
from multihot.errors import UserError

# Seconds for a job server to cancel a job. An interrupted program ends after five.
_CANCEL_SECONDS = 3.0


class Words(NamedTuple):
    """Words about a job, for messages.

    Attributes:
        goes_on: what it does if it still runs when this process has ended: "publish the dataset".
        again: what it does if the same command is run again meanwhile: "publishes nothing".
        graph: the steps of its graph that say how far it is, and what they count.
    """

    goes_on: str
    again: str
    graph: str


class Job:
    """A job on an engine, and what this process knows of it."""

    def __init__(self, options: PipelineOptions, words: Words) -> None:
        """Stores the options of the job.

        Args:
            options: with the name of the runner.
            words: about the job.
        """
        self._options, self._words = options, words
        self._engine = runners.elsewhere(options)
        self._endpoint = options.view_as(PortableOptions).job_endpoint or ""
        self._result: Any = None
        self._left = ""
        self._started = 0.0

    @property
    def left(self) -> str:
        """A sentence about the job, if it may go on when this process has ended; "" otherwise."""
        return self._left

    def run(self, pipeline: beam.Pipeline, look: Callable[[PipelineResult], Progress | None]) -> None:
        """Runs the job, and waits for its end, unless it is only described.

        Args:
            pipeline: the job.
            look: says how far the job is; None if that is not known.

        Raises:
            UserError: the job failed, or what it needs is not there.
            KeyboardInterrupt: this process was interrupted. The job was cancelled, if the engine can be told so.
        """
        self._left = self._may_run()
        self._started = time.monotonic()
        if runners.is_portable(self._options):
            _silence_beam()
        try:
            self._result = pipeline.run()
            self._say_where()
            if not runners.is_only_described(self._options):
                with watching.watched(lambda: look(self._result)):
                    self._result.wait_until_finish()
            self._left = ""
        except KeyboardInterrupt:
            self._cancel()
            raise
        except Exception as error:
            if not isinstance(error, grpc.RpcError):
                self._left = ""  # The engine has said that the job has ended, or there is none.
            raise self._failure(error) from error

    def _say_where(self) -> None:
        self._left = self._may_run()
        said = runners.submitted(self._options, self._result, self._words.graph)
        if runners.is_portable(self._options) and self._endpoint:
            said = f"The job is {self._result._job_id} of {self._endpoint}."
        if said:
            print(said, flush=True)
        if command := runners.cancel_command(self._options, self._result):
            self._left = f"The job may still run, and {self._words.goes_on}. To cancel it: {command}"

    def _cancel(self) -> None:
        """Cancels the job where the engine takes a request for it, and notes whether it did."""
        if self._result is None or not runners.is_portable(self._options):
            return
        with contextlib.suppress(grpc.RpcError):
            request = beam_job_api_pb2.CancelJobRequest(job_id=self._result._job_id)
            # Beam's own method waits for ever.
            self._result._job_service.Cancel(request, timeout=_CANCEL_SECONDS)
            self._left = "The job was cancelled."
        if not self._endpoint and runners.is_prism(self._options):
            self._left = ""  # The engine is a child of this process, and ends with it.

    def _may_run(self) -> str:
        if not runners.is_portable(self._options):
            return f"If the job was submitted to {self._engine}, it may still run there. Cancel it there."
        where = self._endpoint or self._engine
        how = f"The job {self._result._job_id} of" if self._result else "If the job was submitted to"
        return (
            f"{how} {where}{'' if self._result else ', it'} may still run there, and {self._words.goes_on}. It can "
            f"be cancelled there; if the same command is run again, it {self._words.again}."
        )

    def _failure(self, error: Any) -> UserError:
        where = f"--job_endpoint={self._endpoint}" if self._endpoint else f"--runner={self._engine}"
        what = "The job failed" if self._result else "The job could not be started"
        if isinstance(error, grpc.FutureTimeoutError):
            return UserError(f"{where}: the job server does not answer.")
        if not isinstance(error, grpc.RpcError):
            text = f"{error}" or type(error).__name__
            return error if isinstance(error, UserError) else engine_text.failure(text, what)
        code, details = error.code(), error.details() or ""
        seconds = self._options.view_as(PortableOptions).job_server_timeout
        # A request has a deadline at both ends. If the job server sees it first, it cancels the stream.
        is_late = code == grpc.StatusCode.CANCELLED and time.monotonic() - self._started >= seconds
        if code == grpc.StatusCode.DEADLINE_EXCEEDED or is_late:
            self._cancel()
            return UserError(f"The job has not ended in {seconds} s (--job_server_timeout).")
        if code == grpc.StatusCode.UNAVAILABLE:
            return UserError(f"{where}: the connection to the job server was lost. Has the engine ended?")
        return engine_text.failure(details or f"{where}: the job server refused the request ({code.name})", what)


@functools.cache
def _silence_beam() -> None:
    """Lets Beam print no text of an engine: the error that ends the program says it, once."""
    logging.getLogger().addFilter(_is_of_others)
    logging.getLogger("PrismJobServer").disabled = True
    sdk_worker.print = lambda *_, **__: None  # Of a worker in this process.
    before = threading.excepthook

    def print_others(args: Any) -> None:
        if not isinstance(args.exc_value, grpc.RpcError):
            before(args)

    threading.excepthook = print_others


def _is_of_others(record: logging.LogRecord) -> bool:
    return record.module != "portable_runner"
