"""Makes the log of Beam one for people who wait for a job."""

import logging

from multihot.beam import engine_text

_BEAM = "apache_beam"
# These log how a job is submitted, in a dozen lines of many pages.
_CHATTY = (
    f"{_BEAM}.runners.dataflow.internal.apiclient",
    f"{_BEAM}.runners.portability.stager",
    f"{_BEAM}.typehints.native_type_compatibility",
)
# This one logs what the service says of a job, with the tracebacks of the workers.
_OF_JOBS = f"{_BEAM}.runners.dataflow.dataflow_runner"


def set_up(is_quiet: bool) -> None:
    """Sets what is logged.

    Args:
        is_quiet: whether nothing is. A runner in this process also raises the errors that it logs, and so does an
            engine. The page of a job in a cloud shows its log.
    """
    logging.getLogger(_BEAM).setLevel(logging.CRITICAL if is_quiet else logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL if is_quiet else logging.WARNING)
    logging.getLogger(_OF_JOBS).addFilter(_shorten)
    logging.getLogger().addFilter(_is_of_use)


def _is_of_use(record: logging.LogRecord) -> bool:
    """Whether a record is not the one in which RunInference regrets that it cannot measure the memory of a model."""
    return not record.getMessage().startswith("Resource module is not available")


def _shorten(record: logging.LogRecord) -> bool:
    """Replaces a traceback by its sentence, if that says what to mend. Each attempt of a worker logs one."""
    sentence = engine_text.sentence(record.getMessage())
    if sentence:
        record.msg, record.args = sentence, ()
    return True
