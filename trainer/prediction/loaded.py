"""Defines the object that `trainer.load_model` returns: a model for photographs, as in docs/using.md."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from multihot import storage
from multihot.errors import UserError
from trainer import finished_run
from trainer.model_file import ModelInfo
from trainer.prediction import scoring
from trainer.prediction.reading import Reader
from trainer.prediction.scoring import Scores

# Images that the model gets at a time.
_BATCH = 32


class Prediction(NamedTuple):
    """The prediction of a model for an image.

    Attributes:
        probabilities: of each class, by its name, in the order of the outputs.
        labels: names of the classes whose probability reaches their threshold.
    """

    probabilities: dict[str, float]
    labels: tuple[str, ...]


class LoadedModel:
    """The model of a run, for images in any form.

    Attributes:
        network: the model of Keras: images [batch, size, size, 3], 0 to 255 -> probabilities [batch, k].
        info: class names, size of the images, thresholds.
    """

    def __init__(self, network: keras.Model, info: ModelInfo) -> None:
        self.network, self.info = network, info
        self._scores, self._reader = Scores(network, info), Reader(info)

    def __call__(self, image: Any) -> Prediction:
        """Returns the prediction for one image: see `predict`."""
        return self.predict([image])[0]

    def predict(self, images: Sequence[Any]) -> list[Prediction]:
        """Returns a prediction for each image.

        Args:
            images: each of them a path of a file, also in a store; the bytes of a file; or an array [height, width, 3]
                of any size, uint8 or other numbers from 0 to 255. An array [n, height, width, 3] is n images.

        Raises:
            UserError: an image cannot be decoded, or an array has another shape or range; or there is one path or one
                file in place of a list.
        """
        if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview):  # Of a string, each letter is one.
            raise UserError("predict takes a list of images. For one image, call the model: model(image)")
        predictions = []
        for start in range(0, len(images), _BATCH):
            some = [self._image(image, start + i) for i, image in enumerate(images[start : start + _BATCH])]
            predictions += [self._prediction(scores) for scores in self._scores(np.stack(some))]
        return predictions

    def _prediction(self, scores: npt.NDArray[np.float32]) -> Prediction:
        named = dict(zip(self.info.classes, scores.tolist(), strict=True))
        return Prediction(named, scoring.labels(scores, self.info))

    def _image(self, image: Any, number: int) -> npt.NDArray[np.uint8]:
        """Returns an image of the size of the model: uint8 [size, size, 3]."""
        if isinstance(image, str | os.PathLike):
            path = os.fspath(image)
            return self._decoded(path, lambda: storage.read(path))
        if isinstance(image, bytes | bytearray | memoryview):
            return self._decoded(f"Image {number}", lambda: bytes(image))
        return self._reader.fit(_pixels(np.asarray(image), number))

    def _decoded(self, name: str, read: Callable[[], bytes]) -> npt.NDArray[np.uint8]:
        batch = self._reader.batch([(name, read)])
        if fault := batch.faults[0]:
            raise UserError(f"{name} cannot be used: {fault.reason}: {fault.detail}")
        return batch.images[0]


def load_model(run: str | os.PathLike[str]) -> LoadedModel:
    """Returns the model of a finished run, which takes paths, bytes or arrays.

    Args:
        run: folder of the run: the --output of a training.

    Raises:
        UserError: the folder holds no finished run, or its model cannot be loaded.
    """
    found = finished_run.find(os.fspath(run))
    return LoadedModel(found.load_model(), found.info)


def _pixels(array: npt.NDArray[Any], number: int) -> npt.NDArray[np.uint8]:
    """Returns an image as uint8 [height, width, 3], and checks its shape and its range."""
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UserError(
            f"Image {number} must be an array [height, width, 3] of red, green and blue. Received: {list(array.shape)}"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise UserError(f"Image {number} must have numbers from 0 to 255. Received: an array of {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 255):  # NaN is neither.
        raise UserError(f"Image {number} must have numbers from 0 to 255. Received: {low:g} to {high:g}")
    if 0 < high <= 1:
        raise UserError(
            f"Image {number} has numbers from 0 to {high:g}, and the model takes 0 to 255: multiply it by 255."
        )
    return np.floor(array + 0.5).clip(0, 255).astype(np.uint8)
