"""Measures the batches of loops of the user beside those of the trainer: `scripts/bench_own_loop` runs it.

All rows are in one process, and in each round each of them reads some epochs, one after the other. Nothing is trained.
The row of the trainer is the pipeline of its training; the others read `trainer.load` as docs/own_loop.md does. JAX and
PyTorch are imported from their environments, after all that is installed already; a row is left out where they are not.
"""

import argparse
import contextlib
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import report
import same_images
from report import Measurement

_ROOT = Path(__file__).resolve().parents[2]
_TRAINER = "the trainer's own pipeline"
# Crops of decoded images that are cached, and images that are decoded in each epoch.
_CASES = {"cached, 32x32": ("decoded", 32), "decoded in each epoch, 224x224": ("none", 224)}
_PACKAGES = ("tensorflow", "keras", "jax", "torch", "numpy")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench_own_loop", description="Measures loops of the user.")
    parser.add_argument("--data", help="folder of a dataset, whose split `train` is read; by default one is made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="that a round of a row takes at least, nearly")
    parser.add_argument("--json", help="file to write everything to")
    flags = parser.parse_args()
    shared = _shared()
    with tempfile.TemporaryDirectory() as folder:
        data = flags.data or same_images.convert(*same_images.default(Path(folder)), Path(folder), "train=1")
        measured = []
        for case, (cache, size) in _CASES.items():
            rows = _measure(_rows(data, cache, size, shared), flags.rounds, flags.seconds)
            print(f"\n{case}\n\n{report.table(rows, [_TRAINER])}", flush=True)
            measured += [(case, row) for row in rows]
    if flags.json:
        named = [Measurement(f"{case}: {row.name}", row.unit, row.values) for case, row in measured]
        report.write_json(flags.json, named, {}, report.machine(_PACKAGES))


def _shared() -> dict[str, Callable[[Any], Any]]:
    """Returns the functions that make an array of JAX, or a tensor of PyTorch, of one of TensorFlow, by their rows."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for environment in ("jax", "pytorch"):
        sys.path.append(str(_ROOT / f".venv-interop-{environment}" / "lib" / version / "site-packages"))
    found = {}
    # PyTorch before TensorFlow.
    for row, module in (("PyTorch, from_dlpack", "torch"), ("JAX, from_dlpack", "jax.numpy")):
        with contextlib.suppress(ImportError):
            found[row] = importlib.import_module(module).from_dlpack
        if row not in found:
            print(f"not measured: {row}: {module} is not there; scripts/interop_venvs makes its environment")
    return dict(reversed(found.items()))


def _rows(
    data: str, cache: str, size: int, shared: dict[str, Callable[[Any], Any]]
) -> dict[str, Callable[[], Iterable[tuple[Any, Any]]]]:
    """Returns functions that begin an epoch, by the names of their rows."""
    import trainer

    loaded = trainer.load(data, image_size=size, cache=cache)

    def of_library(share: Callable[[Any], Any]) -> Callable[[], Iterator[tuple[Any, Any]]]:
        return lambda: ((share(images), share(labels)) for images, labels in loaded)

    return {
        _TRAINER: _of_trainer(data, cache, size),
        "trainer.load, as Keras reads it": lambda: loaded,
        "trainer.load, as_numpy_iterator": loaded.as_numpy_iterator,
        **{f"trainer.load, {row}": of_library(share) for row, share in shared.items()},
    }


def _of_trainer(data: str, cache: str, size: int) -> Callable[[], Iterable[tuple[Any, Any]]]:
    import tensorflow as tf

    from trainer import sources
    from trainer.config import TrainConfig
    from trainer.input import caching, pipeline

    config = TrainConfig(
        data=(data,), output="none", image_size=size, train_sizes=(), augment="crop", min_crop_area=0.3, cache=cache
    )
    found = sources.load(config)
    plan = caching.choose(config, found)
    cached = caching.fill_or_open(plan, config, found, "train", pipeline.cached_image_size(config))
    with tf.device("CPU:0"):
        epoch = tf.Variable(0, dtype=tf.int64)
    dataset = pipeline.training_dataset(config, found, cached, epoch=epoch)

    def begin() -> tf.data.Dataset:
        epoch.assign_add(1)
        return dataset

    return begin


def _measure(
    rows: dict[str, Callable[[], Iterable[tuple[Any, Any]]]], rounds: int, seconds: float
) -> list[Measurement]:
    """Returns the images/s of each row."""
    values: dict[str, list[float]] = {name: [] for name in rows}
    for begin in rows.values():
        _read(begin, 0)  # The first epoch of a row is not counted.
    for _ in range(rounds):
        for name, begin in rows.items():
            values[name].append(_read(begin, seconds))
    return [Measurement(name, "images/s", tuple(rates)) for name, rates in values.items()]


def _read(begin: Callable[[], Iterable[tuple[Any, Any]]], seconds: float) -> float:
    """Reads whole epochs, at least one, for about as long; returns the images/s."""
    num_images, start = 0, time.perf_counter()
    while True:
        for images, _ in begin():
            num_images += images.shape[0]
        taken = time.perf_counter() - start
        if taken >= seconds:
            return num_images / taken


if __name__ == "__main__":
    main()
