"""Runs the job: prepares its folder, waits for the end, and joins the rows."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from multihot import command, storage
from multihot.beam import here, remote, runners, watching
from multihot.beam.watching import Progress
from multihot.printable import printable
from trainer.exporting import formats
from trainer.finished_run import FinishedRun
from trainer.prediction import places
from trainer.prediction_job import folder as folders
from trainer.prediction_job import graph, joining
from trainer.prediction_job.asked import Asked
from trainer.prediction_job.folder import Folder, Part

_WORDS = remote.Words(
    goes_on="write further rows to its folder beside the output",
    again="does no harm",
    graph="WriteRows counts finished parts",
)


class Done(NamedTuple):
    """The result of a job.

    Attributes:
        num_rows: number of rows, with those of an earlier job that this one has gone on with.
        faults: number of files among them that could not be used, for each reason.
        rate: files per second, of this job alone.
    """

    num_rows: int
    faults: Counter[str]
    rate: float


def predict(options: PipelineOptions, asked: Asked, run: FinishedRun, key: str, num_files: int) -> Done:
    """Predicts on files, and writes the rows.

    Args:
        options: of Beam.
        asked: of the job.
        run: whose model predicts.
        key: depends on the model and the places.
        num_files: of all places.

    Raises:
        UserError: the job failed. The rows so far are kept.
        OSError: a file cannot be read or written.
    """
    # Workers of Dataflow cannot write to this machine.
    given = options.view_as(GoogleCloudOptions)
    beside = (given.temp_location or given.staging_location) if runners.is_dataflow(options) else ""
    beside = beside if storage.is_local(asked.output) else ""
    if asked.overwrite:
        folders.delete_others(asked.output, beside)
    folder = Folder(
        path=folders.path(asked.output, key, beside),
        base=os.getcwd(),
        info=run.info,
        limits=asked.limits,
        batch_size=asked.batch_size,
        precision=asked.precision,
    )
    parts = folder.write_list(places.files(asked.places), num_files)
    num_rows, num_done = sum(part.num_files for part in parts), _num_files(parts, folder)
    if num_done:
        print(f"Going on after {num_done:,} of {num_rows:,} files.")
    if not folder.has_model():
        _export(run, folder)
    job = None if runners.runs_here(options) else remote.Job(options, _WORDS)
    began = time.monotonic()
    with command.leaves(lambda: _left(folder, job)):
        if num_done < num_rows:
            _run(options, folder, parts, job)
        rate = (num_rows - num_done) / max(time.monotonic() - began, 1e-9)
        faults = joining.join(folder, parts, asked.output)
    folder.delete()
    return Done(num_rows, faults, rate)


def _export(run: FinishedRun, folder: Folder) -> None:
    """Exports the model for the workers. What `trainer.export` has written may be of an older model."""
    network = run.load_model()
    with tempfile.TemporaryDirectory() as exported:
        formats.write_saved_model(network, run.info, Path(exported))
        (version,) = Path(exported).iterdir()
        folder.write_model(version)


def _run(options: PipelineOptions, folder: Folder, parts: Sequence[Part], job: remote.Job | None) -> None:
    def look(_: object = None) -> Progress:
        return Progress("images", _num_files(parts, folder), sum(part.num_files for part in parts), None)

    with tempfile.TemporaryDirectory() as staged:
        runners.stage(options, staged)
        runners.set_timeout(options)
        pipeline = runners.pipeline(runners.runner(options), options)
        graph.build(pipeline, folder, parts)
        if job:
            job.run(pipeline, look)
        else:
            with watching.watched(look):
                here.run(pipeline)


def _num_files(parts: Sequence[Part], folder: Folder) -> int:
    """Returns the number of files of finished parts."""
    return sum(part.num_files for part in folders.finished(parts, folder.rows()))


def _left(folder: Folder, job: remote.Job | None) -> str:
    kept = f"The rows so far are kept in {printable(folder.path)}: the same command goes on."
    return "\n".join(filter(None, (job.left if job else "", kept)))
