"""Determines the numbers of buckets, parts and processes of a job from the size of the CSV, before rows are read."""

from collections.abc import Sequence

from converter.table.compressed import content_bytes
from converter.table.header import Table

# Bytes of CSV for each bucket, about 500 rows: the work on a bucket then exceeds Beam's overhead for an element.
_BUCKET_BYTES = 1 << 14
# Largest number of buckets. With a billion rows, a bucket has 250 000 rows, which still fit in memory.
_MAX_BUCKETS = 1 << 12
# Bytes of CSV, about 300 000 rows, whose fingerprints are compared in one task. The number of steps in a task is the
# number of images in the most frequent value of a band: in smaller tasks, the steps would take longer than the
# comparisons.
_PART_BYTES = 1 << 23
# Bytes of CSV, about 5000 rows, below which starting processes takes longer than their work saves.
_PROCESSES_BYTES = 1 << 17
# Memory of a process that has loaded TensorFlow, to decode an image that is not a plain JPEG: 280 MB of its own, its
# part of the memory that all of them share, and some batches of images. Without TensorFlow, a process takes 15 MB.
_PROCESS_BYTES = 400_000_000


def csv_bytes(tables: Sequence[Table]) -> int:
    """Returns the size of the contents of all files, from which the number of rows is estimated in advance."""
    return sum(content_bytes(table.path) for table in tables)


def num_buckets(csv_bytes: int) -> int:
    """Returns the number of buckets for a CSV of this size."""
    return max(1, min(_MAX_BUCKETS, csv_bytes // _BUCKET_BYTES))


def num_parts(csv_bytes: int) -> int:
    """Returns the number of parts to cut each band of fingerprints into, for a CSV of this size."""
    return max(1, min(_MAX_BUCKETS, csv_bytes // _PART_BYTES))


def num_processes(csv_bytes: int, max_processes: int, memory: int) -> int:
    """Returns the number of processes that write shards: 1 if more would not be faster.

    Args:
        csv_bytes: size of all files of the table.
        max_processes: largest number of processes to start.
        memory: available bytes on this machine. Processes take at most half of them; the rest is left for images.
    """
    return max(1, min(max_processes, memory // 2 // _PROCESS_BYTES)) if csv_bytes >= _PROCESSES_BYTES else 1
