"""Estimates the number of rows of a file from its size and its beginning, by which the work on it is divided."""

from converter.table import parquet
from converter.table.compressed import content_bytes, open_contents

# Bytes of a file whose lines are counted: several, if there are ten thousand label columns.
_SAMPLE_BYTES = 1 << 20


def num_rows(path: str) -> int:
    """Returns the number of rows of a CSV, estimated; that of a Parquet file is exact.

    Raises:
        UserError: the file cannot be read.
    """
    with open_contents(path) as (file, head):
        if head.startswith(parquet.MAGIC):
            return parquet.num_rows(path, file)
        sample = file.read(_SAMPLE_BYTES)
    end = b"\n" if b"\n" in sample else b"\r"
    header, _, rows = sample.partition(end)
    if len(sample) < _SAMPLE_BYTES:
        return rows.count(end) + (not rows.endswith(end) and bool(rows))
    # The last line that was read is cut off.
    whole = rows.rpartition(end)[0]
    if not whole:
        return max(1, content_bytes(path) // len(sample))
    return (content_bytes(path) - len(header)) * (whole.count(end) + 1) // (len(whole) + 1)
