"""Determines the numbers of buckets, parts and processes of a job from the numbers of its rows and files."""

from collections.abc import Sequence

from converter.table import estimate
from converter.table.header import Table

# Rows and files of a bucket: the work on a bucket then exceeds Beam's overhead for an element.
_BUCKET_ITEMS = 500
# Largest number of buckets, for as long as a bucket takes no more memory than this.
_MANY_BUCKETS, _BUCKET_BYTES = 1 << 12, 1 << 27
# Memory of a row, or of a file, beside the labels.
_ITEM_BYTES = 500
# Images whose fingerprints are compared in one task.
_PART_IMAGES = 1_000_000
# Largest number of parts: most bands have one of 512 values.
_MAX_PARTS = 1 << 12
# Rows below which starting processes takes longer than their work saves.
_PROCESSES_ROWS = 5_000
# Memory of a process that has loaded TensorFlow, to decode an image that is not a plain JPEG: 280 MB of its own, its
# part of the memory that all of them share, and some batches of images. Without TensorFlow, a process takes 15 MB.
_PROCESS_BYTES = 400_000_000
# Memory of a row in the runner of this process, its fingerprint included: of a million rows, 1.07 GB were measured.
_HELD_BYTES = 1_100


def num_rows(tables: Sequence[Table]) -> int:
    """Returns the number of rows of all files, which is estimated: they have not been read yet."""
    return sum(estimate.num_rows(table.path) for table in tables)


def num_buckets(num_rows: int, num_files: int, num_classes: int) -> int:
    """Returns the number of buckets to divide rows and files into.

    Args:
        num_rows: of the table.
        num_files: in the folder of images: it may have many more than the table.
        num_classes: each takes a byte of a row.
    """
    num_bytes = num_rows * (_ITEM_BYTES + num_classes) + num_files * _ITEM_BYTES
    return max(1, min(_MANY_BUCKETS, max(num_rows, num_files) // _BUCKET_ITEMS), num_bytes // _BUCKET_BYTES)


def num_parts(num_rows: int, is_here: bool) -> int:
    """Returns the number of parts to cut each band of fingerprints into.

    Args:
        num_rows: of the table.
        is_here: whether the job runs in this process. Parts are for many workers: with several, each fingerprint is
            sent once for each band, and this process would hold all these copies.
    """
    return 1 if is_here else max(1, min(_MAX_PARTS, num_rows // _PART_IMAGES))


def memory_left(num_rows: int, memory: int) -> int:
    """Returns the bytes for images and processes, without those for the rows that the runner of this process holds.

    Args:
        num_rows: of the table.
        memory: available bytes on this machine, of which a quarter is left in any case.
    """
    return max(memory // 4, memory - num_rows * _HELD_BYTES)


def num_processes(num_rows: int, max_processes: int, memory: int, *, in_store: bool) -> int:
    """Returns the number of processes that write shards: 1 if more would not be faster.

    Args:
        num_rows: of the table.
        max_processes: largest number of processes to start beside files of this machine.
        memory: available bytes on this machine. Processes take at most half of them; the rest is left for images.
        in_store: whether images or shards are in a store. Between two shards, a process waits for some requests, one
            after the other: twice as many processes have work for the cores meanwhile.
    """
    if num_rows < _PROCESSES_ROWS or max_processes < 2:
        return 1
    return max(1, min(2 * max_processes if in_store else max_processes, memory // 2 // _PROCESS_BYTES))
