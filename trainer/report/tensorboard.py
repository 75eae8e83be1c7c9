"""Writes what TensorBoard shows of a run: curves, pictures, and its settings with the final metrics.

    <folder>/
        train/       loss and learning rate of each epoch; training images as the model gets them
        validation/  loss and metrics of each epoch, average precision of classes; the picture of samples
        hparams/     settings and final metrics, for the page HPARAMS

The step is the number of epochs that have ended, so that it is that of the console and of training.png. Each process
that works on a run writes a file of its own into each folder. When a run goes on from a checkpoint, later epochs are
removed from the files before it.

The files are not written by `tf.summary`: it names them by the machine, and has errors of its own for a full disk.
"""

import contextlib
import dataclasses
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api as hparams_api
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import summary_v2 as scalar_summary
from tensorboard.util import tensor_util

from multihot import markdown
from schemas.example import UNKNOWN
from schemas.tfrecord import RecordError, ShardReader, ShardWriter
from trainer import metrics
from trainer.config import TrainConfig
from trainer.metrics import Predictions

# Classes whose average precision is shown. TensorBoard draws a chart for each, and the last evaluation has all of them.
MOST_CLASSES = 20
# TensorBoard knows its files by the second word. The rest is a number.
_NAME = "events.out.tfevents."
_COLUMNS, _MOST_EXAMPLES = 6, 24
# Settings that change nothing in what is learned, and the seed: TensorBoard then shows runs that differ in their seed
# as one trial, with the means of their metrics.
_NOT_SHOWN = ("output", "overwrite", "data", "cache", "cache_dir", "checkpoint_seconds", "seed")


class TensorBoard(keras.callbacks.Callback):
    """Writes scalars after each epoch, and what else it is given.

    It reads the logs of an epoch: all callbacks that add to them come before it. The learning rate is that of the logs,
    or of the optimizer of the model.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        classes: Sequence[str],
        predictions: Callable[[], Predictions],
        *,
        dataset: str = "",
    ) -> None:
        """Prepares to write; nothing is written before the first epoch begins.

        Args:
            folder: of the files for TensorBoard.
            config: of the run.
            classes: their names.
            predictions: returns those for the validation split, after an epoch.
            dataset: name of the data, which is shown with the settings.
        """
        super().__init__()
        self._config, self._classes, self._predictions, self._dataset = config, tuple(classes), predictions, dataset
        self._train, self._validation, self._hparams = (
            _Events(folder / name) for name in ("train", "validation", "hparams")
        )
        # Whether this process has made its files; whether earlier ones have the next examples.
        self._has_begun = self._has_examples = False
        self._shown: list[int] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins the files before the first epoch of this process."""
        self._begin(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the scalars of an epoch."""
        values = {name: float(value) for name, value in (logs or {}).items() if value is not None}
        if "learning_rate" not in values:
            rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
            values |= {} if rate is None else {"learning_rate": float(rate)}
        for events, prefix in ((self._train, ""), (self._validation, "val_")):
            found = {
                f"epoch_{name.removeprefix('val_')}": value
                for name, value in values.items()
                if name.startswith("val_") == bool(prefix)
            }
            if prefix:
                found |= self._of_classes()
            events.write(epoch + 1, *(scalar_summary.scalar_pb(name, value) for name, value in found.items()))

    def write_examples(self, images: Any, labels: Any, epoch: int) -> None:
        """Writes training images as the model gets them; not the first ones of a process that goes on with a run.

        Args:
            images: [n, height, width, 3] from 0 to 255, whole or float. Nothing is written of cached features [n, d].
            labels: [n, k], 0, 1, UNKNOWN, or mixed.
            epoch: the first one that is trained on such images, counted from 0.
        """
        pixels = np.asarray(images)[:_MOST_EXAMPLES]
        self._begin(epoch)
        has_them, self._has_examples = self._has_examples, False
        if has_them or pixels.ndim != 4:
            return
        texts = [self._text(row) for row in np.asarray(labels)[:_MOST_EXAMPLES]]
        rows = [f"{i // _COLUMNS + 1}. " + "; ".join(texts[i : i + _COLUMNS]) for i in range(0, len(texts), _COLUMNS)]
        description = "Training images as the model gets them. Their labels, row by row:\n\n" + "\n".join(rows)
        self._train.write(epoch, _picture("examples", _grid(pixels), description))

    def write_results(self, evaluation: Mapping[str, Any], samples: Path, epochs: int) -> None:
        """Writes the final metrics beside the settings, and the picture of samples.

        Args:
            evaluation: the contents of evaluation.json.
            samples: path of the picture, a PNG.
            epochs: number of epochs that the model was trained.
        """
        self._begin(epochs)
        found = {name: value for name, value in evaluation.items() if isinstance(value, float)}
        self._hparams.write(epochs, *(scalar_summary.scalar_pb(name, value) for name, value in found.items()))
        self._hparams.write(epochs, hparams_summary.session_end_pb(api_pb2.STATUS_SUCCESS))
        with Image.open(samples) as picture:
            size = picture.size
        self._validation.write(
            epochs, _encoded("samples", size, samples.read_bytes(), "Images of the validation split")
        )

    def _begin(self, epoch: int) -> None:
        """Makes the files, unless this process has made them."""
        if self._has_begun:
            return
        self._has_begun = True
        self._has_examples = self._train.begin(epoch + 1)
        self._validation.begin(epoch + 1)
        self._hparams.begin(0)
        self._hparams.write(0, hparams_api.hparams_pb(_hparams(self._config, self._dataset)))

    def _of_classes(self) -> dict[str, float]:
        """Returns the average precision of the most frequent classes, where it is defined."""
        predictions = self._predictions()
        if self._shown is None:
            # Stable, so that a run that goes on shows the same classes.
            order = np.argsort(-np.count_nonzero(predictions.labels, axis=0), kind="stable")
            self._shown = sorted(order[:MOST_CLASSES].tolist())
        known = None if predictions.known is None else predictions.known[:, self._shown]
        part = Predictions(
            labels=predictions.labels[:, self._shown], scores=predictions.scores[:, self._shown], known=known
        )
        if not np.isfinite(part.scores).all():  # They have no order. The run ends because of its loss.
            return {}
        values = zip(self._shown, metrics.average_precisions(part), strict=True)
        return {f"average_precision/{self._classes[i]}": value for i, value in values if value is not None}

    def _text(self, labels: np.ndarray) -> str:
        """Returns the labels of an image: names, with shares where they are mixed."""
        shares = [
            markdown.escape(name) + ("" if label == 1 else " (unknown)" if label >= UNKNOWN else f" {label:.0%}")
            for name, label in zip(self._classes, labels.tolist(), strict=True)
            if label
        ]
        return ", ".join(shares[:MOST_CLASSES]) or "none"


class _Events:
    """A file of events, which is written to and closed again each time, so that all of it is on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None

    def begin(self, step: int) -> bool:
        """Makes the file, and removes from earlier files what they have of this step and of later ones.

        Returns:
            whether there are earlier files.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        earlier = sorted(self._folder.glob(f"{_NAME}*"))
        # TensorBoard reads files in the order of their names.
        number = int(earlier[-1].suffix[1:]) + 1 if earlier else 0
        self._path = self._folder / f"{_NAME}{number:06d}"
        for path in earlier:
            _cut(path, step)
        # A TensorBoard that has read more of the earlier files drops it at this mark.
        self._append(
            Event(file_version="brain.Event:2"), Event(step=step, session_log=SessionLog(status=SessionLog.START))
        )
        return bool(earlier)

    def write(self, step: int, *summaries: Any) -> None:
        """Writes what there is of a step."""
        self._append(*(Event(step=step, summary=_own(summary)) for summary in summaries))

    def _append(self, *events: Event) -> None:
        assert self._path
        records = io.BytesIO()
        for event in events:
            event.wall_time = time.time()
            ShardWriter(records).write(event.SerializeToString())
        with open(self._path, "ab") as file:
            file.write(records.getvalue())


def _cut(path: Path, step: int) -> None:
    """Shortens a file to the events before a step, which are whole; a process may have been killed while it wrote."""
    kept = 0
    with path.open("rb") as file, contextlib.suppress(RecordError):
        reader = ShardReader(file)
        for _, payload in reader:
            if Event.FromString(payload).step >= step:
                break
            kept = reader.file_bytes
    if kept:
        os.truncate(path, kept)
    else:
        path.unlink()


def _own(summary: Any) -> Summary:
    """Returns a summary as a message of TensorBoard's own: with TensorFlow, some are messages of that."""
    return Summary.FromString(summary.SerializeToString())


def _hparams(config: TrainConfig, dataset: str) -> dict[str, str | float | bool]:
    """Returns the settings of a run, as TensorBoard takes them, and the name of its data."""
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in _NOT_SHOWN}
    shown = {name: value if isinstance(value, bool | int | float) else _joined(value) for name, value in values.items()}
    return {**shown, **({"dataset": dataset} if dataset else {})}


def _joined(value: Any) -> str:
    """Returns a value as it stands on a command line: `3,1`, `32x50,64x30`."""
    if isinstance(value, list | tuple):
        return ",".join(
            "x".join(f"{one:g}" for one in part) if isinstance(part, tuple) else str(part) for part in value
        )
    return str(value)


def _grid(images: np.ndarray) -> np.ndarray:
    """Returns images beside and below each other: uint8 [height, width, 3], white where there is none."""
    pixels = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    rows = -(-len(pixels) // _COLUMNS)
    height, width = pixels.shape[1:3]
    cells = np.full((rows * _COLUMNS, height, width, 3), 255, np.uint8)
    cells[: len(pixels)] = pixels
    return cells.reshape(rows, _COLUMNS, height, width, 3).swapaxes(1, 2).reshape(rows * height, _COLUMNS * width, 3)


def _picture(name: str, pixels: np.ndarray, description: str) -> Summary:
    """Returns the summary of a picture, uint8 [height, width, 3]."""
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    picture.save(file, "PNG")
    return _encoded(name, picture.size, file.getvalue(), description)


def _encoded(name: str, size: tuple[int, int], png: bytes, description: str) -> Summary:
    """Returns the summary of an encoded picture: its width and height in pixels, and the bytes of the PNG."""
    width, height = size
    texts = np.array([str(width).encode(), str(height).encode(), png], dtype=object)
    return Summary(
        value=[
            Summary.Value(
                tag=name,
                metadata=image_metadata.create_summary_metadata(display_name=None, description=description),
                tensor=tensor_util.make_tensor_proto(texts, dtype=np.object_),
            )
        ]
    )
