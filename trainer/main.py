"""The command line of the trainer: flags -> TrainConfig -> train.train_and_evaluate()."""

import dataclasses
import os
import sys
from collections.abc import Sequence

from absl import flags

from schemas import command, native_stderr
from schemas.errors import UserError
from schemas.quiet import quiet
from trainer import config as choices
from trainer.config import TrainConfig

with quiet():
    import tensorflow as tf

    tf.config.list_physical_devices()  # Looks for GPUs, and tells when it finds none.
    from trainer import evaluation, train

FLAGS = flags.FLAGS
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}

flags.DEFINE_multi_string("data", None, "Folder of a dataset: ROOT/NAME/VERSION. Repeat it for several.", required=True)
flags.DEFINE_list("data_weights", [], "How often each --data is seen, as in 3,1. Default: every example once an epoch.")
flags.DEFINE_list("classes", [], "Classes to train on, in this order. Default: all.")
flags.DEFINE_string("output", None, "Folder of the run.")
flags.DEFINE_string("model", _DEFAULTS["model"], "small_resnet, or any of keras.applications: vgg16, resnet50, ...")
flags.DEFINE_string("weights", _DEFAULTS["weights"], "none, imagenet, or a file of weights for the backbone.")
flags.DEFINE_bool("freeze_backbone", _DEFAULTS["freeze_backbone"], "Train the head only.")
flags.DEFINE_integer("image_size", _DEFAULTS["image_size"], "Height and width that images are resized to, pixels.")
flags.DEFINE_enum(
    "preprocessing",
    _DEFAULTS["preprocessing"],
    choices.PREPROCESSINGS,
    "What the backbone gets: auto is what its weights were trained with, unit is pixels from 0 to 1.",
)
flags.DEFINE_integer("batch_size", _DEFAULTS["batch_size"], "Examples in a step.")
flags.DEFINE_integer("epochs", _DEFAULTS["epochs"], "Passes over the training split.")
flags.DEFINE_float("learning_rate", _DEFAULTS["learning_rate"], "The highest learning rate of the schedule.")
flags.DEFINE_enum("schedule", _DEFAULTS["schedule"], choices.SCHEDULES, "cosine warms up and falls to 0.")
flags.DEFINE_float("weight_decay", _DEFAULTS["weight_decay"], "Weight decay of AdamW; 0 makes it Adam.")
flags.DEFINE_enum(
    "augment",
    _DEFAULTS["augment"],
    choices.AUGMENTS,
    "none, flip, crop: random resized crops and flips; or full: colour and mixup as well.",
)
flags.DEFINE_enum(
    "decode",
    _DEFAULTS["decode"],
    choices.DECODES,
    "scaled: JPEGs are decoded at 1/2, 1/4 or 1/8 where that is enough; exact: in full, resized with antialiasing.",
)
flags.DEFINE_enum(
    "crop_from",
    _DEFAULTS["crop_from"],
    choices.CROPS_FROM,
    "resized: crops are cut from images reduced to 9/8 of the size, cached or not; original: from the encoded image.",
)
flags.DEFINE_enum(
    "cache",
    _DEFAULTS["cache"],
    choices.CACHES,
    "What is kept between epochs: features of a frozen backbone, decoded or encoded images in memory; or on disk.",
)
flags.DEFINE_string("cache_dir", _DEFAULTS["cache_dir"], "Folder for caches on disk. Default: ~/.cache/multihot.")
flags.DEFINE_enum("loss", _DEFAULTS["loss"], choices.LOSSES, "The first is on sigmoids, the second on a softmax.")
flags.DEFINE_integer("seed", _DEFAULTS["seed"], "Of initial weights, order and augmentation.")
flags.DEFINE_string("train_split", _DEFAULTS["train_split"], "Split to train on.")
flags.DEFINE_string("validation_split", _DEFAULTS["validation_split"], "Split to evaluate on.")
flags.DEFINE_bool("benchmark_input", False, "Do not train: measure the input, the model, and both together.")
flags.DEFINE_bool("overwrite", _DEFAULTS["overwrite"], "Replace the run that is in --output.")


def main(argv: Sequence[str]) -> None:
    """Trains, and prints the metrics and where everything lies."""
    if len(argv) > 1:
        raise UserError(f"Unexpected argument {argv[1]!r}: every argument is a flag, as in --data=DIR")
    given = {name: FLAGS[name].value for name in _DEFAULTS}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    if FLAGS.benchmark_input:  # Nothing is written.
        given["output"] = os.devnull
    config = TrainConfig(**{**given, "data_weights": choices.parse_weights(given["data_weights"])})
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
        # What --help lists are the flags of the program, which is whatever module or script calls this function.
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    native_stderr.filter_libjpeg()
    command.run(main)
