"""Builds the graph of the Beam job.

Neither images nor rows cross a shuffle. A part that is finished is left out, so that a bundle that is repeated, and a
job after one that was killed, do only what is missing.
"""

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from multihot.beam import workers
from trainer.prediction_job import handler
from trainer.prediction_job.folder import Folder, Part
from trainer.prediction_job.handler import Handler, Predicted


def build(pipeline: beam.Pipeline, folder: Folder, parts: Sequence[Part]) -> None:
    """Adds all steps of predictions to a pipeline.

    Args:
        pipeline: empty.
        folder: of the job, with the list of its files and the model.
        parts: of the list.
    """
    _ = (
        pipeline
        | "Parts" >> beam.Create(parts)  # Part
        | "ToWorkers" >> beam.Reshuffle()
        | "Unfinished" >> beam.Filter(_is_unfinished, folder)
        | "Predict" >> RunInference(Handler(folder, workers.version(handler.PACKAGE)))  # Predicted
        | "WriteRows" >> beam.Map(_write, folder)
    )


def _is_unfinished(part: Part, folder: Folder) -> bool:
    return not folder.is_finished(part)


def _write(predicted: Predicted, folder: Folder) -> None:
    folder.write_rows(predicted.part, predicted.rows)
