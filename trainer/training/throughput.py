"""Measures the speed of a training, and says whether its input or its model is slower, and what to change.

A training is only watched: its own time, and the time for which it waits for batches. `--benchmark_input` measures the
input, the model, and both together.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from trainer.config import TrainConfig

_SECONDS = 2.0
# Turns in which the model alone, and both together, are measured. In turns, reading the input took 0 to 5 % of a step
# of the default training, in the median 3 % (MIML, --benchmark_input, fourteen times); without turns, 0 to 7 %.
_TURNS = 5
# The share of the time for which a training waits for its input, above which a faster input is worth a flag.
_LONG_WAIT = 0.1


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
    if config.data_service and content != "features":
        return "more data services, each with its own cores: --data_service"
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
    """Measures a compiled model, which is trained by it, and its training data.

    Args:
        network: compiled.
        dataset: the batches of an epoch, which are read once, and again only where the time is longer than an epoch.
        seconds: approximate time of each of the three measurements.

    Returns:
        Rates without the first batches, in which functions are traced and buffers filled.
    """
    batches = iter(dataset.repeat())

    def read() -> int:
        return _size(next(batches))

    batch = next(batches)
    alone, both = (_steps(network, some) for some in (iter(tf.data.Dataset.from_tensors(batch).repeat()), batches))
    model_rate = _rate(alone, seconds / _TURNS) * _size(batch)
    # The first reading is not counted: batches that were prefetched during other measurements take no time.
    _rate(read, seconds / _TURNS)
    input_rate = _rate(read, seconds)
    together, model = _in_turns([both, alone], _TURNS if input_rate > model_rate else 1, seconds)
    return Throughput(input=input_rate, model=model * _size(batch), together=together * _size(batch))


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


def waited_variable() -> tf.Variable:
    """Returns a variable for seconds of waiting, where pipelines can change it: not on a GPU."""
    with tf.device("CPU:0"):
        return tf.Variable(0.0, dtype=tf.float64, trainable=False)


def timed(batches: tf.data.Dataset, waited: tf.Variable) -> tf.data.Dataset:
    """Returns the same batches, and adds up for how long their reader waits for them.

    An epoch takes about 6 ms more at its start, for the two functions, and 0.15 ms for each batch.

    Args:
        batches: of an epoch.
        waited: the seconds, see `waited_variable`.
    """

    def clock(_: tf.Tensor) -> tf.Tensor:
        return tf.timestamp()

    def stop(start: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        with tf.control_dependencies([waited.assign_add(tf.timestamp() - start)]):
            return tf.nest.map_structure(tf.identity, batch)

    # `zip` asks for its elements one after the other: for the time, and then for the batch. The function that is called
    # with both reads the time again. Neither runs in parallel, or ahead: both have a state.
    starts = tf.data.Dataset.from_tensors(0).repeat().map(clock)
    return tf.data.Dataset.zip(starts, batches).map(stop).with_options(batches.options())


class ReportThroughput(keras.callbacks.Callback):
    """Prints the throughput and the time left once, after the second epoch, the first that reads what is cached.

    It reads no data, and makes no steps: it has the time of the epoch, and of the waiting for its batches.
    """

    def __init__(
        self,
        config: TrainConfig,
        content: str,
        batch_size: int,
        waited: tf.Variable | None = None,
        *,
        sizes: Sequence[int] = (),
    ) -> None:
        """Makes the report.

        Args:
            config: of the run.
            content: what is cached, see `caching.Plan`.
            batch_size: examples of a batch.
            waited: the seconds that `timed` counts; None: they are not known.
            sizes: of the images in each epoch that is to be trained, pixels.
        """
        super().__init__()
        self._config, self._content, self._batch_size, self._waited = config, content, batch_size, waited
        self._sizes = sizes
        self._epochs = self._steps = 0
        self._start = self._end = self._waited_before = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._epochs += 1
        self._steps = 0
        self._waited_before = self._waiting()
        self._start = self._end = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops the clock, until the next step."""
        self._steps = batch + 1
        self._end = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Prints the lines. The rate is without the time of other callbacks after the epoch, such as the validation."""
        if self._epochs == 2 and self._end > self._start:
            share = (self._waiting() - self._waited_before) / (self._end - self._start)
            rate = self._steps * self._batch_size / (self._end - self._start)
            print(f"\n{message(self._config, self._content, rate, None if self._waited is None else share)}")
            if len(self._sizes) > 2:
                may_end = self._config.early_stopping > 0
                print(time_left(time.perf_counter() - self._start, self._sizes[1], self._sizes[2:], may_end=may_end))

    def _waiting(self) -> float:
        return 0.0 if self._waited is None else float(self._waited.numpy())


def message(config: TrainConfig, content: str, rate: float, share: float | None) -> str:
    """Returns the message about an epoch.

    Args:
        config: of the run.
        content: what is cached, see `caching.Plan`.
        rate: images per second.
        share: of the time, in which the training waited for its input; None: it is not known.
    """
    if share is None:
        return f"Throughput: {rate:,.0f} images/s. To train faster, choose {_input_advice(config, content)}."
    share = min(share, 1.0)
    advice = _input_advice(config, content) if share > _LONG_WAIT else _MODEL_ADVICE
    return (
        f"Throughput: {rate:,.0f} images/s. Training waits for its input for {share:.1%} of the time. "
        f"To train faster, choose {advice}."
    )


def time_left(seconds: float, size: int, sizes: Sequence[int], *, may_end: bool = False) -> str:
    """Returns the message about the time that a training still takes.

    Args:
        seconds: that an epoch took, with its validation.
        size: of the images in it, pixels.
        sizes: of the images in each epoch that is left, one or more. Larger ones take at most as much more time as they
            have more pixels.
        may_end: whether the training may end early.
    """
    grows = max(sizes) > size
    left = seconds * sum((each / size) ** 2 for each in sizes)
    epochs = "1 epoch" if len(sizes) == 1 else f"{len(sizes)} epochs"
    return (
        f"Time left: {'at most ' if grows or may_end else ''}about {_duration(left)} "
        f"({epochs}{'; the images grow' if grows else ''})."
    )


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.{0 if seconds >= 10 * length else 1}f} {unit}"
    return f"{seconds:.0f} s"
