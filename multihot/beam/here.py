"""Runs a job in this process."""

import apache_beam as beam

from multihot.errors import UserError


def run(pipeline: beam.Pipeline) -> None:
    """Runs a job, and waits for its end.

    Raises:
        Exception: the error that a step of the job raised.
    """
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:
        raise _original(error) from error


def _original(error: Exception) -> BaseException:
    """Returns the error that a step of the job raised, without the wrapping that a runner in this process adds."""
    cause: BaseException | None = error
    while cause:
        # Beam raises a copy of the error, with this mark and with the name of the step appended to the message.
        if isinstance(cause, UserError | OSError | KeyboardInterrupt) and not getattr(
            cause, "_tagged_with_step", False
        ):
            return cause
        cause = cause.__cause__ or cause.__context__
    return error
