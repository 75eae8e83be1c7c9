"""The plain loop: read, decode, tf.train.Example, tf.io.TFRecordWriter, one file. Threads decode the images."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

import plain
import program
from program import Job


def examples(job: Job) -> Iterator[bytes]:
    """Yields the records."""
    with ThreadPoolExecutor(job.threads) as executor:
        yield from executor.map(lambda row: plain.example(*row), job.rows)


def write(job: Job) -> int:
    """Writes all records; returns how many."""
    written = 0
    with tf.io.TFRecordWriter(str(job.output / "plain.tfrecord")) as writer:
        for record in examples(job):
            writer.write(record)
            written += 1
    return written


if __name__ == "__main__":
    given = program.parse()
    with program.Stopwatch() as watch:
        done = write(given)
    program.tell(done, watch)
