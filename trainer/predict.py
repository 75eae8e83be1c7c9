"""`python -m trainer.predict --run=RUN FILE... --output=predictions.csv`: predicts on files, folders and stores.

A row for each file, in the order in which they are found: its labels and the probability of each class, or the reason
why it could not be used. The same command goes on with predictions that were interrupted. With --runner, an Apache Beam
job writes the same rows.
"""

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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

    # Number of rows, faults among them by reason, images per second, and a line about the explained images.
    Result = tuple[int, Counter[str], float, str]
    Run = Callable[["PredictOptions", FinishedRun, int], Result]

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
    runner: str = field(
        default="",
        metadata=setting(
            "Predict by a job of Apache Beam, on other machines too: DataflowRunner, PrismRunner, ... Flags of Beam go "
            "with it, as --flag=value. By default, this process predicts.",
            value="RUNNER",
        ),
    )
    precision: str = field(
        default="float32",
        metadata=setting(
            "Type in which the model computes. auto: bfloat16 on a processor that is fast in it (AMX), which halves "
            "the time of large models and changes probabilities a little.",
            choices=("float32", "auto"),
        ),
    )
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
        if not storage.is_local(self.output) and (self.explain or not self.runner):
            without = "with --explain" if self.explain else "without --runner"
            raise UserError(f"--output must be a file of this machine, {without}. Received: {self.output!r}")
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


def main(options: PredictOptions, beam_flags: Sequence[str] = ()) -> None:
    """Predicts, and prints how many images there were, and where the rows are.

    Args:
        options: of the predictions.
        beam_flags: for the runner.
    """
    from trainer.prediction import places

    if storage.is_local(options.output) and Path(options.output).is_dir():
        raise UserError(f"--output must be a file. {options.output} is a folder.")
    if storage.exists(options.output) and not options.overwrite:
        raise UserError(f"{options.output} exists. Choose another --output, or replace it: --overwrite")
    job = _job(options, beam_flags) if options.runner else None
    # Before the imports, which take seconds.
    num_files = sum(1 for _ in places.files(options.files))
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()
        from trainer import finished_run
    native_stderr.filter_libjpeg()
    run = finished_run.find(options.run)
    num_rows, faults, rate, explained = (job or _here)(options, run, num_files)
    num_faults = sum(faults.values())
    print(f"{num_rows - num_faults:,} images predicted, {rate:.0f} images/s.")
    if faults:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in faults.most_common())
        print(f"Could not be used: {num_faults:,} of the files ({reasons}). The column `reason` names the cause.")
    print(f"Rows: {printable(options.output)}")
    if explained:
        print(explained)


def _here(options: PredictOptions, run: "FinishedRun", num_files: int) -> "Result":
    """Predicts in this process."""
    from trainer.prediction import places, table
    from trainer.system import numerics

    output = Path(options.output)
    if options.overwrite:
        table.remove_parts(output)
    with signals.deferred(), table.Table(output, run.info, _key(options, run)) as rows:
        files = places.files(options.files)
        num_done = _pass_over(files, rows, options.output)
        if num_done:
            print(f"Going on after {num_done:,} of {num_files:,} files.")
        network = run.load_model()
        if numerics.choose_for_predictions(options.precision):
            print("The model computes in bfloat16.")
        with command.leaves(lambda: "The rows so far are kept: the same command goes on."):
            faults, rate = _predict(options, run, network, files, rows, num_files, num_done)
            explained = _explain(options, run, network, num_files) if options.explain else ""
        rows.finish()
    return num_files - num_done, faults, rate, explained


def _job(options: PredictOptions, beam_flags: Sequence[str]) -> "Run":
    """Returns the function that predicts by a job of Beam, whose flags and engine are checked at once."""
    with quiet():
        from multihot.beam import runners
        from trainer.prediction_job import asked

    try:
        beam_options = runners.parse([f"--runner={options.runner}", *beam_flags], USAGE)
    except UserError as error:
        raise USAGE.error(str(error)) from error
    job = asked.Asked(
        places=options.files,
        output=options.output,
        overwrite=options.overwrite,
        limits=options.limits,
        batch_size=options.batch_size,
        precision=options.precision,
    )
    asked.check(beam_options, job)

    def predict(options: PredictOptions, run: "FinishedRun", num_files: int) -> "Result":
        from trainer.prediction_job import job as jobs

        done = jobs.predict(beam_options, job, run, _key(options, run), num_files)
        explained = _explain(options, run, run.load_model(), num_files) if options.explain else ""
        return done.num_rows, done.faults, done.rate, explained

    return predict


def _key(options: PredictOptions, run: "FinishedRun") -> str:
    """Returns a digest of all that decides which rows there are."""
    limits = [options.max_pixels, options.max_image_bytes]
    asked = [list(options.files), *limits, options.precision, storage.sha256(str(run.model_path))]
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


def _parse(argv: list[str]) -> tuple[PredictOptions, list[str]]:
    """Returns the options, and the flags for Beam: with --runner, all flags that are not ours."""
    others: list[str] = []
    given = flags.read(USAGE, argv, others)
    if not given["runner"]:
        return flags.parse(USAGE, argv), []
    words = list(given["files"])
    end = words.index("--") if "--" in words else len(words)
    beam_flags = [word for word in words[:end] if word.startswith("-")]
    given["files"] = tuple(word for word in words[:end] if not word.startswith("-")) + tuple(words[end + 1 :])
    return flags.make(USAGE, PredictOptions, given), beam_flags


def run() -> None:
    """Entry point."""
    command.run(lambda parsed: main(*parsed), parse=_parse)


if __name__ == "__main__":
    run()
