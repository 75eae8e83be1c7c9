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
    import keras

    from multihot.storage import File
    from trainer.finished_run import FinishedRun
    from trainer.prediction.table import Table


# Images of a picture, at most.
_MOST_EXPLAINED = 300


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
    explain: int = field(
        default=0,
        metadata=setting(
            "Images to draw with activation maps, spread over all files; the picture is beside --output.", value="N"
        ),
    )
    overwrite: bool = field(default=False, metadata=setting("Replace the file that is in --output."))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1:
            raise UserError(f"--batch_size must be at least 1. Received: {self.batch_size}")
        if not storage.is_local(self.output):
            raise UserError(f"--output must be a file of this machine. Received: {self.output!r}")
        if Path(self.output).suffix not in (".csv", ".parquet"):
            raise UserError(f"--output must end with .csv or .parquet. Received: {self.output!r}")
        if not 0 <= self.explain <= _MOST_EXPLAINED:
            raise UserError(f"--explain must be from 0 to {_MOST_EXPLAINED}. Received: {self.explain}")


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
        network = run.load_model()
        with command.leaves(lambda: "The rows so far are kept: the same command goes on."):
            faults, rate = _predict(options, run, network, files, rows, num_files, num_done)
            explained = _explain(options, run, network, num_files) if options.explain else ""
        rows.finish()
    num_faults = sum(faults.values())
    print(f"{num_files - num_done - num_faults:,} images predicted, {rate:.0f} images/s.")
    if faults:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in faults.most_common())
        print(f"Could not be used: {num_faults:,} of the files ({reasons}). The column `reason` names the cause.")
    print(f"Rows: {printable(options.output)}")
    if explained:
        print(explained)


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
    options: PredictOptions,
    run: "FinishedRun",
    network: "keras.Model",
    files: "Iterator[File]",
    rows: "Table",
    num_files: int,
    num_done: int,
) -> tuple[Counter[str], float]:
    """Predicts on files. Returns the number of faults of each reason, and images per second."""
    from trainer.prediction.progress import Progress
    from trainer.prediction.reading import Reader
    from trainer.prediction.scoring import Scores

    scores, reader = Scores(network, run.info), Reader(run.info, options.limits)
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


def _explain(options: PredictOptions, run: "FinishedRun", network: "keras.Model", num_files: int) -> str:
    """Draws some images with maps of their most probable class. Returns a line for the user."""
    from trainer.evaluation import maps
    from trainer.prediction import explained, places
    from trainer.prediction.reading import Reader
    from trainer.prediction.scoring import Scores

    count = min(options.explain, num_files)
    numbers = {i * num_files // count for i in range(count)}
    chosen = (file for number, file in enumerate(places.files(options.files)) if number in numbers)
    batch = next(Reader(run.info, options.limits).batches(chosen, count, 1), None)
    if batch is None or not len(batch.images):
        return "None of the images for --explain could be used: there is no picture of them."
    scores = Scores(network, run.info)(batch.images)
    found = maps.compute(network, batch.images, scores.argmax(axis=1).tolist())
    if found is None:
        return f"The model in {run.path} has no activation maps: there is no picture for --explain."
    path = Path(options.output).with_suffix(".explained.png")
    names = [name for name, fault in zip(batch.names, batch.faults, strict=True) if not fault]
    explained.draw(batch.images, names, scores, found.values, run.info, path)
    return f"Activation maps of {len(names)} images: {printable(str(path))}"


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))


if __name__ == "__main__":
    run()
