"""Defines the request for a job, and checks it within seconds, before anything is imported that takes longer."""

import dataclasses
import posixpath

from apache_beam.options.pipeline_options import PipelineOptions

from multihot import storage
from multihot.beam import engines, logs, runners
from multihot.errors import UserError
from multihot.limits import Limits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """The request for a job: its images, its output and its limits.

    Attributes:
        places: files, folders and patterns.
        output: the file of predictions, on this machine or in a store.
        overwrite: whether to replace it, and to begin again.
        limits: of one image.
        batch_size: images that the model gets at a time.
        precision: in which the model computes, as PredictOptions has it.
    """

    places: tuple[str, ...]
    output: str
    overwrite: bool
    limits: Limits
    batch_size: int
    precision: str


def check(options: PipelineOptions, asked: Asked) -> None:
    """Checks within seconds what can be checked before any work, and sets up the log.

    Args:
        options: of Beam.
        asked: of the job.

    Raises:
        UserError: the job could not be submitted, or its workers could not do their work.
    """
    logs.set_up(is_quiet=runners.runs_here(options) or runners.is_portable(options))
    if runners.is_only_described(options):
        raise UserError(
            "--dry_run, --template_location and --no_wait_until_finish leave nobody to join the rows, which this "
            "command does when the job has ended. Leave them out."
        )
    runners.runner(options)
    paths = [("FILE", place) for place in asked.places]
    # The command joins the rows itself.
    paths += [] if storage.is_local(asked.output) else [("--output", asked.output)]
    runners.check(options, paths, posixpath.basename(asked.output).partition(".")[0])
    engines.check(options)
