"""Prepares a phase of a run: the model that is trained, the cache, and the batches."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from trainer.config import CHOICES, TrainConfig
from trainer.input import caching, features, pipeline
from trainer.input.caching import Plan
from trainer.input.features import Features
from trainer.input.pipeline import CachedSplit
from trainer.models import model, unfreezing
from trainer.sources import Sources
from trainer.system import memory, strategies
from trainer.training import compilation, sharpness, throughput

# Steps of a head between two looks of Python at them, which take longer than the steps: an epoch of the tutorial's
# recipe takes 0.37 s with 1, 0.12 to 0.14 s with 50, and no less with all in one (scripts/bench_input --only=backbone).
_HEAD_STEPS_PER_EXECUTION = 50


class Setup(NamedTuple):
    """The model of a phase, and the plan of its cache.

    Attributes:
        config: of the phase.
        trained: the compiled model that is trained: all of the network, or its head if features are cached.
        plan: what is cached.
        features: those of the backbone, if they are cached instead of images.
    """

    config: TrainConfig
    trained: keras.Model
    plan: Plan
    features: Features | None

    @property
    def is_served(self) -> bool:
        """Whether data services prepare the training batches. Features are cached here."""
        return bool(self.config.data_service) and self.features is None


def set_up(config: TrainConfig, part: str, network: keras.Model, data: Sources) -> Setup:
    """Decides what a phase caches, and compiles its model.

    Args:
        config: of the phase.
        part: of the network that is trained, see phases.Phase.
        network: the model of the run; which of its layers are trained is changed.
        data: datasets of the run.
    """
    _choose_weights(network, config, part)
    fixed = None
    if config.features_are_fixed:
        extractor, head = model.extractor_and_head(network)
        fixed = features.of_backbone(config, network, extractor)
    plan = caching.choose(config, data, fixed)
    # The order of examples depends on it, and another worker may have less memory.
    flags = CHOICES["cache"]
    agreed = flags[strategies.from_chief(flags.index(plan.flag), strategies.place(config))]
    if agreed != plan.flag:
        plan = caching.choose(dataclasses.replace(config, cache=agreed), data, fixed)
    is_head = plan.content == "features"
    # With a strategy, a step is a call.
    steps = _HEAD_STEPS_PER_EXECUTION if is_head and config.strategy == "none" else 1
    # A model of its own, of the same layers: each phase has another optimizer, and the whole model has none.
    trained = sharpness.model_of(head if is_head else network, config.sam_rho)
    compilation.compile_network(trained, config, data, steps_per_execution=steps)
    return Setup(config, trained, plan, fixed if is_head else None)


def _choose_weights(network: keras.Model, config: TrainConfig, part: str) -> None:
    """Makes a part of a network trainable, and no other."""
    backbone = model.backbone_of(network)
    if part == "all" or backbone is None:
        return
    backbone.trainable = part == "upper"
    if part == "upper":
        unfreezing.unfreeze(backbone, config.unfreeze_from)


class Splits(NamedTuple):
    """The caches of both splits; None where shards are read in each epoch."""

    train: CachedSplit | None
    validation: CachedSplit | None


def fill(setup: Setup, data: Sources) -> Splits:
    """Fills the caches of a phase, or opens those that are on disk.

    Raises:
        UserError: there is no room for them, or one is damaged.
    """
    config = setup.config
    with memory.explained(config, "what is cached", ("cache", "image_size")):
        cached = {
            split: caching.fill_or_open(setup.plan, config, data, split, size, setup.features)
            for split, size in caching.cached_splits(config, setup.plan.content)
        }
    return Splits(cached.get(config.train_split), cached.get(config.validation_split))


class Batches(NamedTuple):
    """The batches of some epochs, whose images have one size, and are blended alike.

    Attributes:
        train: those of an epoch, without the first ones: the argument is their number.
        validation: those of the validation split.
        waited: the seconds for which the training has waited for whole epochs; None where they are not measured.
    """

    train: Callable[[int], tf.data.Dataset]
    validation: tf.data.Dataset
    waited: tf.Variable | None


def epoch_variable() -> tf.Variable:
    """Returns a variable for the number of the epoch, where pipelines can read it: not on a GPU."""
    with tf.device("CPU:0"):
        return tf.Variable(0, dtype=tf.int64, trainable=False)


def batches(setup: Setup, splits: Splits, data: Sources, epoch: tf.Variable, *, size: int, mixup: float) -> Batches:
    """Builds the pipelines of epochs whose training images have one size, and are blended alike.

    Args:
        setup: of the phase.
        splits: its caches.
        data: datasets of the run.
        epoch: variable from which the training batches take the number of their epoch.
        size: of training and validation images, pixels.
        mixup: the largest share of another image in a training image.
    """
    config = dataclasses.replace(setup.config, mixup=mixup)
    encoded, served = setup.plan.content == "encoded", setup.is_served
    # An epoch of a head is so short that the measurement would take a part of it. TensorFlow has no clock where all is
    # deterministic.
    is_timed = setup.features is None and not config.deterministic and config.strategy == "none"
    waited = throughput.waited_variable() if is_timed else None

    def of_epoch(skip: int) -> tf.data.Dataset:
        dataset = pipeline.training_dataset(
            config,
            data,
            splits.train,
            epoch=int(epoch.numpy()) if served else epoch,
            image_size=size,
            skip=skip,
            keep_encoded=encoded and not served,
        )
        dataset = _any_size(dataset, config)
        return dataset if waited is None or skip else throughput.timed(dataset, waited)

    whole = None if served else of_epoch(0)

    def train(skip: int) -> tf.data.Dataset:
        if whole is None or (skip and not encoded):
            return of_epoch(skip)
        # A second pipeline would keep the records a second time.
        return whole.skip(skip) if skip else whole

    validation = pipeline.evaluation_dataset(
        config, data, config.validation_split, splits.validation, image_size=size, keep_encoded=encoded
    )
    return Batches(train, _any_size(validation, config), waited)


def _any_size(dataset: tf.data.Dataset, config: TrainConfig) -> tf.data.Dataset:
    """Returns the same batches with images of unknown height and width, if images grow during a training.

    A step is then traced once, whatever the size, and is the same one when a training is gone on with.
    """
    inputs = dataset.element_spec[0]
    if not config.train_sizes or len(inputs.shape) != 4:
        return dataset
    shape = [inputs.shape[0], None, None, 3]

    def forget(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.compat.v1.placeholder_with_default(images, shape), labels

    cardinality = tf.data.experimental.assert_cardinality(dataset.cardinality())
    return dataset.map(forget).apply(cardinality)
