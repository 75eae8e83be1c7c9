"""Computes the features by which suspects are found, of all images of all splits.

A model whose backbone was trained on wrong labels remembers them: its features find fewer (docs/suspects.md has the
measurement). So the features of a run with --weights=imagenet are those of the weights that it started from.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from multihot import machine, signals
from multihot.errors import UserError
from trainer.finished_run import FinishedRun
from trainer.input import pipeline
from trainer.models import model
from trainer.out_of_fold import FeaturedSplit
from trainer.sources import Sources
from trainer.suspects import scores
from trainer.suspects.examples import Examples

# A number that few backbones have more features than.
_FEATURES = 2048


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
) -> FeaturedSplit:
    """Returns the features of all images: means of those of each image and of its mirror image.

    Args:
        run: whose settings decide how images are read.
        network: the model.
        data: the datasets.
        folders: of the datasets; by default those of the run.
        splits: names of the splits, in the order of the result.
    """
    extractor, _ = model.extractor_and_head(network)

    def both(images: tf.Tensor) -> tf.Tensor:
        return (extractor(images, training=False) + extractor(tf.reverse(images, [2]), training=False)) / 2

    extract = tf.function(both, reduce_retracing=True)
    number = sum(data.split(split).num_examples for split in splits)
    # Of their full size from the start: parts that are put together take twice the memory.
    features = np.empty((number, extractor.output.shape[1]), np.float32)
    labels = np.empty((number, len(data.classes)), np.uint8)
    done = 0
    for split in splits:
        print(f"Computing the features of {data.split(split).num_examples} images of {split} ...", flush=True)
        for images, of_images in pipeline.evaluation_dataset(run.config_for(split, folders), data, split):
            signals.check()
            part = slice(done, done + len(of_images))
            features[part], labels[part] = extract(images), of_images
            done = part.stop
    return FeaturedSplit(features, labels)


def check_memory(run: FinishedRun, examples: Examples) -> None:
    """Refuses more images than fit into memory: features twice, their map, and scores and labels of all classes.

    Raises:
        UserError: there is not enough memory.
    """
    number, classes = len(examples.filenames), len(examples.classes)
    needed = number * (2 * 4 * _FEATURES + 4 * scores.LANDMARKS + 24 * classes)
    free = machine.available_memory()
    if needed > free:
        raise UserError(
            f"The memory of this machine is too small: suspects among {number} images of {classes} classes take about "
            f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free. Name a smaller dataset with --data."
        )
