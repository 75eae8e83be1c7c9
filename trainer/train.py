"""Runs a training: builds the model and the datasets, fits, evaluates, and writes the results to the run's folder."""

import json
import os
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from multihot import command, signals
from trainer import (
    caching,
    callbacks,
    checkpoints,
    checks,
    compilation,
    description,
    devices,
    features,
    memory,
    metrics,
    model,
    numerics,
    pipeline,
    plots,
    run_folder,
    sources,
    throughput,
)
from trainer.caching import Plan
from trainer.checkpoints import Checkpoints
from trainer.config import TrainConfig
from trainer.features import Features
from trainer.leftovers import Leftovers
from trainer.run_folder import RunFolder
from trainer.sources import Sources
from trainer.throughput import Throughput
from trainer.validation import Validate

_NUM_SAMPLES = 24
# Steps of a head between two looks of Python at them, which take longer than the steps: an epoch of the tutorial's
# recipe takes 0.37 s with 1, 0.12 to 0.14 s with 50, and no less with all in one (scripts/bench_input --only=backbone).
_HEAD_STEPS_PER_EXECUTION = 50


def train_and_evaluate(config: TrainConfig) -> dict[str, Any]:
    """Trains a model, evaluates it on the validation split, and writes the run's folder.

    Returns:
        The contents of evaluation.json.

    Raises:
        UserError: the dataset or the configuration are at fault, or the loss is NaN or infinite.
    """
    data = checks.load(config)
    # Claimed before the model is built, which takes seconds.
    with run_folder.claimed(config.output, overwrite=config.overwrite) as folder:
        leftovers = Leftovers(config, folder)
        with command.leaves(leftovers.describe), signals.deferred(), memory.watched(config):
            print(devices.describe())
            setup = _set_up(config, data)
            leftovers.plan = setup.plan
            with sources.damaged_shards_named(config, data):
                return _fit_and_evaluate(config, data, setup, folder, leftovers)


def benchmark_input(config: TrainConfig) -> Throughput:
    """Measures how fast the input of a run is, and its model, without training it.

    Raises:
        UserError: the dataset or the configuration are at fault.
    """
    data = checks.load(config)
    with signals.deferred(), memory.watched(config), sources.damaged_shards_named(config, data):
        setup = _set_up(config, data)
        datasets = _datasets(config, data, setup)
        with memory.explained(config, "training", _flags(setup.plan)):
            result = throughput.measure(setup.trained, datasets.train)
    print(result.message(config, setup.plan.content))
    return result


class _Setup(NamedTuple):
    """The models of a run, and the plan of its cache.

    Attributes:
        network: the whole model, from images to probabilities.
        trained: the compiled model that is fitted: the network, or its head if features are cached.
        plan: what is cached.
        features: those of the backbone, if they are cached instead of images.
    """

    network: keras.Model
    trained: keras.Model
    plan: Plan
    features: Features | None


def _set_up(config: TrainConfig, data: Sources) -> _Setup:
    """Builds the model, and decides what is cached."""
    numerics.fix()
    keras.utils.set_random_seed(config.seed)
    memory.check_batch(config, data.split(config.train_split).num_examples)
    with memory.explained(config, "the model", ("model", "image_size")):
        network = compilation.compile_model(config, data)
    extractor, head = model.extractor_and_head(network)
    fixed = features.of_backbone(config, network, extractor) if config.features_are_fixed else None
    plan = caching.choose(config, data, fixed)
    for line in (plan.reason, *checks.warnings(config, data)):
        print(line)
    if config.freeze_backbone and config.weights == "none":
        print("The backbone is frozen with random weights, so that only the head learns. --weights loads trained ones.")
    if plan.content != "features":
        return _Setup(network, network, plan, None)
    compilation.compile_network(head, config, data, steps_per_execution=_HEAD_STEPS_PER_EXECUTION)
    return _Setup(network, head, plan, fixed)


class _Datasets(NamedTuple):
    """The datasets of a run.

    Attributes:
        train: batches of the training split.
        train_again: the same with shuffles of its own, so that measuring it changes nothing; shards are read again.
        validation: batches of the validation split.
    """

    train: tf.data.Dataset
    train_again: tf.data.Dataset
    validation: tf.data.Dataset


def _datasets(config: TrainConfig, data: Sources, setup: _Setup) -> _Datasets:
    """Fills the caches, and builds the pipelines."""
    plan = setup.plan
    encoded = plan.content == "encoded"
    with memory.explained(config, "what is cached", ("cache", "image_size")):
        train, validation = (
            caching.fill_or_open(plan, config, data, split, pixels, setup.features)
            for split, pixels in (
                (config.train_split, pipeline.cached_image_size(config)),
                (config.validation_split, config.image_size),
            )
        )
    return _Datasets(
        pipeline.training_dataset(config, data, train, keep_encoded=encoded),
        # Encoded records are not kept a second time: there may be no room for that.
        pipeline.training_dataset(config, data, train),
        pipeline.evaluation_dataset(config, data, config.validation_split, validation, keep_encoded=encoded),
    )


def _flags(plan: Plan) -> tuple[str, ...]:
    """Returns the names of the flags that decide how much memory training takes."""
    in_memory = plan.content != "none" and not plan.on_disk
    return ("batch_size", "image_size", "model", *(("cache",) if in_memory else ()))


def _fit_and_evaluate(
    config: TrainConfig, data: Sources, setup: _Setup, folder: RunFolder, leftovers: Leftovers
) -> dict[str, Any]:
    train, train_again, validation = _datasets(config, data, setup)
    # Only now: an error in the model, the weights or the caches leaves no folder, and replaces no older run.
    folder.begin(description.describe(config, data, setup.plan))
    output = folder.path
    network, trained = setup.network, setup.trained
    leftovers.checkpoints = Checkpoints(output / run_folder.CHECKPOINTS)
    print(f"Model: {config.model}, {network.count_params():,} weights; {len(train)} steps an epoch.")
    validate = Validate(validation, data.split(config.validation_split).num_examples)
    report = throughput.ReportThroughput(train_again, config, setup.plan.content)
    with memory.explained(config, "training", _flags(setup.plan)):
        history = trained.fit(
            train,
            epochs=config.epochs,
            callbacks=callbacks.in_order(output, validate, leftovers.checkpoints, report),
            shuffle=False,  # The dataset does that.
            # A bar on a terminal; in a log, where it would be written again at every step, a line for each epoch.
            verbose="auto" if os.isatty(1) else 2,
        ).history
    with run_folder.atomic_file(output / run_folder.MODEL) as path:
        network.save(path)
    if trained is not network:
        checkpoints.complete(output / run_folder.CHECKPOINTS, network, trained)
    run_folder.write_text(output / "history.json", json.dumps(history, indent=1) + "\n")
    with run_folder.atomic_file(output / "training.png") as path:
        plots.training(history, str(path))
    with memory.explained(config, "the evaluation", _flags(setup.plan)):
        predictions = validate.predictions()
    result = metrics.evaluate(predictions, data.classes)
    run_folder.write_text(output / run_folder.EVALUATION, json.dumps(result, indent=1) + "\n")
    pictures = pipeline.decoded_chunks(config, data, config.validation_split, config.image_size)
    images = next(pictures.unbatch().batch(_NUM_SAMPLES).as_numpy_iterator())[0]
    with run_folder.atomic_file(output / "samples.png") as path:
        plots.samples(images, predictions[: len(images)], data.classes, str(path))
    return result
