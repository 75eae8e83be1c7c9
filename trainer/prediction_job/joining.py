"""Joins the rows of all parts, in order, to the file of predictions, which appears when it is complete."""

import functools
import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from multihot import storage
from multihot.errors import UserError
from multihot.storage import MAX_READ_BYTES, File, ahead
from trainer.prediction import table
from trainer.prediction.table import Format
from trainer.prediction_job import folder as folders
from trainer.prediction_job.folder import Folder, Part


def join(folder: Folder, parts: Sequence[Part], output: str) -> Counter[str]:
    """Joins the rows.

    Args:
        folder: of the job.
        parts: of its list, all finished.
        output: the file of predictions: Parquet if it ends with `.parquet`, otherwise CSV.

    Returns:
        The number of files that could not be used, for each reason.

    Raises:
        UserError: there are not the rows of all parts.
        OSError: they cannot be read, or the output cannot be written.
    """
    found = folder.rows()
    if missing := len(parts) - len(list(folders.finished(parts, found))):
        raise UserError(
            f"{folder.path} lacks the rows of {missing:,} of {len(parts):,} parts: another command has deleted them. "
            "Run this one again."
        )
    faults, written = Counter[str](), Format(folder.info)
    rows = _rows(parts, [found[part.name] for part in parts], faults)
    with storage.create(output) as file:
        if table.is_parquet(output):
            # A file of a store cannot say where its end is.
            with tempfile.TemporaryFile() as made:
                written.write_parquet(rows, made)
                made.seek(0)
                shutil.copyfileobj(made, file)
        else:
            file.write(written.header)
            for row in rows:
                file.write(row)
    return faults


def _rows(parts: Sequence[Part], files: Sequence[File], faults: Counter[str]) -> Iterator[bytes]:
    """Yields the rows of all parts, counts their reasons, and checks their number."""
    for part, content in zip(parts, _contents(files), strict=True):
        num_rows = 0
        for row in table.whole_rows(io.BytesIO(content())):
            num_rows += 1
            if reason := table.reason(row):
                faults[reason] += 1
            yield row
        if num_rows != part.num_files:
            raise UserError(f"The rows in {part.name} are {num_rows}, for {part.num_files} files: begin again.")


def _contents(files: Sequence[File]) -> Iterator[Callable[[], bytes]]:
    """Yields a function for each file that returns its content. Objects of stores are read ahead."""
    if not files or storage.is_local(files[0].path):
        yield from (functools.partial(storage.read, file.path) for file in files)
        return
    for _, content in ahead.read(files, lambda file: file, MAX_READ_BYTES):
        yield content
