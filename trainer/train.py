"""Runs a training: the order of its steps, from the datasets to the run's folder."""

import contextlib
import dataclasses
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from multihot import command, signals
from trainer import checks, losses, metrics, model_file, phases, run_folder, sources, thresholds
from trainer.config import TrainConfig
from trainer.inference import Predictor
from trainer.input import pipeline, services
from trainer.input.caching import Plan
from trainer.metrics import Predictions
from trainer.model_file import ModelInfo
from trainer.models import model, pretrained
from trainer.phases import Phase
from trainer.report import description, model_card, plots
from trainer.report.tensorboard import TensorBoard
from trainer.run_folder import RunFolder
from trainer.sources import Sources
from trainer.system import devices, memory, numerics, strategies
from trainer.system.strategies import Place
from trainer.training import averaging, callbacks, compilation, leftovers, phase_setup, resuming, throughput, validation
from trainer.training.checkpoints import Checkpoints, Progress
from trainer.training.leftovers import Leftovers
from trainer.training.loop import Loop, Work
from trainer.training.phase_setup import Batches, Setup
from trainer.training.throughput import Throughput
from trainer.training.validation import Validate

_NUM_SAMPLES = 24


def train_and_evaluate(config: TrainConfig) -> dict[str, Any]:
    """Trains a model, evaluates it on the validation split, and writes the run's folder.

    A run that was interrupted goes on from its last checkpoint.

    Returns:
        The contents of evaluation.json; nothing in a worker that is not the chief.

    Raises:
        UserError: the dataset or the configuration are at fault, or the loss is NaN or infinite.
    """
    data = checks.load(config)
    config = phases.with_epochs(config, data.split(config.train_split).num_examples)
    services.check(config.data_service)
    where = strategies.place(config)
    # Claimed before the model is built, which takes seconds.
    with (
        services.explained(config.data_service),
        strategies.restarted_if_a_worker_is_lost(where),
        _folder(config, where) as folder,
    ):
        # A process that waits for other workers is ended by a signal at once.
        strategy = strategies.make(config)
        left = Leftovers(config, folder)
        with command.leaves(left.describe), signals.deferred(), memory.watched(config):
            print(devices.describe(devices.precision_of(config), uses_all=config.strategy != "none"))
            if replicas := strategies.describe(strategy, where):
                print(replicas)
            # From here the training batches take the number of their epoch: a pipeline is on one device.
            epoch = phase_setup.epoch_variable()
            with sources.damaged_shards_named(data, config.splits):
                with services.watched(config.data_service), strategies.scope(strategy):
                    if strategies.from_chief(bool(folder.unfinished), where) and not where.is_chief:
                        folder.unfinished = run_folder.unfinished(Path(config.output))
                    run = _Run(config, data, folder, left, epoch, where)
                    run.train()
                # The other workers have ended.
                return run.evaluate() if where.is_chief else {}


@contextlib.contextmanager
def _folder(config: TrainConfig, where: Place) -> Iterator[RunFolder]:
    """Claims the folder of a run. A worker that is not the chief gets another one, and prints nothing."""
    if where.is_chief:
        with run_folder.claimed(config.output, overwrite=config.overwrite) as folder:
            yield folder
        return
    print(
        f"Worker {where.number} of {where.num_workers}: the chief, worker 0, prints the progress, and writes the run."
    )
    with (
        tempfile.TemporaryDirectory() as temporary,
        open(os.devnull, "w", encoding="utf-8") as nothing,
        contextlib.redirect_stdout(nothing),
    ):
        yield RunFolder(Path(temporary))


def benchmark_input(config: TrainConfig) -> Throughput:
    """Measures how fast the input of a run is, and its model, without training it.

    Raises:
        UserError: the dataset or the configuration are at fault.
    """
    data = checks.load(config)
    config = phases.with_epochs(config, data.split(config.train_split).num_examples)
    services.check(config.data_service)
    with (
        signals.deferred(),
        memory.watched(config),
        services.explained(config.data_service),
        sources.damaged_shards_named(data, config.splits),
    ):
        network = _build(config, data)
        # The last phase takes nearly all of the time.
        phase = phases.of_run(config)[-1]
        setup = phase_setup.set_up(phase.config, phase.part, network, data)
        print(setup.plan.reason)
        splits = phase_setup.fill(setup, data)
        epoch = phase_setup.epoch_variable()
        batches = phase_setup.batches(
            setup, splits, data, epoch, size=config.image_size, mixup=phase.mixup(phase.first_epoch)
        )
        with memory.explained(config, "training", _flags(setup.plan)):
            result = throughput.measure(setup.trained, batches.train(0))
    print(result.message(phase.config, setup.plan.content))
    return result


def _build(config: TrainConfig, data: Sources) -> keras.Model:
    numerics.fix(devices.precision_of(config))
    if config.deterministic:
        numerics.make_deterministic(config.seed)
    keras.utils.set_random_seed(config.seed)
    memory.check_batch(config, data.split(config.train_split).num_examples)
    with memory.explained(config, "the model", ("model", "image_size")):
        network = model.build(config, data.split(config.train_split).statistics, data.classes)
    for line in checks.warnings(config, data):
        print(line)
    if hint := pretrained.hint(config, data):
        print(hint)
    if config.freeze_backbone and config.weights == "none":
        print("The backbone is frozen with random weights, so that only the head learns. --weights loads trained ones.")
    return network


def _flags(plan: Plan) -> tuple[str, ...]:
    """Returns the names of the flags that decide how much memory training takes."""
    in_memory = plan.content != "none" and not plan.on_disk
    return ("batch_size", "image_size", "model", *(("cache",) if in_memory else ()))


class _Run:
    """A run that trains and evaluates."""

    def __init__(
        self,
        config: TrainConfig,
        data: Sources,
        folder: RunFolder,
        left: Leftovers,
        epoch: tf.Variable,
        where: Place,
    ) -> None:
        self._config, self._data, self._folder, self._leftovers = config, data, folder, left
        self._epoch = epoch
        self._num_epochs = phases.of_run(config)[-1].end
        self._progress = Progress()
        if folder.unfinished:
            resuming.check(folder.unfinished, config, data)
        self._network = _build(config, data)
        self._checkpoints = left.checkpoints = Checkpoints(
            Path(config.output) / run_folder.CHECKPOINTS, config.checkpoint_seconds, writes=where.is_chief
        )
        if folder.unfinished:
            self._progress = self._checkpoints.load(self._network) or self._progress
        self._loop = Loop(self._network, folder.path, self._checkpoints, self._progress)
        self._tensorboard = TensorBoard(
            folder.path / "tensorboard",
            config,
            data.classes,
            lambda: self._validate.predictions(),
            dataset=", ".join(source.info.name for source in data.each),
        )

    def train(self) -> None:
        """Trains the phases that are left."""
        all_phases = phases.of_run(self._config)
        # A run that was trained to its end is evaluated as its last phase leaves it.
        for phase in [phase for phase in all_phases if phase.end > self._progress.epoch] or all_phases[-1:]:
            self._setup = self._set_up(phase)
            self._predictions = self._train(phase, self._setup)
            if self._stops():
                break

    def evaluate(self) -> dict[str, Any]:
        """Evaluates the trained model, and finishes the folder of the run. Returns the contents of evaluation.json."""
        with averaging.averaged(self._setup.trained):
            return self._finish(self._setup, self._predictions)

    def _set_up(self, phase: Phase) -> Setup:
        """Prepares a phase; one that has begun goes on where it was, with the same content in its cache."""
        progress = self._progress
        config = phase.config
        if phase.part in progress.caches:
            config = dataclasses.replace(config, cache=progress.caches[phase.part])
        setup = phase_setup.set_up(config, phase.part, self._network, self._data)
        progress.caches[phase.part] = setup.plan.flag
        self._leftovers.plan = setup.plan
        print(setup.plan.reason)
        if setup.is_served:
            print(f"Training batches: from the data services {', '.join(config.data_service)}.")
        if (progress.epoch, progress.step) > (phase.first_epoch, 0):
            self._checkpoints.load_variables(setup.trained)
        return setup

    def _train(self, phase: Phase, setup: Setup) -> Predictions | None:
        """Trains what is left of a phase. Returns the predictions of its last epoch, if they are those of the run."""
        progress = self._progress
        is_trained = progress.epoch == phase.end or self._stops()
        splits = None if is_trained else phase_setup.fill(setup, self._data)
        self._begin(setup)
        if splits is None:
            return None
        report: keras.callbacks.Callback | None = None
        blended = phase.mixup(phase.first_epoch) > 0
        for (size, mixup), epochs in itertools.groupby(range(progress.epoch, phase.end), key=phase.images):
            batches = phase_setup.batches(setup, splits, self._data, self._epoch, size=size, mixup=mixup)
            if blended and not mixup:
                print("From here on, images are not blended (--mixup_until), so that the training loss falls.")
                blended = False
            # Once in a phase, for its first size, and where the waiting is measured.
            quiet = report or batches.waited is None
            report = keras.callbacks.Callback() if quiet else self._report(phase, setup, batches)
            self._validate = Validate(batches.validation, self._num_validated, flip=self._config.test_time_flip)
            if splits.train and not setup.features:
                images, labels = next(iter(batches.train(0)))
                self._tensorboard.write_examples(images, labels, progress.epoch)
            work = Work(
                trained=setup.trained,
                dataset=lambda skip, train=batches.train: strategies.distribute(train(skip)),  # type: ignore[misc]
                steps=pipeline.steps_per_epoch(setup.config, self._data),
                epoch=self._epoch,
                callbacks=callbacks.in_order(self._validate, self._tensorboard, report),
                patience=self._config.early_stopping,
                # With a strategy, all replicas would have to ask again together.
                is_served=setup.is_served and self._config.strategy == "none",
            )
            with memory.explained(setup.config, "training", _flags(setup.plan)):
                self._loop.train(work, end=max(epochs) + 1, num_epochs=self._num_epochs)
            # Records that these batches keep in memory are given back before the next ones keep theirs.
            del batches, work
            if self._stops():
                break
        # Features have no mirror images, with which a run that goes on after its last epoch is evaluated.
        are_final = size == self._config.image_size and not (setup.features and self._config.test_time_flip)
        return self._validate.predictions() if are_final else None

    def _stops(self) -> bool:
        """Returns whether the run ends early."""
        return validation.should_stop(self._progress.history, self._config.early_stopping)

    def _report(self, phase: Phase, setup: Setup, batches: Batches) -> throughput.ReportThroughput:
        batch_size = pipeline.training_batch_size(setup.config, self._data)
        sizes = [*map(phase.image_size, range(self._progress.epoch, phase.end))]
        return throughput.ReportThroughput(setup.config, setup.plan.content, batch_size, batches.waited, sizes=sizes)

    def _begin(self, setup: Setup) -> None:
        """Begins the run in its folder, or goes on with the one that is there."""
        folder = self._folder
        if folder.begun:
            return
        # Only now: an error in the model, the weights or the caches leaves no folder, and replaces no older run.
        new = description.describe(
            self._config, self._data, setup.plan, network=self._network, earlier=folder.unfinished
        )
        if folder.unfinished and self._checkpoints.saved:
            folder.go_on(new)
            print(f"Going on after {leftovers.place(*self._checkpoints.saved)}.")
        else:
            folder.begin(new)
        steps = pipeline.steps_per_epoch(setup.config, self._data)
        epochs = "1 epoch" if self._num_epochs == 1 else f"{self._num_epochs} epochs"
        print(
            f"Model: {self._config.model}, {self._network.count_params():,} weights; loss {self._config.loss}; "
            f"{epochs} of {steps} steps."
        )

    def _sized(self) -> keras.Model:
        """Returns the compiled model, for images of the size of the run alone."""
        config, network = self._config, self._network
        if network.input_shape[1] is None:
            network = model.of_size(network, config.image_size)
        network = model.in_float32(network, always=config.strategy != "none")
        compilation.compile_network(network, config, self._data)
        return network

    def _info(self, limits: tuple[float, ...]) -> ModelInfo:
        """Returns what the model takes, and what its outputs mean, with the thresholds of the classes."""
        config, data = self._config, self._data
        return ModelInfo(
            classes=data.classes,
            image_size=config.image_size,
            resize=config.resize,
            decode=config.decode,
            softmax=config.loss == losses.SOFTMAX,
            flip=config.test_time_flip,
            thresholds=limits,
            fingerprints=tuple(source.info.fingerprint for source in data.each),
            # Of several datasets that were prepared in several ways, the first one counts.
            background=next((source.info.background for source in data.each if source.info.background), "white"),
            rescale_16bit=any(split.statistics.rescaled for source in data.each for split in source.info.splits),
            resize_shorter=data.each[0].info.resize_shorter,
        )

    @property
    def _num_validated(self) -> int:
        return self._data.split(self._config.validation_split).num_examples

    def _finish(self, setup: Setup, predictions: Predictions | None) -> dict[str, Any]:
        """Writes the model, the pictures and, last of all, the evaluation."""
        config, data, output = self._config, self._data, self._folder.path
        network = self._sized()
        # Rounded to bfloat16, a score may be another one by 0.1: metrics are those of the model that is saved.
        if predictions is None or network.dtype_policy.name != self._network.dtype_policy.name:
            validation = pipeline.evaluation_dataset(config, data, config.validation_split)
            predict = Predictor(network, validation, self._num_validated, flip=config.test_time_flip)
            with memory.explained(config, "the evaluation", _flags(setup.plan)):
                predictions = predict()
        with memory.explained(config, "the thresholds", ("batch_size", "image_size", "model")):
            limits = thresholds.of_run(network, config, data)
        with run_folder.atomic_file(output / run_folder.MODEL) as path:
            network.save(path)
            model_file.add(path, self._info(limits))
        with run_folder.atomic_file(output / "training.png") as path:
            plots.training(self._progress.history, str(path), plots.beginnings(config))
        pictures = pipeline.decoded_chunks(config, data, config.validation_split, config.image_size)
        images = next(pictures.unbatch().batch(_NUM_SAMPLES).as_numpy_iterator())[0]
        with run_folder.atomic_file(output / "samples.png") as path:
            plots.samples(images, predictions[: len(images)], data.classes, limits, str(path))
        result = metrics.evaluate(predictions, data.classes, limits)
        model_card.write(output, result, data)
        self._tensorboard.write_results(result, output / "samples.png", self._progress.epoch)
        run_folder.write_text(output / run_folder.EVALUATION, json.dumps(result, indent=1) + "\n")
        return result
