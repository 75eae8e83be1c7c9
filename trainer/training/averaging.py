"""Averages the weights of a model over the steps of a training: the average is evaluated and saved in their place.

Keras's own average (`use_ema`) has the same momentum from the first step on, so that it holds the first weights for as
many steps as a short training has; it moves at every batch, also where several batches make one step; and it leaves out
the statistics of batch normalization, which belong to the weights.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.training import muon

# Names that Keras gives to the variables of batch normalization that no gradient changes.
_STATISTICS = ("moving_mean", "moving_variance")


class _Average:
    """An exponential average of variables.

    Attributes:
        variables: those that are averaged.
        values: their averages.
    """

    def __init__(self, variables: Iterable[keras.Variable], momentum: float) -> None:
        self.variables = list(variables)
        self.values = [
            keras.Variable(variable.numpy(), dtype=variable.dtype, trainable=False, name=f"{variable.name}_average")
            for variable in self.variables
        ]
        self._momentum = momentum

    def update(self, before: tf.Tensor, after: tf.Tensor) -> None:
        """Moves the averages towards the variables, if a step was made.

        Args:
            before: number of steps of the optimizer before a batch.
            after: number of its steps after the batch.
        """
        steps = tf.cast(after, tf.float32)
        # 0 at the first step, then growing: the average is over about the last tenth of the steps, and later, in a long
        # training, over as many as the momentum says.
        momentum = tf.minimum(self._momentum, (steps - 1.0) / (steps + 8.0))
        share = tf.where(after > before, 1.0 - momentum, 0.0)
        for variable, value in zip(self.variables, self.values, strict=True):
            value.assign_add(share * (variable - value))


class _Averaging(keras.optimizers.Optimizer):
    """Adds an average of weights to an optimizer. It is not among its `variables`: `variables` below lists it."""

    def __init__(self, average: Sequence[keras.Variable], momentum: float, **kwargs: Any) -> None:
        """Prepares an optimizer.

        Args:
            average: the variables to average.
            momentum: of the average after many steps, as in 0.99.
            kwargs: arguments of the optimizer without an average.
        """
        super().__init__(**kwargs)
        self.average = _Average(average, momentum)

    def apply(self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Makes a step, or a part of one, and moves the averages."""
        before = tf.convert_to_tensor(self.iterations)
        super().apply(grads, trainable_variables)
        self.average.update(before, tf.convert_to_tensor(self.iterations))


# In files, models name Keras's AdamW, whose configuration and variables are the same (compilation.py).
class AdamW(_Averaging, keras.optimizers.AdamW):
    """Keras's AdamW, which also averages weights."""


class Muon(_Averaging, muon.Muon):
    """Muon, which also averages weights."""


def weights_to_average(network: keras.Model) -> list[keras.Variable]:
    """Returns the weights that a training of a model changes: by gradients, or as statistics of batches."""
    statistics = [variable for variable in network.non_trainable_variables if variable.name in _STATISTICS]
    return [*network.trainable_variables, *statistics]


def variables(network: keras.Model) -> list[keras.Variable]:
    """Returns the averages of a compiled model, which a checkpoint holds beside `optimizer.variables`."""
    optimizer = _optimizer(network)
    return optimizer.average.values if optimizer else []


@contextlib.contextmanager
def averaged(network: keras.Model) -> Iterator[None]:
    """Gives a compiled model its averaged weights, and afterwards those of the last step.

    It does nothing before the first step, and without an average.
    """
    optimizer = _optimizer(network)
    if optimizer is None or not int(optimizer.iterations.numpy()):
        yield
        return
    average = optimizer.average
    live = [variable.numpy() for variable in average.variables]
    try:
        _assign(average.variables, average.values)
        yield
    finally:
        _assign(average.variables, live)


def _optimizer(network: keras.Model) -> _Averaging | None:
    # In float16, Keras puts an optimizer that scales the loss around it.
    optimizer = getattr(network.optimizer, "inner_optimizer", network.optimizer)
    return optimizer if isinstance(optimizer, _Averaging) else None


def _assign(variables: Sequence[keras.Variable], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
