"""The command line of the trainer: flags -> TrainConfig -> train.train_and_evaluate()."""

import os
import sys
from collections.abc import Sequence

from absl import flags

from multihot import command, native_stderr
from multihot.flags import check_required, define, parse, read
from multihot.quiet import quiet
from multihot.usage import Usage
from trainer.config import TrainConfig

with quiet():
    import tensorflow as tf

    tf.config.list_physical_devices()  # Looks for GPUs, and tells when it finds none.
    from trainer import evaluation, train

FLAGS = flags.FLAGS
_USAGE = Usage("trainer", "--data=DATASET --output=FOLDER [flags]", "--data=data/miml/1.0.0 --output=runs/first")

define(TrainConfig)
flags.DEFINE_bool("benchmark_input", False, "Do not train: measure the input, the model, and both together.")


def main(argv: Sequence[str]) -> None:
    """Trains, and prints the metrics and where everything lies."""
    if len(argv) > 1:
        raise _USAGE.error(f"Unexpected argument {argv[1]!r}: every argument is a flag, as in --data=DIR")
    given = read(TrainConfig)
    if FLAGS.benchmark_input:  # Nothing is written.
        given["output"] = os.devnull
    check_required(TrainConfig, given, _USAGE)
    config = TrainConfig(**given)
    if FLAGS.benchmark_input:
        train.benchmark_input(config)
        return
    result = train.train_and_evaluate(config)
    print(f"\nValidation split {config.validation_split!r}, after the last epoch:")
    print(evaluation.table(result))
    print(f"\nRun: {config.output} (model.keras, evaluation.json, training.png, samples.png)")


def run() -> None:
    """Entry point."""
    for flag in FLAGS.get_key_flags_for_module(__name__):
        # --help lists the flags of the main module: the module or script that calls this function.
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    native_stderr.filter_libjpeg()
    command.run(main, parse=lambda argv: parse(argv, _USAGE))
