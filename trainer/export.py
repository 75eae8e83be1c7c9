"""`python -m trainer.export --run=RUN --formats=saved_model,onnx,litert,keras`: exports the model of a run.

Each file is run by its own runtime, and compared with the predictions of the trainer on images of the validation split:
export.json has the differences. It gets its name after that: an export that is killed leaves no part of it.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multihot import command, flags, native_stderr
from multihot.errors import UserError
from multihot.quiet import quiet
from multihot.settings import setting
from multihot.usage import Usage

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt

    from trainer.exporting.compare import Images
    from trainer.finished_run import FinishedRun

# Formats, and what is written for each.
FORMATS = {
    "saved_model": "saved_model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "litert_int8": "model_int8.tflite",
    "keras": "model.keras",
}
_DEFAULT = ("saved_model", "keras")
_RESULT, _NOTES = "export.json", "classes.json"
# Images on which files are compared, at most; and on which activations are calibrated.
_MOST_COMPARED, _MOST_CALIBRATED = 1000, 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The settings of an export."""

    run: str = field(metadata=setting("Folder of the run.", value="RUN"))
    formats: tuple[str, ...] = field(
        default=_DEFAULT, metadata=setting(f"What to write: {', '.join(FORMATS)}.", value="A,B")
    )
    output: str = field(default="", metadata=setting("Folder to write to. Default: `export` in the run.", value="DIR"))
    compare: int = field(
        default=64, metadata=setting("Images of the validation split on which each file is compared.", value="N")
    )
    overwrite: bool = field(default=False, metadata=setting("Replace formats that are in --output."))

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise UserError(f"--formats must be some of {', '.join(FORMATS)}. Received: {', '.join(unknown)!r}")
        if not 1 <= self.compare <= _MOST_COMPARED:
            raise UserError(f"--compare must be from 1 to {_MOST_COMPARED}. Received: {self.compare}")
        if "://" in self.output:
            raise UserError(f"--output must be a folder of this machine. Received: {self.output!r}")

    @property
    def folder(self) -> Path:
        """The folder to write to."""
        return Path(self.output or Path(self.run) / "export")


USAGE = Usage(
    module="trainer.export",
    description="Exports the model of a run in forms that other runtimes take.",
    example="--run=runs/first --formats=saved_model,onnx,litert,keras",
    settings=(ExportOptions,),
)


def main(options: ExportOptions) -> None:
    """Writes each format, compares it, and prints a line for it."""
    _refuse_taken(options)  # Before the imports, which take seconds.
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()
        from trainer import finished_run
        from trainer.exporting import output
    native_stderr.filter_libjpeg()
    run = finished_run.find(options.run)
    network = run.load_model()
    with output.claimed(options.folder):
        _refuse_taken(options)
        _export(options, run, network)
    print(f"Export: {options.folder} ({_RESULT} has the differences, {_NOTES} the classes and thresholds)")


def _refuse_taken(options: ExportOptions) -> None:
    taken = [name for name in options.formats if (options.folder / FORMATS[name]).exists()]
    if taken and not options.overwrite:
        raise UserError(f"{options.folder} has {', '.join(taken)} already. Replace: --overwrite")


def _export(options: ExportOptions, run: "FinishedRun", network: "keras.Model") -> None:
    """Writes and compares the formats, in a folder that is claimed."""
    from trainer import run_folder
    from trainer.exporting import compare, formats, output

    result = options.folder / _RESULT
    written = _written(result)
    try:
        images = compare.Images(network, run.info, *_examples(run, options.compare))
    except UserError as error:
        images = None
        print(f"Files are not compared with the model: {error}")
    with output.complete(options.folder / _NOTES) as notes:
        formats.write_notes(run.info, notes)
    for name in options.formats:
        with output.complete(options.folder / FORMATS[name]) as path:
            _write(name, run, network, path)
            described = _described(name, run, path, images)
            if written.pop(name, None):  # The differences of the file that is replaced.
                run_folder.write_text(result, json.dumps(written, indent=1) + "\n")
        written[name] = described
        run_folder.write_text(result, json.dumps(written, indent=1) + "\n")
        print(_line(name, described), flush=True)


def _written(result: Path) -> dict[str, Any]:
    """Returns what export.json has of the formats that are there.

    Raises:
        UserError: the file is damaged.
    """
    if not result.exists():
        return {}
    with contextlib.suppress(ValueError, RecursionError):  # Another program may have written it.
        found = json.loads(result.read_bytes())
        if isinstance(found, dict):
            return found
    raise UserError(f"{result} is damaged. Delete it: it has nothing but the differences of earlier exports.")


def _write(name: str, run: "FinishedRun", network: "keras.Model", path: Path) -> None:
    from trainer.exporting import formats

    if name == "saved_model":
        formats.write_saved_model(network, run.info, path)
    elif name == "onnx":
        formats.write_onnx(network, run.info, path)
    elif name == "litert":
        formats.write_litert(network, run.info, path)
    elif name == "litert_int8":
        formats.write_litert(network, run.info, path, lambda: _calibrating(run))
    else:
        formats.write_keras(run.model_path, path)


def _described(name: str, run: "FinishedRun", path: Path, images: "Images | None") -> dict[str, Any]:
    """Returns what export.json has of a format, whose file does not have its name yet."""
    from trainer.exporting import compare

    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
    described: dict[str, Any] = {"path": FORMATS[name], "bytes": sum(file.stat().st_size for file in files)}
    found = compare.runtime(FORMATS[name], path, run.info) if images else None
    if not found or not images:
        return {**described, "runtime": None}
    runtime, predict = found
    predicted = compare.predicted(predict, images.encoded)
    return {**described, "runtime": runtime, **images.difference(predicted)}


def _line(name: str, written: dict[str, Any]) -> str:
    size = f"{name}: {written['path']}, {written['bytes'] / 1e6:.1f} MB"
    if not written["runtime"]:
        return f"{size}; not compared with the model: its runtime is not installed, or there are no images."
    return (
        f"{size}; {written['runtime']}: probabilities differ from the trainer's by {written['largest_difference']:.2g} "
        f"at most, {written['mean_difference']:.2g} on average; other labels for "
        f"{written['images_with_other_labels']} of {written['images']} images; mean average precision "
        f"{_number(written['mean_average_precision'])} instead of "
        f"{_number(written['mean_average_precision_of_the_trainer'])}."
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _examples(run: "FinishedRun", count: int) -> "tuple[list[bytes], npt.NDArray[np.float32]]":
    """Returns encoded images of the validation split, as the dataset has them, and labels float32 [n, k]."""
    import numpy as np
    import numpy.typing as npt
    import tensorflow as tf

    from schemas import example
    from trainer.input import reading

    split = run.config.validation_split
    images, labels = list[bytes](), list[npt.NDArray[np.float32]]()
    for source in run.sources().having(split):
        names = (example.IMAGE, example.LABELS, example.KNOWN)
        spec = example.parse_spec(len(source.info.classes), names, source.has_unknown)
        for record in reading.records(source, split).take(count - len(images)):
            parsed = tf.io.parse_single_example(record, spec)
            images.append(parsed[example.IMAGE].numpy())
            known = parsed[example.KNOWN].numpy() if source.has_unknown else np.ones(len(source.info.classes))
            labels.append((parsed[example.LABELS].numpy() + example.UNKNOWN * (1 - known))[list(source.labels)])
    return images, np.array(labels, np.float32)


def _calibrating(run: "FinishedRun") -> "Iterator[npt.NDArray[np.uint8]]":
    """Yields images of the training split: uint8 [1, size, size, 3]."""
    from trainer.input import pipeline

    config = run.config_for(run.config.train_split)
    chunks = pipeline.decoded_chunks(config, run.sources(), run.config.train_split, run.info.image_size)
    images = (image for some, _ in chunks.as_numpy_iterator() for image in some)
    yield from (image[None] for image in itertools.islice(images, _MOST_CALIBRATED))


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))


if __name__ == "__main__":
    run()
