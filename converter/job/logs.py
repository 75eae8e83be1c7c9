"""Makes the log of Beam one for people who convert images."""

import logging

from converter.job import failures

_BEAM = "apache_beam"
# These log how a job is submitted, in a dozen lines of many pages.
_CHATTY = (
    f"{_BEAM}.runners.dataflow.internal.apiclient",
    f"{_BEAM}.runners.portability.stager",
    f"{_BEAM}.typehints.native_type_compatibility",
)
# This one logs what the service says of a job, with the tracebacks of the workers.
_OF_JOBS = f"{_BEAM}.runners.dataflow.dataflow_runner"


def set_up(here: bool) -> None:
    """Sets what is logged.

    Args:
        here: whether the job runs in this process, where a runner also raises the errors that it logs.
    """
    logging.getLogger(_BEAM).setLevel(logging.CRITICAL if here else logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL if here else logging.WARNING)
    logging.getLogger(_OF_JOBS).addFilter(_shorten)


def _shorten(record: logging.LogRecord) -> bool:
    """Replaces a traceback by its sentence, if that says what to mend. Each attempt of a worker logs one."""
    sentence = failures.sentence(record.getMessage())
    if sentence:
        record.msg, record.args = sentence, ()
    return True
