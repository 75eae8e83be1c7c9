"""Tells mistakes of the user from failures that may pass, where a step of the job runs on a worker.

A runner on other machines repeats a step that fails: Dataflow four times. That is right if a store did not answer, or a
worker had too little memory. A mistake in the table stays the same, so the step hands it on to the last step, which
writes the reason why nothing is published (commit.py), and the command line prints it, on every runner.
"""

import errno
from collections.abc import Iterable, Iterator
from typing import Any

from apache_beam.pvalue import TaggedOutput

from multihot import command
from multihot.errors import UserError
from multihot.images.decoders import DecoderError

# The output of a step for the sentence about a mistake.
FAILURES = "failures"

# Errors of the system that are the same in every attempt: the file or the bucket is not there, access to it is refused,
# or no file can have this name.
_LASTING = frozenset(
    (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EACCES,
        errno.EPERM,
        errno.EINVAL,
        errno.ENXIO,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EFBIG,
    )
)


def handed_on(outputs: Iterable[Any]) -> Iterator[Any]:
    """Yields the outputs of a step, and the sentence about a mistake of the user as its last output.

    Raises:
        Exception: the step failed for another reason, so that the runner repeats it.
    """
    try:
        yield from outputs
    except (UserError, OSError) as error:
        if may_pass(error):
            raise
        yield TaggedOutput(FAILURES, command.sentence(error))


def may_pass(error: BaseException) -> bool:
    """Whether another attempt may succeed: a store or a machine has failed, and not the input."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, MemoryError | ConnectionError | TimeoutError | DecoderError):
            return True
        # Errors about the contents of a file, such as those of gzip, have no number.
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause.errno not in _LASTING
        cause = cause.__cause__ or cause.__context__
    return not isinstance(error, UserError | OSError)
