"""The limit: what libjpeg-turbo alone decodes, in full and exactly, by simplejpeg on threads. Reading is not timed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import simplejpeg

import program
from program import Job, Stopwatch

# So many files are in memory, read before the time runs.
_BLOCK = 2000


def decode(job: Job, watch: Stopwatch) -> int:
    """Decodes all images; returns how many."""
    done = 0
    with ThreadPoolExecutor(job.threads) as executor:
        for start in range(0, len(job.rows), _BLOCK):
            images = [Path(path).read_bytes() for path, _ in job.rows[start : start + _BLOCK]]
            with watch:
                done += sum(executor.map(_decode_all, (images[i :: job.threads] for i in range(job.threads))))
    return done


def _decode_all(images: Sequence[bytes]) -> int:
    for image in images:
        simplejpeg.decode_jpeg(image)
    return len(images)


if __name__ == "__main__":
    timed = Stopwatch()
    program.tell(decode(program.parse(), timed), timed)
