"""Saves a training in one file, from which the same command goes on, and beside it the best model so far.

    last.keras      the whole model, as Keras saves it; its zip file has two more members:
        training/progress.json    the next batch, and the history of the epochs before it
        training/variables.npz    variables of the optimizer, of the loss of this epoch, of random generators
    best.keras      the whole model after the epoch with the lowest validation loss

A file is written beside the old one and renamed, so that each is whole at any moment.
"""

import contextlib
import dataclasses
import io
import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from multihot.errors import UserError
from multihot.printable import one_line
from trainer import run_folder
from trainer.system import strategies
from trainer.training import averaging
from trainer.training.history import History

LAST, BEST = "last.keras", "best.keras"
_PROGRESS, _VARIABLES = "training/progress.json", "training/variables.npz"


@dataclasses.dataclass(kw_only=True)
class Progress:
    """The place of a training.

    Attributes:
        epoch: of the next batch, counted from 0.
        step: number of the next batch in this epoch; the number of its batches if only its validation is missing.
        history: the values of each figure after each epoch.
        caches: what is cached in each phase that has begun, as --cache names it: it decides the order of examples.
    """

    epoch: int = 0
    step: int = 0
    history: History = dataclasses.field(default_factory=dict)
    caches: dict[str, str] = dataclasses.field(default_factory=dict)


class Checkpoints:
    """The checkpoints of a run.

    Attributes:
        saved: the epoch and the step of the last checkpoint, as in Progress; None before the first.
    """

    def __init__(self, folder: Path, seconds: float, *, writes: bool = True) -> None:
        """Prepares to save.

        Args:
            folder: of the checkpoints.
            seconds: least time between two of them, but where a checkpoint is forced.
            writes: whether this process saves: of several workers, one does.
        """
        self.saved: tuple[int, int] | None = None
        self._folder, self._seconds, self._writes = folder, seconds, writes
        self._time = time.monotonic()
        self._best: list[np.ndarray] | None = None

    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough for another one."""
        return self._writes and time.monotonic() - self._time >= self._seconds

    def remember_best(self, network: keras.Model) -> None:
        """Keeps the weights of a model in memory, for the next checkpoint: saving each better model takes too long."""
        if self._writes:
            self._best = network.get_weights()

    def save(self, network: keras.Model, trained: keras.Model, progress: Progress) -> None:
        """Saves a training.

        Args:
            network: the whole model.
            trained: the compiled model that is trained, which shares its weights.
            progress: the place of the training.
        """
        if not self._writes:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._best is not None:
            with run_folder.atomic_file(self._folder / BEST) as path, _weights(network, self._best):
                network.save(path)
            self._best = None
        with run_folder.atomic_file(self._folder / LAST) as path:
            network.save(path)
            with zipfile.ZipFile(path, "a") as file:
                file.writestr(_PROGRESS, json.dumps(dataclasses.asdict(progress)))
                variables = {**_of_training(trained), **_of_network(network)}
                file.writestr(_VARIABLES, _pack(variables))
        self.saved, self._time = (progress.epoch, progress.step), time.monotonic()

    def load(self, network: keras.Model) -> Progress | None:
        """Gives a model what the last checkpoint has of it: weights, and states of random generators.

        Returns:
            The place of the training; None if there is no checkpoint.

        Raises:
            UserError: the file is damaged.
        """
        path = self._folder / LAST
        if not path.exists():
            return None
        try:
            network.load_weights(path)
            with zipfile.ZipFile(path) as file:
                progress = Progress(**json.loads(file.read(_PROGRESS)))
                with np.load(io.BytesIO(file.read(_VARIABLES)), allow_pickle=False) as saved:
                    _assign(_of_network(network), saved)
        except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
            raise _damaged(path, error) from error
        self.saved = (progress.epoch, progress.step)
        return progress

    def load_variables(self, trained: keras.Model) -> None:
        """Gives a compiled model the state of its training in the last checkpoint, beside what `load` gives it.

        Raises:
            UserError: the file is damaged.
        """
        path = self._folder / LAST
        try:
            with zipfile.ZipFile(path) as file, np.load(io.BytesIO(file.read(_VARIABLES)), allow_pickle=False) as saved:
                _assign(_of_training(trained), saved)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise _damaged(path, error) from error


def _of_training(trained: keras.Model) -> dict[str, Sequence[Any]]:
    """Returns the variables that a phase adds to its model."""
    return {
        "optimizer": trained.optimizer.variables,
        "averages": averaging.variables(trained),
        "metrics": trained.metrics_variables,
    }


def _of_network(network: keras.Model) -> dict[str, Sequence[Any]]:
    """Returns the variables of a model beside its weights: the states of random generators."""
    weights = {id(variable) for variable in network.weights}
    return {"others": [variable for variable in network.variables if id(variable) not in weights]}


def _assign(variables: Mapping[str, Sequence[Any]], saved: Mapping[str, np.ndarray]) -> None:
    for name, each in variables.items():
        for i, variable in enumerate(each):
            variable.assign(saved[f"{name}_{i}"])


def _pack(arrays: dict[str, Sequence[Any]]) -> bytes:
    buffer = io.BytesIO()
    named: dict[str, Any] = {
        f"{name}_{i}": strategies.value_of(one) for name, each in arrays.items() for i, one in enumerate(each)
    }
    np.savez(buffer, **named)
    return buffer.getvalue()


@contextlib.contextmanager
def _weights(network: keras.Model, weights: Sequence[np.ndarray]) -> Iterator[None]:
    """Gives a model other weights in a context."""
    old = network.get_weights()
    network.set_weights(weights)
    try:
        yield
    finally:
        network.set_weights(old)


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"The checkpoint {path} cannot be used: {one_line(error, 200)}. Start again: --overwrite")
