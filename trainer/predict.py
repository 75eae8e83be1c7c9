"""`python -m trainer.predict --run=RUN FILE... --output=predictions.csv`: predicts on files, folders and stores.

A row for each file, in the order in which they are found: its labels and the probability of each class, or the reason
why it could not be used. The same command goes on with predictions that were interrupted.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from multihot import command, flags, machine, native_stderr, signals, storage
from multihot.errors import UserError
from multihot.limits import LimitOptions
from multihot.printable import printable
from multihot.quiet import quiet
from multihot.settings import setting
from multihot.usage import Usage

if TYPE_CHECKING:
    from multihot.storage import File
    from trainer.finished_run import FinishedRun
    from trainer.prediction.table import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions(LimitOptions):
    """The settings of predictions on files."""

    files: tuple[str, ...] = field(
        metadata=setting(
            "Files, folders, and patterns such as 'photos/*.jpg', on this machine or in stores (gs://, s3://, az://).",
            value="FILE...",
            positional=True,
        )
    )
    run: str = field(metadata=setting("Folder of the run whose model predicts.", value="RUN"))
    output: str = field(
        default="predictions.csv", metadata=setting("File for the rows: .csv or .parquet.", value="FILE")
    )
    batch_size: int = field(default=32, metadata=setting("Images that the model gets at a time."))
    overwrite: bool = field(default=False, metadata=setting("Replace the file that is in --output."))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1:
            raise UserError(f"--batch_size must be at least 1. Received: {self.batch_size}")
        if not storage.is_local(self.output):
            raise UserError(f"--output must be a file of this machine. Received: {self.output!r}")
        if Path(self.output).suffix not in (".csv", ".parquet"):
            raise UserError(f"--output must end with .csv or .parquet. Received: {self.output!r}")


USAGE = Usage(
    module="trainer.predict",
    description="Predicts the labels of images with the model of a run.",
    example="--run=runs/first photos/ --output=predictions.csv",
    settings=(PredictOptions,),
)


def main(options: PredictOptions) -> None:
    """Predicts, and prints how many images there were, and where the rows are."""
    from trainer.prediction import places

    output = Path(options.output)
    if output.exists() and not options.overwrite:
        raise UserError(f"{output} exists. Choose another --output, or replace it: --overwrite")
    # Before the imports, which take seconds.
    num_files = sum(1 for _ in places.files(options.files))
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()
        from trainer import finished_run
        from trainer.prediction import table
    native_stderr.filter_libjpeg()
    run = finished_run.find(options.run)
    if options.overwrite:
        table.remove_parts(output)
    with signals.deferred(), table.Table(output, run.info, _key(options, run)) as rows:
        files = places.files(options.files)
        num_done = _pass_over(files, rows, options.output)
        if num_done:
            print(f"Going on after {num_done:,} of {num_files:,} files.")
        with command.leaves(lambda: "The rows so far are kept: the same command goes on."):
            faults, rate = _predict(options, run, files, rows, num_files, num_done)
        rows.finish()
    num_faults = sum(faults.values())
    print(f"{num_files - num_done - num_faults:,} images predicted, {rate:.0f} images/s.")
    if faults:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in faults.most_common())
        print(f"Could not be used: {num_faults:,} of the files ({reasons}). The column `reason` names the cause.")
    print(f"Rows: {printable(options.output)}")


def _key(options: PredictOptions, run: "FinishedRun") -> str:
    """Returns a digest of all that decides which rows there are."""
    asked = [list(options.files), options.max_pixels, options.max_image_bytes, storage.sha256(str(run.model_path))]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _pass_over(files: "Iterator[File]", rows: "Table", output: str) -> int:
    """Passes over the files that have rows already, and returns their number."""
    num_done = 0
    for name in rows.names():
        file = next(files, None)
        if file is None or file.path.encode(errors="backslashreplace").decode() != name:
            raise UserError(
                f"The files are not those with which {output} was begun: {printable(name)} is no longer the "
                f"{num_done + 1:,}th. Begin again: --overwrite"
            )
        num_done += 1
    return num_done


def _predict(
    options: PredictOptions, run: "FinishedRun", files: "Iterator[File]", rows: "Table", num_files: int, num_done: int
) -> tuple[Counter[str], float]:
    """Predicts on files. Returns the number of faults of each reason, and images per second."""
    from trainer.prediction.progress import Progress
    from trainer.prediction.reading import Reader
    from trainer.prediction.scoring import Scores

    scores, reader = Scores(run.load_model(), run.info), Reader(run.info, options.limits)
    progress, faults = Progress(num_files, num_done), Counter[str]()
    # One that is listed after they were counted is left to the next time.
    counted = itertools.islice(files, num_files - num_done)
    for batch in reader.batches(counted, options.batch_size, machine.usable_cores()):
        signals.check()
        rows.add(batch, scores(batch.images))
        faults.update(fault.reason.value for fault in batch.faults if fault)
        progress.advance(len(batch.names))
    progress.close()
    return faults, progress.rate


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))


if __name__ == "__main__":
    run()
