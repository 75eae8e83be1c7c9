"""Turns a lack of memory, of the machine or of a GPU, into a sentence that names the flags."""

import contextlib
import errno
import math
import re
import sys
import threading
from collections.abc import Iterator, Sequence

import tensorflow as tf

from multihot import machine
from multihot.errors import UserError
from trainer.config import TrainConfig

_BYTES = {"half": 2, "bfloat16": 2, "float": 4, "double": 8, "uint8": 1, "bool": 1, "int32": 4, "int64": 8}
_OUT_OF_MEMORY = re.compile(
    # The last message is about a large constant of the graph, for which there is no memory.
    r"out of memory|\bOOM\b|OUT_OF_MEMORY|ALLOC_FAILED|failed to allocate memory|Cannot parse tensor from proto",
    re.I,
)
# With less free memory than this, the next allocation may be the last one. The free memory is read five times a second,
# which takes a thousandth of a core.
_LOW_BYTES = 128_000_000
_WATCH_SECONDS = 0.2
# TensorFlow raises the same class of error for these.
_OTHER_RESOURCES = re.compile(r"No space left on device|Disk quota exceeded|Too many open files", re.I)


def check_batch(config: TrainConfig, num_examples: int) -> None:
    """Refuses a batch of images that alone is larger than the memory: the system would kill the process.

    Args:
        config: of the run.
        num_examples: of the training split.

    Raises:
        UserError: the batch is too large. The memory of the model is known only when it runs.
    """
    images = min(config.batch_size, num_examples)
    size, free = 4 * 3 * images * config.image_size**2, machine.available_memory()
    if size > free:
        raise UserError(
            f"The memory of this machine is too small for a batch: {images} images of {config.image_size} x "
            f"{config.image_size} pixels take {_readable(size)} as float32, and {_readable(free)} are free. "
            f"{_advice(config, ('batch_size', 'image_size'))}"
        )


@contextlib.contextmanager
def explained(config: TrainConfig, work: str, flags: Sequence[str]) -> Iterator[None]:
    """Turns an error for lack of memory into a message that names the flags that take less.

    Args:
        config: of the run.
        work: noun for the work of this context, such as `training`.
        flags: names of the flags that determine how much memory it takes.

    Raises:
        UserError: there is no memory left; or no disk, for which TensorFlow raises the same error.
    """
    try:
        yield
    except (MemoryError, OSError, tf.errors.OpError) as error:
        text = str(error)
        if isinstance(error, tf.errors.OpError) and (other := _OTHER_RESOURCES.search(text)):
            raise UserError(f"{other[0]}: {text.splitlines()[0]}") from error
        if not _is_out_of_memory(error):
            raise
        place = "of a GPU" if re.search(r"device:GPU|GPU_\d|CUDA|cudnn", text, re.I) else "of this machine"
        size = _requested_bytes(text)
        asked = f": {_readable(size)} were requested" if size else ""
        raise UserError(f"The memory {place} is too small for {work}{asked}. {_advice(config, flags)}") from error


@contextlib.contextmanager
def watched(config: TrainConfig) -> Iterator[None]:
    """Warns once on standard error when nearly all memory is used, and names the flags that take less.

    Linux kills a process that uses up the memory of its machine or container: no error reaches the process, and the
    shell says no more than "Killed".

    Args:
        config: of the run.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_SECONDS):
            free = machine.available_memory()
            if free < _LOW_BYTES:
                flags = ("batch_size", "image_size", "model", "cache")
                print(
                    f"\nOnly {_readable(free)} of memory are left. The system may kill this run without an error "
                    f"message. {_advice(config, flags)}",
                    file=sys.stderr,
                    flush=True,
                )
                return

    threading.Thread(target=watch, name="memory", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError | tf.errors.ResourceExhaustedError) or bool(_OUT_OF_MEMORY.search(str(error)))


def _advice(config: TrainConfig, flags: Sequence[str]) -> str:
    advice = {
        "batch_size": f"a smaller --batch_size (it is {config.batch_size})",
        "image_size": f"a smaller --image_size (it is {config.image_size})",
        "model": f"a smaller --model (it is {config.model})",
        "cache": "--cache=disk or --cache=none, which keep nothing in memory",
    }
    return f"To use less memory, choose {' or '.join(advice[flag] for flag in flags)}."


def _requested_bytes(text: str) -> int | None:
    """Returns the requested bytes, if the text of an error names them.

    Examples are `shape[32,64,224,224] and type float` of TensorFlow, `allocate 123 bytes` of XLA, `8.0 GiB` of numpy.
    """
    if found := re.search(r"shape\[([\d,]*)\] and type (\w+)", text):
        return math.prod(int(size) for size in found[1].split(",") if size) * _BYTES.get(found[2], 4)
    if found := re.search(r"allocate (\d+) bytes|allocating (\d+) bytes", text):
        return int(found[1] or found[2])
    if found := re.search(r"allocate ([\d.]+) ([KMGTPE])iB", text):
        return int(float(found[1]) * 1024 ** (" KMGTPE".index(found[2])))
    return None


def _readable(num_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:,.1f} {unit}"
    return f"{num_bytes} bytes"
