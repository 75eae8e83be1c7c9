"""`python -m trainer.evaluate --run=RUN`: says how good a model is, where it fails, and how sure that is."""

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from multihot import command, flags, native_stderr, storage
from multihot.errors import UserError
from multihot.quiet import quiet
from multihot.settings import setting
from multihot.usage import Usage

if TYPE_CHECKING:
    from trainer.sources import Source

_SLICES = ("image_size", "group", "csv")
_PAGE = "evaluation.html"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The settings of an evaluation."""

    run: str = field(metadata=setting("Folder of a finished run.", value="RUN"))
    data: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "Folder of a dataset with classes of the model. Repeat it for several. Default: those of the run.",
            value="DATASET",
            repeated=True,
        ),
    )
    split: str = field(
        default="", metadata=setting("Split to evaluate on. Default: the validation split of the run.", value="NAME")
    )
    compare: str = field(
        default="",
        metadata=setting("Another finished run, compared with the first one on the same images.", value="RUN"),
    )
    slice_by: tuple[str, ...] = field(
        default=(),
        metadata=setting("Figures of parts of the images too: image_size, group, csv, or several of them."),
    )
    output: str = field(
        default="",
        metadata=setting(
            "Folder for evaluation.json and evaluation.html. Default: RUN/evaluation-SPLIT, and with --data "
            "RUN/evaluation-NAME-VERSION-SPLIT.",
            value="FOLDER",
        ),
    )

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            UserError: a setting cannot be used.
        """
        for name in self.slice_by:
            if name not in _SLICES:
                raise UserError(f"--slice_by must be one or several of {', '.join(_SLICES)}. Received: {name!r}")
        if not storage.is_local(self.output):
            raise UserError(f"--output must be a folder of this machine. Received: {self.output!r}")


USAGE = Usage(
    module="trainer.evaluate",
    description="Evaluates the model of a run on a split of any dataset with its classes.",
    example="--run=runs/first --split=test",
    settings=(EvaluateOptions,),
)


def main(options: EvaluateOptions) -> None:
    """Evaluates, and prints the figures and where everything lies."""
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()
        from trainer import finished_run, run_folder, sources
        from trainer.evaluation import contents, page, predicting, slices, summary, worst
        from trainer.input import listing
    native_stderr.filter_libjpeg()
    run = finished_run.find(options.run)
    split = options.split or run.config.validation_split
    subject = predicting.subject(run, options.data, split)
    other = None
    if options.compare:
        other = predicting.subject(finished_run.find(options.compare), subject.config.data, split, subject.data.classes)
        # Both are evaluated on the classes that both models have.
        subject = predicting.subject(run, options.data, split, other.data.classes)
        other = predicting.subject(other.run, subject.config.data, split, subject.data.classes)
    output = _output(options, subject.data.each, split)
    with sources.damaged_shards_named(subject.data, [subject.split]):
        # Before the predictions, which may take hours.
        examples = listing.examples(subject.data, split)
        parts = {by: slices.find(by, examples, subject.data, split) for by in options.slice_by}
        for line in slices.not_noted(parts):
            print(line, flush=True)
        network = run.load_model()
        predictions = predicting.predict(network, subject)
        found = contents.evaluate(subject, predictions, examples, parts)
        if other:
            found["comparison"] = contents.compare(
                subject, other, predictions, predicting.predict(other.run.load_model(), other)
            )
        pictures, exact = worst.pictures(network, subject, found["worst"])
    print("\n".join(summary.lines(found)))
    output.mkdir(parents=True, exist_ok=True)
    run_folder.write_text(output / _PAGE, page.render(found, pictures, exact_maps=exact))
    run_folder.write_text(output / run_folder.EVALUATION, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(f"\n{output / run_folder.EVALUATION}\n{output / _PAGE}")


def _output(options: EvaluateOptions, each: Sequence["Source"], split: str) -> Path:
    """Returns the folder of the evaluation.

    Raises:
        UserError: it is the folder of a run, whose own evaluation.json would be replaced.
    """
    from trainer import run_folder

    names = [f"{source.info.name}-{source.info.version}" for source in each] if options.data else []
    output = Path(options.output or os.path.join(options.run, "-".join(["evaluation", *names, split])))
    if (output / run_folder.CONFIG).exists():
        raise UserError(
            f"--output: {output} is the folder of a run, whose {run_folder.EVALUATION} it would replace. Name another."
        )
    if output.exists() and not output.is_dir():
        raise UserError(f"--output: {output} is a file. Name a folder.")
    return output


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))


if __name__ == "__main__":
    run()
