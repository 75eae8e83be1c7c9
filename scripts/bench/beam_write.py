"""A plain Beam job in this process, as its documentation writes it: every image is an element of WriteToTFRecord."""

import apache_beam as beam
from apache_beam.io.tfrecordio import WriteToTFRecord
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

import plain
import program
from program import Job


def write(job: Job) -> int:
    """Writes all records; returns how many there are to be."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | beam.Create(job.rows)
            | beam.Map(lambda row: plain.example(*row))
            | WriteToTFRecord(str(job.output / "beam"), file_name_suffix=".tfrecord")
        )
    return len(job.rows)


if __name__ == "__main__":
    given = program.parse()
    with program.Stopwatch() as watch:
        done = write(given)
    program.tell(done, watch)
