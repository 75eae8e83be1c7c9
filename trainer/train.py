"""One run: build the dataset and the model, fit, evaluate, and leave everything in the run's folder."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import schemas
from schemas import command, signals
from schemas.errors import UserError
from trainer import (
    caching,
    checks,
    devices,
    evaluation,
    memory,
    model,
    numerics,
    pipeline,
    plots,
    run_folder,
    sources,
    throughput,
)
from trainer.caching import Features, Plan
from trainer.checkpoints import Checkpoints
from trainer.config import TrainConfig
from trainer.leftovers import Leftovers
from trainer.run_folder import RunFolder
from trainer.sources import Sources
from trainer.throughput import Throughput
from trainer.validation import Validate

_WARMUP_EPOCHS = 3
_NUM_SAMPLES = 24
# Steps of a head between two looks of Python at them, which take longer than the steps: an epoch of the tutorial's
# recipe takes 0.37 s with 1, 0.12 to 0.14 s with 50, and no less with all in one (scripts/bench_input --only=backbone).
_HEAD_STEPS_PER_EXECUTION = 50
_READ_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
)


def train_and_evaluate(config: TrainConfig) -> dict[str, Any]:
    """Trains a model, evaluates it on the validation split, and writes the run's folder.

    Returns:
        The contents of evaluation.json.

    Raises:
        UserError: the dataset or the configuration are at fault, or the loss is NaN or infinite.
    """
    data = sources.load(config)
    # Claimed before the model is built, which takes seconds.
    with run_folder.claimed(config.output, overwrite=config.overwrite) as folder:
        left = Leftovers(config, folder)
        with command.leaves(left.describe), signals.deferred(), memory.watched(config):
            print(devices.line())
            setup = _set_up(config, data)
            left.plan = setup.plan
            with named_shards(config, data):
                return _fit_and_evaluate(config, data, setup, folder, left)


def benchmark_input(config: TrainConfig) -> Throughput:
    """Measures how fast the input of a run is, and its model, without training it.

    Raises:
        UserError: the dataset or the configuration are at fault.
    """
    data = sources.load(config)
    with signals.deferred(), memory.watched(config), named_shards(config, data):
        setup = _set_up(config, data)
        datasets = _datasets(config, data, setup)
        with memory.explained(config, "training", _flags(setup.plan)):
            measured = throughput.measure(setup.trained, datasets.train)
    print(measured.line(config, setup.plan.content))
    return measured


class _Setup(NamedTuple):
    """What a run trains.

    Attributes:
        network: from images to probabilities.
        trained: what is fitted, compiled: the network, or its head if features are cached.
        plan: what is cached.
        features: what is cached instead of images, if that is the plan.
    """

    network: keras.Model
    trained: keras.Model
    plan: Plan
    features: Features | None


def _set_up(config: TrainConfig, data: Sources) -> _Setup:
    """Builds the model, and decides what is cached."""
    for split in (config.train_split, config.validation_split):
        data.split(split)
    checks.check_overlap(config, data)
    numerics.fix()
    keras.utils.set_random_seed(config.seed)
    memory.check_batch(config, data.split(config.train_split).num_examples)
    with memory.explained(config, "the model", ("model", "image_size")):
        network = compile_model(config, data)
    extractor, head = model.split(network)
    features = _features(config, network, extractor) if config.features_are_fixed else None
    plan = caching.choose(config, data, features)
    for line in (plan.reason, *checks.notes(config, data)):
        print(line)
    if config.freeze_backbone and config.weights == "none":
        print("The backbone is frozen with random weights: only the head learns. --weights gives it others.")
    if plan.content != "features":
        return _Setup(network, network, plan, None)
    _compile(head, config, data, steps_per_execution=_HEAD_STEPS_PER_EXECUTION)
    return _Setup(network, head, plan, features)


def _features(config: TrainConfig, network: keras.Model, extractor: keras.Model) -> Features:
    digest = hashlib.sha256(b"".join(np.asarray(variable).tobytes() for variable in extractor.variables))
    key = f"{config.model} {config.preprocessing} {network.dtype_policy.name} {digest.hexdigest()}"
    extract = tf.function(functools.partial(extractor, training=False), reduce_retracing=True)
    return Features(extract, extractor.output.shape[1], key)


class _Datasets(NamedTuple):
    """What a run reads.

    Attributes:
        train: batches of the training split.
        measured: the same with shuffles of its own, so that to look at it changes nothing; shards are read again.
        validation: batches of the validation split.
    """

    train: tf.data.Dataset
    measured: tf.data.Dataset
    validation: tf.data.Dataset


def _datasets(config: TrainConfig, data: Sources, setup: _Setup) -> _Datasets:
    """Fills the caches, and builds the pipelines."""
    plan, features = setup.plan, setup.features
    encoded = plan.content == "encoded"
    with memory.explained(config, "what is cached", ("cache", "image_size")):
        train, validation = (
            caching.load(plan, config, data, split, pixels, features)
            for split, pixels in (
                (config.train_split, pipeline.cached_size(config)),
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
    config: TrainConfig, data: Sources, setup: _Setup, folder: RunFolder, left: Leftovers
) -> dict[str, Any]:
    train, measured, validation = _datasets(config, data, setup)
    # Only now: what is wrong with the model, the weights or the caches leaves no folder, and no run is replaced by it.
    folder.begin(_description(config, data, setup.plan))
    output = folder.path
    network, trained = setup.network, setup.trained
    left.checkpoints = Checkpoints(output / run_folder.CHECKPOINTS)
    print(f"Model: {config.model}, {network.count_params():,} weights; {len(train)} steps an epoch.")
    validate = Validate(validation, data.split(config.validation_split).num_examples)
    with memory.explained(config, "training", _flags(setup.plan)):
        history = trained.fit(
            train,
            epochs=config.epochs,
            callbacks=[
                validate,
                *_callbacks(output, left.checkpoints),
                throughput.ReportThroughput(measured, config, setup.plan.content),
            ],
            shuffle=False,  # The dataset does that.
            # A bar on a terminal; in a log, where it would be written again at every step, a line for each epoch.
            verbose="auto" if os.isatty(1) else 2,
        ).history
    with run_folder.whole(output / run_folder.MODEL) as path:
        network.save(path)
    if trained is not network:
        _complete_checkpoints(output / run_folder.CHECKPOINTS, network, trained)
    run_folder.write(output / "history.json", json.dumps(history, indent=1) + "\n")
    with run_folder.whole(output / "training.png") as path:
        plots.training(history, str(path))
    with memory.explained(config, "the evaluation", _flags(setup.plan)):
        predictions = validate.predictions()
    result = evaluation.evaluate(predictions, data.classes)
    run_folder.write(output / run_folder.EVALUATION, json.dumps(result, indent=1) + "\n")
    pictures = pipeline.decoded(config, data, config.validation_split, config.image_size)
    images = next(pictures.unbatch().batch(_NUM_SAMPLES).as_numpy_iterator())[0]
    first = evaluation.Predictions(labels=predictions.labels[: len(images)], scores=predictions.scores[: len(images)])
    with run_folder.whole(output / "samples.png") as path:
        plots.samples(images, first, data.classes, str(path))
    return result


def _complete_checkpoints(folder: Path, network: keras.Model, head: keras.Model) -> None:
    """Replaces the heads that were saved while they were trained by whole models."""
    weights = head.get_weights()
    for path in sorted(folder.glob("*.keras")):
        head.set_weights(keras.saving.load_model(path, compile=False).get_weights())
        with run_folder.whole(path) as whole:
            network.save(whole)
    head.set_weights(weights)


@contextlib.contextmanager
def named_shards(config: TrainConfig, data: Sources) -> Iterator[None]:
    """Looks for damaged shards when reading has failed: what TensorFlow says then names no file.

    Raises:
        UserError: names the shards that are missing or damaged.
    """
    try:
        yield
    except _READ_ERRORS:
        print("Reading the dataset failed: checking its shards ...")
        for source in data.each:
            sources.check_shards(source.directory, source.info, (config.train_split, config.validation_split))
        raise


def compile_model(config: TrainConfig, data: Sources) -> keras.Model:
    """Builds the model and gives it its loss and optimizer; metrics are computed after an epoch (validation.py)."""
    network = model.build(config, data.split(config.train_split).statistics)
    _compile(network, config, data)
    return network


def _compile(network: keras.Model, config: TrainConfig, data: Sources, steps_per_execution: int = 1) -> None:
    network.compile(
        optimizer=keras.optimizers.AdamW(
            _schedule(config, pipeline.steps_per_epoch(config, data)), weight_decay=config.weight_decay
        ),
        loss=config.loss,
        # XLA made an epoch of the default recipe half as long again on CPU.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
        steps_per_execution=steps_per_execution,
    )


def _schedule(config: TrainConfig, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if config.schedule == "constant":
        return config.learning_rate
    warmup = min(_WARMUP_EPOCHS, config.epochs // 2) * steps
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps - warmup,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends a run whose loss is no number any more: nothing that follows could be used."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the number of the epoch for the message."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the loss.

        Raises:
            UserError: it is infinite or not a number.
        """
        self._check("loss", (logs or {}).get("loss", 0.0), f"step {batch + 1} of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the validation loss: the last step of an epoch may have broken the weights.

        Raises:
            UserError: it is infinite or not a number.
        """
        self._check("validation loss", (logs or {}).get("val_loss", 0.0), f"epoch {epoch + 1}")

    def _check(self, name: str, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            kept = " The epoch before is in checkpoints/last.keras." if self._epoch else ""
            raise UserError(
                f"The {name} is {loss} after {where}: training cannot go on. Try a lower --learning_rate.{kept}"
            )


def _callbacks(output: Path, checkpoints: Checkpoints) -> list[keras.callbacks.Callback]:
    interrupts = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: signals.check())
    return [
        interrupts,
        StopOnNonFiniteLoss(),
        checkpoints,
        keras.callbacks.TensorBoard(output / "tensorboard", write_graph=False),
    ]


def _description(config: TrainConfig, data: Sources, plan: Plan) -> dict[str, Any]:
    return {
        **dataclasses.asdict(config),
        "datasets": [
            {
                "path": source.directory,
                "name": source.info.name,
                "version": source.info.version,
                "fingerprint": source.info.fingerprint,
                "classes": list(source.info.classes),
            }
            for source in data.each
        ],
        "classes_used": list(data.classes),
        "cache_used": {"content": plan.content, "on_disk": plan.on_disk},
        "versions": {
            "multihot": schemas.__version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
