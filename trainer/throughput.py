"""Measures the speed of the input and of the model, and says which of them is slower and what to change."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer import averaging
from trainer.config import TrainConfig

_SECONDS = 2.0
# Turns in which the model alone, and both together, are measured. In turns, reading the input took 0 to 5 % of a step
# of the default training, in the median 3 % (MIML, --benchmark_input, fourteen times); without turns, 0 to 7 %.
_TURNS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput:
    """Images per second.

    Attributes:
        input: of the input pipeline, when nothing else runs.
        model: of training steps on a batch that is in memory.
        together: of training as it is.
    """

    input: float
    model: float
    together: float

    @property
    def input_share(self) -> float:
        """Share of the time of a training step that reading the input takes: 0 to 1."""
        return max(0.0, 1.0 - self.together / self.model)

    def message(self, config: TrainConfig, content: str) -> str:
        """Returns the message for the user.

        Args:
            config: of the run.
            content: what is cached, see `caching.Plan`.
        """
        if self.input < self.model:
            slower, advice = "The input is slower than the model", _input_advice(config, content)
        else:
            slower, advice = "The model is slower than the input", _MODEL_ADVICE
        return (
            f"Throughput: input {self.input:,.0f}, model {self.model:,.0f}, together {self.together:,.0f} images/s. "
            f"Reading the input takes {self.input_share:.1%} of the time of a step. {slower}. "
            f"To train faster, choose {advice}."
        )


_MODEL_ADVICE = "a smaller --model or --image_size, or a larger --batch_size if cores are idle"


def _input_advice(config: TrainConfig, content: str) -> str:
    """Returns the flag that makes the input faster, the one with the most to gain first."""
    if content in ("none", "encoded"):
        less = ", or --decode=scaled, which decodes fewer pixels" if config.decode == "exact" else ""
        if config.crops_originals:
            return f"--crop_from=resized with --cache=decoded or --cache=disk, which keep decoded images{less}"
        if config.crops:
            less += ", or --crop_from=original, which decodes only the crops"
        return f"--cache=decoded or --cache=disk, which keep decoded images{less}"
    if config.augment == "full":
        return "--augment=crop, which does not change colours"
    return "a larger --batch_size, which needs fewer steps"


def measure(network: keras.Model, dataset: tf.data.Dataset, seconds: float = _SECONDS) -> Throughput:
    """Measures a compiled model and its training data, and leaves the model as it was.

    Args:
        network: compiled.
        dataset: the batches of an epoch, which are read once, and again only where the time is longer than an epoch.
        seconds: approximate time of each of the three measurements.

    Returns:
        Rates without the first batches, in which functions are traced and buffers filled.
    """
    state = [variable.numpy() for variable in _variables(network)]
    batches = iter(dataset.repeat())

    def read() -> int:
        return _size(next(batches))

    try:
        batch = next(batches)
        alone, both = (_steps(network, some) for some in (iter(tf.data.Dataset.from_tensors(batch).repeat()), batches))
        model_rate = _rate(alone, seconds / _TURNS) * _size(batch)
        # The first reading is not counted: batches that were prefetched during other measurements take no time.
        _rate(read, seconds / _TURNS)
        input_rate = _rate(read, seconds)
        together, model = _in_turns([both, alone], _TURNS if input_rate > model_rate else 1, seconds)
    finally:
        for variable, value in zip(_variables(network), state, strict=True):
            variable.assign(value)
    return Throughput(input=input_rate, model=model * _size(batch), together=together * _size(batch))


def _variables(network: keras.Model) -> list[Any]:
    """Returns the variables that a training step changes and a later step reads: of weights, optimizer and seeds."""
    if not network.optimizer.built:
        network.optimizer.build(network.trainable_variables)
    metrics = {id(variable) for variable in network.metrics_variables}  # Reset at the start of each epoch.
    kept = (one for one in network.variables if id(one) not in metrics)
    return [*kept, *network.optimizer.variables, *averaging.variables(network)]


def _steps(network: keras.Model, batches: Iterator[Any]) -> Callable[[], int]:
    """Returns a function that trains, and returns the number of its steps. It was called once, and so is traced."""
    network.make_train_function()

    def step() -> int:
        network.train_function(batches)
        return int(network.steps_per_execution)

    step()
    return step


def _in_turns(functions: Sequence[Callable[[], int]], num_turns: int, seconds: float) -> list[float]:
    """Returns the rate of each function, the median of its turns, since the speed of a machine varies."""
    turns = [[_rate(function, seconds / num_turns) for function in functions] for _ in range(num_turns)]
    return [statistics.median(rates) for rates in zip(*turns, strict=True)]


def _rate(function: Callable[[], int], seconds: float) -> float:
    """Calls a function repeatedly, and returns the sum of its results per second."""
    done, start = 0, time.perf_counter()
    while True:
        done += function()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return done / elapsed


def _size(batch: tuple[tf.Tensor, tf.Tensor]) -> int:
    return int(batch[0].shape[0])


class ReportThroughput(keras.callbacks.Callback):
    """Prints the throughput once, after the second epoch, the first that reads what is cached."""

    def __init__(self, dataset: tf.data.Dataset, config: TrainConfig, content: str) -> None:
        super().__init__()
        self._dataset, self._config, self._content = dataset, config, content
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measures for no longer than an epoch takes."""
        if epoch == 1:
            seconds = min(_SECONDS, (time.perf_counter() - self._start) / 3)
            print(f"\n{measure(self.model, self._dataset, seconds).message(self._config, self._content)}")
