"""Trains a model for the epochs of a phase: steps, validation, checkpoints, in an order that can be gone on with.

    for each epoch: for each step: train -> count it -> save, if it is time
                    validate -> history -> save, if it is time
    on a signal: save

The loop is our own, and not `fit` of Keras, since a training goes on within an epoch, averages of weights are validated
in place of the weights, and images grow. A step and its callbacks are those of Keras.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from multihot import signals
from trainer.input import services
from trainer.system import strategies
from trainer.training import averaging, history, validation
from trainer.training.checkpoints import Checkpoints, Progress

# How often a batch of data services is asked for, and the pause before it is asked for again.
_ATTEMPTS, _PAUSE_SECONDS = 5, 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """All that an epoch needs.

    Attributes:
        trained: the compiled model.
        dataset: the batches of an epoch, without the first ones: the argument is their number.
        steps: of a whole epoch.
        epoch: variable from which the dataset takes the number of its epoch.
        callbacks: called after each step and epoch, in this order; the first ones add to the logs of an epoch.
        patience: epochs without a lower validation loss after which the training ends early; 0: it does not.
        is_served: whether data services prepare the dataset, so that it may be lost within an epoch.
    """

    trained: keras.Model
    dataset: Callable[[int], tf.data.Dataset]
    steps: int
    epoch: tf.Variable
    callbacks: Sequence[keras.callbacks.Callback]
    patience: int
    is_served: bool = False


class Loop:
    """Trains the epochs of a run, and saves its progress."""

    def __init__(self, network: keras.Model, folder: Path, checkpoints: Checkpoints, progress: Progress) -> None:
        """Prepares a training.

        Args:
            network: the whole model.
            folder: of the run.
            checkpoints: of the run.
            progress: the place from which to train; it is changed.
        """
        self._network, self._folder = network, folder
        self._checkpoints, self._progress = checkpoints, progress

    def train(self, work: Work, *, end: int, num_epochs: int) -> None:
        """Trains until an epoch, or until early stopping.

        Args:
            work: the model, its data and its callbacks.
            end: the first epoch that is not trained.
            num_epochs: of the run, to show.
        """
        progress = self._progress
        for callback in work.callbacks:
            callback.set_model(work.trained)
            callback.on_train_begin()
        self._step = strategies.step_of(work.trained)
        try:
            while progress.epoch < end and not validation.should_stop(progress.history, work.patience):
                self._run_epoch(work, num_epochs)
        except KeyboardInterrupt:
            # Wherever it was raised, in a validation too, the progress is that of the weights.
            self.save(work.trained)
            raise
        for callback in work.callbacks:
            callback.on_train_end()

    def _run_epoch(self, work: Work, num_epochs: int) -> None:
        """Trains the rest of an epoch, validates, and saves if it is time."""
        progress, start = self._progress, time.monotonic()
        logs = self._train_epoch(work, num_epochs)
        with averaging.averaged(work.trained):
            for callback in work.callbacks:
                callback.on_epoch_end(progress.epoch, logs)
            self._end_epoch(logs)
        print(_line(progress.epoch, num_epochs, logs, time.monotonic() - start), flush=True)
        is_last = progress.epoch == num_epochs or validation.should_stop(progress.history, work.patience)
        if is_last or self._checkpoints.is_due():
            self.save(work.trained)
        signals.check()

    def save(self, trained: keras.Model) -> None:
        """Saves a checkpoint."""
        self._checkpoints.save(self._network, trained, self._progress)

    def _train_epoch(self, work: Work, num_epochs: int) -> dict[str, float]:
        """Trains the rest of an epoch. Returns the means over all of it."""
        progress, trained = self._progress, work.trained
        work.epoch.assign(progress.epoch)
        if not progress.step:
            trained.reset_metrics()
        for callback in work.callbacks:
            callback.on_epoch_begin(progress.epoch)
        steps = Steps(work, self._step, progress.step)
        title = f"Epoch {progress.epoch + 1}/{num_epochs}"
        with tqdm(desc=title, total=work.steps, initial=progress.step, unit=" steps", disable=None, leave=False) as bar:
            while progress.step < work.steps:
                logs = steps.make(progress.step)
                done = min(progress.step + trained.steps_per_execution, work.steps)
                bar.update(done - progress.step)
                progress.step = done
                numbers = _numbers(logs)
                for callback in work.callbacks:
                    callback.on_train_batch_end(done - 1, numbers)
                signals.check()
                if self._checkpoints.is_due():
                    self.save(trained)
        return _numbers(trained.get_metrics_result())

    def _end_epoch(self, logs: dict[str, float]) -> None:
        """Adds an epoch to the history, and moves on to the next one."""
        progress = self._progress
        history.append(progress.history, progress.epoch, logs)
        history.write(self._folder, progress.history)
        if validation.is_best(progress.history):
            self._checkpoints.remember_best(self._network)
        progress.epoch, progress.step = progress.epoch + 1, 0


class Steps:
    """Makes the steps of an epoch. Where data services have lost its batches, it asks for the rest of them again."""

    def __init__(self, work: Work, step: Callable[[Any], dict[str, Any]], first: int) -> None:
        """Begins to read.

        Args:
            work: whose epoch it is.
            step: trains the next batch of an iterator.
            first: number of the batch that comes first.
        """
        self._work, self._step = work, step
        self._batches: Any = iter(work.dataset(first)) if first < work.steps else None
        self._counters = _counters(work.trained) if work.is_served else []

    def make(self, number: int) -> dict[str, Any]:
        """Trains the batch of a number, the next one. Returns the metrics of the epoch so far."""
        counted = [variable.numpy() for variable in self._counters]
        for attempt in range(_ATTEMPTS):
            try:
                return self._step(self._batches)
            except tf.errors.OpError as error:
                if not self._work.is_served or attempt + 1 == _ATTEMPTS or not services.is_lost(error):
                    raise
                print(
                    f"\nA data service has lost its place ({services.line(error)}). Asking again for the rest of the "
                    f"epoch, from batch {number + 1} on.",
                    flush=True,
                )
            for variable, value in zip(self._counters, counted, strict=True):
                variable.assign(value)
            # A service that was started again gives the same numbers to its clients as before. The old iterator has to
            # be gone before the new one is made: it would close that.
            self._batches = None
            time.sleep(_PAUSE_SECONDS)
            self._batches = iter(self._work.dataset(number))
        raise AssertionError("the last attempt returns, or raises")


def _counters(trained: keras.Model) -> list[keras.Variable]:
    """Returns the variables that a step may change although its batch does not come: a graph has no order.

    They count steps, examples, and the numbers that random generators have drawn. Changes of others need a batch.
    """
    variables = [*trained.variables, *trained.optimizer.variables]
    counting = [variable for variable in variables if "int" in keras.backend.standardize_dtype(variable.dtype)]
    return [*counting, *trained.metrics_variables]


def _numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items()}


def _line(epoch: int, num_epochs: int, logs: Mapping[str, float], seconds: float) -> str:
    """Returns a line for the log about an epoch that has ended, counted from 1."""
    figures = [f"{name} {value:.4f}" for name, value in logs.items() if name != "learning_rate"]
    return ", ".join([f"Epoch {epoch}/{num_epochs}: {seconds:.1f} s", *figures])
