"""Lets tf.data services load the images of a training: processes that decode and crop, here or on other machines.

    chunks of an epoch -> service k of n: every n-th chunk, from the k-th on, decoded and cropped -> in turn

Each service reads the records of the training split itself, from the same folder. A chunk depends on its number alone,
and chunks come back in turn, so that the batches are bit for bit those of a training without services, in their order.

A part of an epoch is one split of its dataset (`range(1)`), and each split goes to one worker of a service: no example
comes twice, however many workers a service has.
"""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from multihot import proxies
from multihot.errors import UserError
from multihot.printable import one_line

# The words of errors of TensorFlow for a service that was started again, or has lost a worker: it does not know what it
# is asked for, or a part of an epoch ends too early.
_LOST = re.compile(r"iteration client|dispatcher|expected to contain|end of sequence", re.IGNORECASE)
_CONNECT_SECONDS = 5.0
# Seconds between two attempts to connect to each service during a training.
_WATCH_SECONDS = 10.0


def load(chunks: tf.data.Dataset, function: Callable[..., Any], addresses: Sequence[str]) -> tf.data.Dataset:
    """Returns chunks after a function that services call.

    Args:
        chunks: of an epoch; they must not depend on a variable, or on anything else of this process.
        function: from a chunk to images and labels.
        addresses: of the services; one that is named twice gets two parts.

    Returns:
        The results, in the order of the chunks.
    """
    parts = [_part(chunks, function, number, addresses) for number in range(len(addresses))]
    if len(parts) == 1:
        return parts[0]
    turns = tf.data.Dataset.range(len(parts)).repeat()
    return tf.data.Dataset.choose_from_datasets(parts, turns, stop_on_empty_dataset=True)


def _part(
    chunks: tf.data.Dataset, function: Callable[..., Any], number: int, addresses: Sequence[str]
) -> tf.data.Dataset:
    def of_worker(_: tf.Tensor) -> tf.data.Dataset:
        return chunks.shard(len(addresses), number)

    # The service knows its own cores.
    part = tf.data.Dataset.range(1).flat_map(of_worker).map(function, num_parallel_calls=tf.data.AUTOTUNE)
    service = tf.data.experimental.service
    return part.apply(service.distribute(service.ShardingPolicy.DYNAMIC, addresses[number]))


def check(addresses: Sequence[str]) -> None:
    """Checks that each service answers, where TensorFlow would try for an hour, and lets it reach them.

    Raises:
        UserError: one does not.
    """
    proxies.avoid(_place(address)[0] for address in addresses)
    for address in dict.fromkeys(addresses):
        if reason := _fault(address):
            port = address.rpartition(":")[2]
            raise UserError(
                f"--data_service={address} does not answer: {reason}. It is started on its machine by "
                f"python -m trainer.data_service --port={port}"
            )


@contextlib.contextmanager
def watched(addresses: Sequence[str]) -> Iterator[None]:
    """Prints a line when a service answers no longer, or answers again: a training waits for it without a word.

    Args:
        addresses: of the services.
    """
    ended = threading.Event()

    def watch() -> None:
        gone: set[str] = set()
        while not ended.wait(_WATCH_SECONDS):
            for address in dict.fromkeys(addresses):
                reason = _fault(address)
                if reason and address not in gone:
                    gone.add(address)
                    print(
                        f"\nThe data service {address} does not answer: {reason}. The training waits for it, and goes "
                        "on when it is started again; Ctrl-C ends the training.",
                        flush=True,
                    )
                elif not reason and address in gone:
                    gone.remove(address)
                    print(f"\nThe data service {address} answers again.", flush=True)

    thread = threading.Thread(target=watch, name="data services", daemon=True)
    if addresses:
        thread.start()
    try:
        yield
    finally:
        ended.set()


def _place(address: str) -> tuple[str, int]:
    """Returns the host and the port of an address."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    return host.strip("[]"), int(port)


def _fault(address: str) -> str:
    """Returns why a service cannot be reached; "" if it can."""
    try:
        socket.create_connection(_place(address), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""


@contextlib.contextmanager
def explained(addresses: Sequence[str]) -> Iterator[None]:
    """Turns the errors of TensorFlow that a training with services ends with into one that the user can correct.

    Args:
        addresses: of the services; nothing is changed without any.

    Raises:
        UserError: names the services, and the error.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not addresses or isinstance(error, tf.errors.ResourceExhaustedError):
            raise
        names = ", ".join(dict.fromkeys(addresses))
        explanation = UserError(
            f"The training with the data services {names} failed: {line(error)}. They need the datasets in the same "
            "folders as this machine, and the same version of TensorFlow."
        )
        for note in getattr(error, "__notes__", []):
            explanation.add_note(note)
        raise explanation from error


def is_lost(error: tf.errors.OpError) -> bool:
    """Returns whether a batch failed since its service has lost its place, so that it can be asked for again."""
    return isinstance(error, tf.errors.UnavailableError) or bool(_LOST.search(str(error.message)))


def line(error: tf.errors.OpError) -> str:
    """Returns an error of TensorFlow in one line, without the operations and the lines of code that it names."""
    text = re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*", " ", str(error.message))
    return one_line(text.rpartition('  File "')[2].rpartition("\n\n")[2]).rstrip(".")
