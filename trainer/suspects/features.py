"""Computes the features by which suspects are found, of all images of all splits.

A model whose backbone was trained on wrong labels remembers them: its features find fewer (docs/suspects.md has the
measurement). So the features of a run with --weights=imagenet are those of the weights that it started from.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from multihot import machine
from multihot.errors import UserError
from trainer import features
from trainer.features import FeaturedSplit
from trainer.finished_run import FinishedRun
from trainer.input import pipeline
from trainer.models import model
from trainer.sources import Sources
from trainer.suspects import scores
from trainer.suspects.examples import Examples

# A number that few backbones have more features than.
_FEATURES = 4096


def network(run: FinishedRun, data: Sources) -> keras.Model:
    """Returns the model whose features are used: that of the run, with the weights of ImageNet if it started from them.

    Raises:
        UserError: the model, or its weights, cannot be had.
    """
    if run.config.weights != "imagenet":
        return run.load_model()
    return model.build(run.config, data.split(data.each[0].info.splits[0].name).statistics, data.classes)


def compute(
    run: FinishedRun, network: keras.Model, data: Sources, folders: Sequence[str], splits: Sequence[str]
) -> tuple[FeaturedSplit, tuple[int, ...]]:
    """Returns the features of all images, float16: means of those of each image and of its mirror image.

    Args:
        run: whose settings decide how images are read.
        network: the model.
        data: the datasets.
        folders: of the datasets; by default those of the run.
        splits: names of the splits, in the order of the result.

    Returns:
        The features, and the number of features of each layer.
    """
    extractor = features.of_layers(network, run.config.image_size)

    def both(images: tf.Tensor) -> tf.Tensor:
        mean = (extractor.compute(images) + extractor.compute(tf.reverse(images, [2]))) / 2
        return tf.clip_by_value(mean, tf.float16.min, tf.float16.max)

    number = sum(data.split(split).num_examples for split in splits)
    found = features.empty(number, extractor, len(data.classes), np.float16)
    done = 0
    for split in splits:
        print(f"Computing the features of {data.split(split).num_examples} images of {split} ...", flush=True)
        batches = pipeline.evaluation_dataset(run.config_for(split, folders), data, split)
        rest = FeaturedSplit(found.features[done:], found.labels[done:])
        done += features.compute(extractor._replace(compute=both), batches, rest)
    return found, extractor.widths


def check_memory(run: FinishedRun, examples: Examples) -> None:
    """Refuses more images than fit into memory: features, their map, and scores and labels of all classes.

    Raises:
        UserError: there is not enough memory.
    """
    number, classes = len(examples.filenames), len(examples.classes)
    needed = number * (2 * _FEATURES + 4 * scores.LANDMARKS + 24 * classes)
    free = machine.available_memory()
    if needed > free:
        raise UserError(
            f"The memory of this machine is too small: suspects among {number} images of {classes} classes take about "
            f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free. Name a smaller dataset with --data."
        )
