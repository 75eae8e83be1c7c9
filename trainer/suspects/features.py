"""Computes the features by which suspects are found, of all images of all splits, by the model of a run.

The model has been trained on labels that may be wrong. Its features still find more of them than those of a model that
has not: docs/suspects.md has the measurement.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from multihot import machine
from multihot.errors import UserError
from trainer import out_of_fold
from trainer.finished_run import FinishedRun
from trainer.input import pipeline
from trainer.out_of_fold import FeaturedSplit
from trainer.sources import Sources
from trainer.suspects import scores
from trainer.suspects.examples import Examples

# A number that few backbones have more features than.
_FEATURES = 2048


def compute(
    run: FinishedRun, network: keras.Model, data: Sources, folders: Sequence[str], splits: Sequence[str]
) -> FeaturedSplit:
    """Returns the features of all images: means of those of each image and of its mirror image.

    Args:
        run: whose settings decide how images are read.
        network: the model.
        data: the datasets.
        folders: of the datasets; by default those of the run.
        splits: names of the splits, in the order of the result.
    """
    parts, labels = [], []
    for split in splits:
        print(f"Computing the features of {data.split(split).num_examples} images of {split} ...", flush=True)
        batches = pipeline.evaluation_dataset(run.config_for(split, folders), data, split)
        found = out_of_fold.features(network, batches)
        mirrored = out_of_fold.features(network, batches.map(_mirrored))
        parts.append((found.features + mirrored.features) / 2)
        labels.append(found.labels)
    return FeaturedSplit(np.concatenate(parts), np.concatenate(labels))


def _mirrored(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.reverse(images, [2]), labels


def check_memory(run: FinishedRun, examples: Examples) -> None:
    """Refuses more images than fit into memory: features three times, their map, and scores and labels of all classes.

    Raises:
        UserError: there is not enough memory.
    """
    number, classes = len(examples.filenames), len(examples.classes)
    needed = number * (3 * 4 * _FEATURES + 4 * scores.LANDMARKS + 24 * classes)
    free = machine.available_memory()
    if needed > free:
        raise UserError(
            f"The memory of this machine is too small: suspects among {number} images of {classes} classes take about "
            f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free. Name a smaller dataset with --data."
        )
