"""Averages the weights of several trainings that begin with the same weights: a soup of models.

The trainings differ in the order of the examples and in their random changes, since their epochs have other numbers.
Scores of the mean are about as good as the mean of their scores, in the time of one model (Wortsman et al. 2022,
https://arxiv.org/abs/2203.05482).
"""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from trainer.training import averaging


class Soup:
    """The trainings of a run that have ended, of the same part of its network.

    Attributes:
        count: how many trainings have ended.
    """

    def __init__(self) -> None:
        self.count = 0
        self._start: list[np.ndarray] = []
        self._sums: list[np.ndarray] = []

    def begin(self, trained: keras.Model) -> None:
        """Notes the weights with which each training begins, at the start of the first one."""
        if not self._start:
            self._start = _values(trained)
            self._sums = [np.zeros_like(value) for value in self._start]

    def add(self, trained: keras.Model) -> None:
        """Adds a training that has ended, by its averaged weights if it averages them, and goes back to the start."""
        with averaging.averaged(trained):
            self._sums = [total + value for total, value in zip(self._sums, _values(trained), strict=True)]
        self.count += 1
        _assign(trained, self._start)

    @contextlib.contextmanager
    def mixed(self, trained: keras.Model) -> Iterator[None]:
        """Gives a model the mean of its weights and those of earlier trainings; afterwards its own ones.

        Its own weights are their average over steps, if it has one.
        """
        with averaging.averaged(trained):
            if not self.count:
                yield
                return
            own = _values(trained)
            try:
                _assign(trained, [(a + b) / (self.count + 1) for a, b in zip(self._sums, own, strict=True)])
                yield
            finally:
                _assign(trained, own)

    def state(self) -> dict[str, list[np.ndarray]]:
        """Returns the arrays that a checkpoint holds, by name."""
        return {"soup_count": [np.array(self.count)], "soup_start": self._start, "soup_sums": self._sums}

    def restore(self, state: dict[str, list[np.ndarray]]) -> None:
        """Takes over what `state` has returned."""
        self.count = int(state["soup_count"][0])
        self._start, self._sums = state["soup_start"], state["soup_sums"]


def _values(trained: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in averaging.weights_to_average(trained)]


def _assign(trained: keras.Model, values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(averaging.weights_to_average(trained), values, strict=True):
        variable.assign(value)
