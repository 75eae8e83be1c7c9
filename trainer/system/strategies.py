"""Lets a run train on several devices, or on several machines, by a strategy of `tf.distribute`.

Each replica trains a part of every batch, and all make the same step. Each worker reads and prepares whole batches, and
takes its part of them (`AutoShardPolicy.DATA`), so that a dataset may have fewer shards than there are workers, and an
epoch has every example once over all workers. One worker, the chief, writes the folder of the run.

TF_CONFIG names the workers of --strategy=multi_worker, and the place of this process among them:

    {"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}
"""

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from multihot.errors import UserError
from multihot.printable import one_line
from trainer.config import TrainConfig

_EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'
# The kinds of tasks that compute in a training; others would be parameter servers.
_KINDS = ("chief", "worker")
# Errors of TensorFlow with which a step ends if another worker is gone.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
# Set for the process that takes the place of one that has lost a worker.
_LOST_BEFORE = "MULTIHOT_WORKERS_LOST"
_MOST_LOST = 100


class Place(NamedTuple):
    """The place of this process in a training.

    Attributes:
        number: of this worker, counted from 0, which is the chief.
        num_workers: processes that train together.
    """

    number: int = 0
    num_workers: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the folder of the run."""
        return self.number == 0


def place(config: TrainConfig) -> Place:
    """Returns the place of this process, from TF_CONFIG.

    Raises:
        UserError: TF_CONFIG is missing, or no place can be read from it.
    """
    if config.strategy != "multi_worker":
        return Place()
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        raise UserError(
            f"--strategy=multi_worker needs the environment variable TF_CONFIG in each process, as in {_EXAMPLE}"
        )
    try:
        given: dict[str, Any] = json.loads(text)
        cluster, task = given["cluster"], given["task"]
        places = [(kind, i) for kind in _KINDS for i in range(len(cluster.get(kind, ())))]
        index = places.index((task["type"], int(task["index"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"TF_CONFIG must name the workers, and the task of this process among them, as in {_EXAMPLE}. "
            f"Received: {text}"
        ) from error
    return Place(index, len(places))


def make(config: TrainConfig) -> tf.distribute.Strategy:
    """Returns the strategy of a run. With several workers, it waits until all of them have connected.

    It has to be made before TensorFlow computes anything.

    Raises:
        UserError: there is no such device, a worker cannot be reached, or the batch cannot be divided.
    """
    if config.strategy == "none":
        return tf.distribute.get_strategy()
    # It lists every operation that is reduced.
    tf.get_logger().setLevel(logging.WARNING)
    try:
        strategy = _make(config)
    except (tf.errors.OpError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"--strategy={config.strategy} cannot be used here: {one_line(error)}") from error
    if config.batch_size % strategy.num_replicas_in_sync:
        raise UserError(
            f"--batch_size must be a multiple of the number of replicas, which each take an equal part of a batch. "
            f"Received: {config.batch_size} for {strategy.num_replicas_in_sync} replicas"
        )
    return strategy


def _make(config: TrainConfig) -> tf.distribute.Strategy:
    if config.strategy == "mirrored":
        # By default it takes all GPUs, or one CPU. Logical CPUs are there for trials without GPUs.
        cpus = tf.config.list_logical_devices("CPU")
        only_cpus = not tf.config.list_logical_devices("GPU") and len(cpus) > 1
        return tf.distribute.MirroredStrategy([device.name for device in cpus] if only_cpus else None)
    if config.strategy == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    return tf.distribute.TPUStrategy(resolver)


def scope(strategy: tf.distribute.Strategy) -> contextlib.AbstractContextManager[object]:
    """Returns the context in which a model is built and trained by a strategy."""
    # The scope of the default strategy would change nothing.
    is_default = strategy is tf.distribute.get_strategy()
    return contextlib.nullcontext() if is_default else strategy.scope()


def describe(strategy: tf.distribute.Strategy, where: Place) -> str:
    """Returns a sentence about the replicas of a run; "" if there is one."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return ""
    workers = (
        f" on {where.num_workers} workers, of which this is number {where.number}" if where.num_workers > 1 else ""
    )
    return f"{replicas} replicas{workers}: each trains an equal part of every batch."


def distribute(dataset: tf.data.Dataset) -> "tf.data.Dataset | tf.distribute.DistributedDataset":
    """Returns the batches for the strategy of the scope: each replica gets an equal part of each of them."""
    strategy = tf.distribute.get_strategy()
    if not tf.distribute.has_strategy():
        return dataset
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(dataset.with_options(options))


def step_of(trained: keras.Model) -> Callable[[Any], dict[str, Any]]:
    """Returns the function that makes the next steps of a compiled model, in the scope of the strategy it was made in.

    It takes an iterator over batches, and returns the metrics of the epoch so far. Keras's own function cannot be used
    with several workers: it takes the mean of a scalar over an axis.
    """
    if not tf.distribute.has_strategy():
        trained.make_train_function()
        function: Callable[[Any], dict[str, Any]] = trained.train_function
        return function
    strategy = tf.distribute.get_strategy()

    def of_replica(batch: Any) -> dict[str, Any]:
        trained.train_step(batch)
        replica = tf.distribute.get_replica_context()
        # In each replica, the sums and counts are those of whole batches: the chief reads its own, and asks nobody.
        for variable in trained.metrics_variables:
            variable.assign(replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(variable)))
        result: dict[str, Any] = trained.get_metrics_result()
        return result

    step = tf.function(
        lambda iterator: strategy.run(of_replica, args=(next(iterator),)), reduce_retracing=True, autograph=False
    )

    def make_step(iterator: Any) -> dict[str, Any]:
        return {name: _first(value) for name, value in step(iterator).items()}

    return make_step


def value_of(variable: keras.Variable) -> np.ndarray:
    """Returns the value of a variable in this process, without asking other workers.

    Keras would add up the sums and counts of a metric, which `step_of` makes the same in all replicas.
    """
    if not tf.distribute.has_strategy():
        return np.asarray(variable)
    value = np.asarray(_first(variable.value))
    is_sum = variable.synchronization == "on_read" and variable.aggregation == "sum"
    return value * value.dtype.type(tf.distribute.get_strategy().num_replicas_in_sync) if is_sum else value


def _first(value: Any) -> Any:
    """Returns the value of the first replica of this process."""
    return tf.distribute.get_strategy().experimental_local_results(value)[0]


def from_chief(value: int, where: Place) -> int:
    """Returns a number of the chief in all workers, which call this function at the same place of a training.

    Args:
        value: in the chief; those of other workers have no effect.
        where: place of this process.
    """
    if where.num_workers == 1:
        return value
    strategy = tf.distribute.get_strategy()

    def of_replica() -> tf.Tensor:
        first = tf.equal(tf.distribute.get_replica_context().replica_id_in_sync_group, 0)
        return tf.where(first, tf.constant(int(value), tf.int32), 0)

    total = tf.function(lambda: strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(of_replica), axis=None))
    return int(total())


@contextlib.contextmanager
def restarted_if_a_worker_is_lost(where: Place) -> Iterator[None]:
    """Starts this process again where a step ended because another worker is gone.

    The new process waits until the other workers are there again, and all go on from the last checkpoint.

    Args:
        where: place of this process.
    """
    try:
        yield
    except (*_LOST, tf.errors.InternalError, tf.errors.UnknownError) as error:
        if where.num_workers == 1 or not _is_of_network(error):
            raise
        lost = int(os.environ.get(_LOST_BEFORE, "0")) + 1
        if lost > _MOST_LOST:
            raise UserError(f"Workers were lost {lost} times. The last error: {one_line(error, 160)}") from error
        print(
            f"A worker is gone ({one_line(error, 160)}). Waiting for it; all workers then go on from the last "
            "checkpoint.",
            file=sys.stderr,
            flush=True,
        )
        os.environ[_LOST_BEFORE] = str(lost)
        # With --overwrite it would begin again.
        arguments = [word for word in sys.orig_argv[1:] if not re.fullmatch(r"--?(no)?overwrite(=.*)?", word)]
        os.execv(sys.executable, [sys.executable, *arguments])


def _is_of_network(error: tf.errors.OpError) -> bool:
    """Returns whether an error is of the connection of workers, and not of a full memory or of a file."""
    return isinstance(error, _LOST) or bool(
        re.search(r"(?i)collective|coordination|socket|connection|peer", str(error))
    )
