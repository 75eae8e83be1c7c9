"""What is kept of a split between epochs: chosen by the room that there is, filled once, read as one tensor.

A cache is one array of images or features and one of labels. In memory they are anonymous pages; on disk they are two
files, mapped, of which the system keeps as much in memory as there is room for. Those on disk stay for later runs:

    <cache_dir>/<key>/        key: a digest of the dataset and of everything that was done to its examples
        inputs, labels        the arrays, raw
        description.json      what they are, for people; written last

The folder gets its name when it is complete, so that a run that was killed leaves nothing that could be mistaken for
one, and a run that needs the same waits for it.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import mmap
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from schemas import machine
from schemas.errors import UserError
from trainer import dataset
from trainer.config import TrainConfig
from trainer.dataset import Cached
from trainer.sources import Sources

# To be raised when what is cached of the same examples changes.
_VERSION = 1
_NAMES = {"features": "features", "decoded": "decoded images", "encoded": "encoded images"}
_INPUTS, _LABELS, _DESCRIPTION = "inputs", "labels", "description.json"


class Features(NamedTuple):
    """What is cached instead of images, if the backbone is frozen.

    Attributes:
        extract: images uint8 [n, size, size, 3] -> float32 [n, num].
        num: of an image.
        key: says what backbone it is, weights included.
    """

    extract: Callable[[tf.Tensor], tf.Tensor]
    num: int
    key: str


class Plan(NamedTuple):
    """What is cached, and where.

    Attributes:
        content: `features`, `decoded`, `encoded` or `none`.
        on_disk: instead of in memory.
        reason: a line for the user.
    """

    content: str
    on_disk: bool
    reason: str


def choose(config: TrainConfig, sources: Sources, num_features: int | None) -> Plan:
    """Decides what is kept between epochs.

    What needs least work in every epoch, if it fits into half of the memory that is left; then the same on disk, if it
    fits into half of that; then records as they are in memory.

    Args:
        config: of the run.
        sources: its datasets.
        num_features: that the backbone makes of an image, if they are the same in every epoch.

    Raises:
        UserError: what was asked for does not fit.
    """
    needed = _needed(config, sources, num_features)
    best = "decoded" if num_features is None else "features"
    memory_left, disk_left = machine.available_memory(), machine.free_disk(_folder(config))

    def plan(content: str, on_disk: bool, why: str) -> Plan:
        where = "nothing"
        if content in needed:
            place = f"on disk, in {_folder(config)}" if on_disk else "in memory"
            where = f"{_NAMES[content]} ({_size(needed[content])}) {place}"
        rooms = f"{_size(memory_left)} of memory and {_size(disk_left)} of disk are free"
        return Plan(content, on_disk, f"Cache: {where}: {why}{rooms}.")

    if config.cache == "auto":
        for content, on_disk, room in (
            (best, False, memory_left),
            (best, True, disk_left),
            ("encoded", False, memory_left),
        ):
            if needed[content] < room / 2:
                return plan(content, on_disk, "")
        return plan("none", False, f"{_NAMES[best]} take {_size(needed[best])}, and ")
    if config.cache == "disk":  # It may be there already; if not, a full disk is told when it is.
        return plan(best, True, "as asked; ")
    if needed.get(config.cache, 0) >= memory_left:
        raise UserError(
            f"--cache={config.cache} takes {_size(needed[config.cache])} of memory, and {_size(memory_left)} are free. "
            "Choose another one, or let --cache=auto do so."
        )
    return plan(config.cache, False, "as asked; ")


def _needed(config: TrainConfig, sources: Sources, num_features: int | None) -> dict[str, int]:
    """Returns the bytes that each content takes, of both splits."""
    train, validation = (sources.split(name) for name in (config.train_split, config.validation_split))
    pixels = (
        train.num_examples * dataset.cached_size(config) ** 2 + validation.num_examples * config.image_size**2
    )  # fmt: skip
    needed = {"decoded": 3 * pixels, "encoded": sum(shard.num_bytes for shard in (*train.shards, *validation.shards))}
    if num_features is not None:
        needed["features"] = 4 * num_features * (train.num_examples + validation.num_examples)
    return needed


def load(
    plan: Plan, config: TrainConfig, sources: Sources, split: str, size: int, features: Features | None = None
) -> Cached | None:
    """Reads a split into its cache, or takes one from the disk that is there already.

    Args:
        plan: what to keep.
        config: of the run.
        sources: its datasets.
        split: name of the split.
        size: of the images, pixels.
        features: what to make of them, if that is the plan.

    Returns:
        The cache; None if examples are to be read in each epoch.

    Raises:
        UserError: the disk is full or cannot be written to, or what is there is damaged.
    """
    if plan.content not in ("features", "decoded"):
        return None
    num_examples = sources.split(split).num_examples
    shapes = (
        ((num_examples, features.num), np.dtype(np.float32))
        if features
        else ((num_examples, size, size, 3), np.dtype(np.uint8)),
        ((num_examples, len(sources.classes)), np.dtype(np.float32)),
    )
    chunks = _chunks(dataset.decoded(config, sources, split, size), num_examples, features)
    if not plan.on_disk:
        buffers = [mmap.mmap(-1, _num_bytes(*shape)) for shape in shapes]
        _fill(buffers, chunks)
    else:
        description = _describe(config, sources, split, size, features)
        folder = _on_disk(Path(_folder(config)), description, chunks)
        buffers = [
            _map(folder / name, _num_bytes(*shape)) for name, shape in zip((_INPUTS, _LABELS), shapes, strict=True)
        ]
    return Cached(*(_tensor(buffer, *shape) for buffer, shape in zip(buffers, shapes, strict=True)))


def _chunks(examples: tf.data.Dataset, num_examples: int, features: Features | None) -> Iterator[tuple[Any, Any]]:
    """Yields what is to be kept, with a bar on a terminal. Nothing is read before the first is asked for."""
    with tqdm(desc="caching", total=num_examples, unit=" images", disable=None, dynamic_ncols=True) as bar:
        for images, labels in examples.prefetch(2).as_numpy_iterator():
            yield features.extract(images) if features else images, labels
            bar.update(len(labels))


def _fill(files: Sequence[Any], chunks: Iterator[tuple[Any, Any]]) -> None:
    """Writes arrays to files, one chunk after the other."""
    for chunk in chunks:
        for file, array in zip(files, chunk, strict=True):
            file.write(np.ascontiguousarray(array).data)


def _on_disk(root: Path, description: dict[str, Any], chunks: Iterator[tuple[Any, Any]]) -> Path:
    """Returns the folder of a cache, and makes it if it is not there."""
    text = json.dumps(description, indent=1, sort_keys=True)
    folder = root / hashlib.sha256(text.encode()).hexdigest()[:32]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{folder.name}.lock"):
            if folder.exists():
                return folder
            # What a run left that was killed.
            unfinished = root / f"{folder.name}.incomplete"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            with contextlib.ExitStack() as stack:
                files = [stack.enter_context((unfinished / name).open("wb")) for name in (_INPUTS, _LABELS)]
                _fill(files, chunks)
                for file in files:
                    file.flush()
                    os.fsync(file.fileno())
            (unfinished / _DESCRIPTION).write_text(text + "\n")
            unfinished.rename(folder)
            return folder
    except OSError as error:
        raise UserError(
            f"The cache cannot be written to {root}: {error.strerror or error}. Choose another --cache_dir, or --cache."
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process at a time make a cache; a lock ends with its process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _map(path: Path, num_bytes: int) -> mmap.mmap:
    if not path.exists() or path.stat().st_size != num_bytes:
        raise UserError(
            f"The cache {path.parent} is damaged: {path.name} must have {num_bytes} bytes. Remove the folder."
        )
    with path.open("rb") as file:
        # Nothing is written to it; TensorFlow asks for memory that could be.
        return mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_COPY)


def _tensor(buffer: mmap.mmap, shape: Sequence[int], dtype: np.dtype[Any]) -> tf.Tensor:
    """Returns a tensor of these bytes, of which no copy is made: they begin with a page, as TensorFlow's own would."""
    array: NDArray[Any] = np.frombuffer(buffer, dtype).reshape(shape)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _num_bytes(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _describe(
    config: TrainConfig, sources: Sources, split: str, size: int, features: Features | None
) -> dict[str, Any]:
    """Returns all that the contents of a cache follow from."""
    return {
        "version": _VERSION,
        "datasets": [{"fingerprint": source.info.fingerprint, "labels": source.labels} for source in sources.each],
        "split": split,
        "size": size,
        "decode": config.decode,
        "features": features and features.key,
        "tensorflow": tf.__version__,
    }


def _folder(config: TrainConfig) -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return config.cache_dir or os.path.join(cache, "multihot")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
