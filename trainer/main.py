"""Defines the command line of the trainer: flags become TrainConfig, and a training starts."""

import dataclasses
import os
import shlex
from dataclasses import field

from multihot import command, flags, native_stderr, usage
from multihot.quiet import quiet
from multihot.settings import setting
from multihot.usage import Usage
from trainer import checks
from trainer.config import TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Mode:
    """The setting of the program that is not one of a run."""

    benchmark_input: bool = field(
        default=False, metadata=setting("Do not train: measure the input, the model, and both together.")
    )


_USAGE = Usage(
    module="trainer",
    description="Trains a model on datasets of the converter, and evaluates it.",
    example="--data=data/miml/1.0.0 --output=runs/first",
    settings=(TrainConfig, _Mode),
    status=1,
)


def main(parsed: tuple[TrainConfig, _Mode]) -> None:
    """Trains, and prints the metrics and where everything lies."""
    config, mode = parsed
    # Before the imports, which take seconds.
    checks.load(config)
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()  # Looks for GPUs, and tells when it finds none.
        from trainer import metrics, train
    native_stderr.filter_libjpeg()
    if mode.benchmark_input:
        train.benchmark_input(config)
        return
    result = train.train_and_evaluate(config)
    if not result:  # A worker that is not the chief.
        return
    print(f"\nValidation split {config.validation_split!r}, after the last epoch:")
    print(metrics.table(result))
    print(f"\n{next_steps(config.output)}")


def next_steps(output: str) -> str:
    """Returns lines with the files of a run, and the commands that one needs next.

    Args:
        output: folder of the run.
    """
    run, runs = shlex.quote(output), shlex.quote(os.path.dirname(os.path.normpath(output)) or ".")
    program = "multihot " if usage.program("").startswith("multihot") else "python -m trainer."
    return "\n".join(
        [
            f"Run: {output} (model.keras, evaluation.json, training.png, samples.png)",
            f"To load the model:  {os.path.join(output, 'MODEL_CARD.md')}",
            f"To evaluate it:     {program}evaluate --run={run}",
            f"To predict:         {program}predict --run={run} photo.jpg folder/",
            f"To export it:       {program}export --run={run} --formats=saved_model,onnx,litert,keras",
            f"To compare runs:    {program}runs {runs}",
            f"To see its curves:  tensorboard --logdir={runs}",
        ]
    )


def _parse(argv: list[str]) -> tuple[TrainConfig, _Mode]:
    given = flags.read(_USAGE, argv)
    mode = flags.make(_USAGE, _Mode, given)
    if mode.benchmark_input:  # Nothing is written.
        given["output"] = os.devnull
    return flags.make(_USAGE, TrainConfig, given), mode


def run() -> None:
    """Entry point."""
    command.run(main, parse=_parse)
