"""Runs each file by its own runtime, and compares it with the predictions of the trainer on the same images."""

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from schemas.example import UNKNOWN
from trainer import metrics
from trainer.exporting import formats
from trainer.exporting.serving import BYTES, IMAGES, PROBABILITIES
from trainer.metrics import Predictions
from trainer.model_file import ModelInfo
from trainer.prediction import scoring
from trainer.prediction.reading import Reader
from trainer.prediction.scoring import Scores

# From an encoded image to its probabilities, float32 [k].
Run = Callable[[bytes], npt.NDArray[np.float32]]


class Images:
    """Images on which files are compared, with the probabilities that the trainer predicts."""

    def __init__(
        self, network: keras.Model, info: ModelInfo, encoded: Sequence[bytes], labels: npt.NDArray[np.float32]
    ) -> None:
        """Predicts on images.

        Args:
            network: images -> probabilities [batch, k].
            info: what it takes.
            encoded: the images, as a dataset has them.
            labels: of the images, float32 [n, k]; they may be unknown.
        """
        self.encoded, self._info, self._labels = encoded, info, labels
        reader, scores = Reader(info), Scores(network, info)
        self.expected = np.concatenate([scores(reader.decoded(data)) for data in encoded])

    def difference(self, predicted: npt.NDArray[np.float32]) -> dict[str, float | None]:
        """Returns how far probabilities, float32 [n, k], are from those of the trainer, and what that costs."""
        differences = np.abs(predicted - self.expected)
        labels = [scoring.labels(each, self._info) for each in (*predicted, *self.expected)]
        pairs = zip(labels[: len(predicted)], labels[len(predicted) :], strict=True)
        return {
            "images": len(predicted),
            "largest_difference": float(f"{differences.max():.3g}"),
            "mean_difference": float(f"{differences.mean():.3g}"),
            "images_with_other_labels": sum(one != other for one, other in pairs),
            "mean_average_precision": self._precision(predicted),
            "mean_average_precision_of_the_trainer": self._precision(self.expected),
        }

    def _precision(self, scores: npt.NDArray[np.float32]) -> float | None:
        """Returns the mean average precision; None if it is undefined."""
        known = self._labels < UNKNOWN
        predictions = Predictions(labels=(self._labels > 0) & known, scores=scores, known=known, loss=None)
        mean: float | None = metrics.evaluate(predictions, self._info.classes)["mean_average_precision"]
        return mean


def predicted(run: Run, encoded: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """Returns the probabilities of images, float32 [n, k]."""
    return np.stack([run(data) for data in encoded])


def runtime(name: str, path: Path, info: ModelInfo) -> tuple[str, Run] | None:
    """Returns the name and the version of the runtime of a format, and the function that runs the file.

    Args:
        name: of the format.
        path: of what was exported.
        info: what the model takes.

    Returns:
        None if the runtime is not installed.
    """
    try:
        return _RUNTIMES[name](path, info)
    except ImportError:
        return None


def _saved_model(path: Path, info: ModelInfo) -> tuple[str, Run]:
    signature = tf.saved_model.load(str(path / "1")).signatures["serving_default"]

    def run(data: bytes) -> npt.NDArray[np.float32]:
        scores: npt.NDArray[np.float32] = signature(**{BYTES: tf.constant([data])})[PROBABILITIES][0].numpy()
        return scores

    return f"tensorflow {tf.__version__}", run


def _keras(path: Path, info: ModelInfo) -> tuple[str, Run]:
    scores, reader = Scores(keras.saving.load_model(path, compile=False), info), Reader(info)
    return f"keras {keras.__version__}", lambda data: scores(reader.decoded(data))[0]


def _onnx(path: Path, info: ModelInfo) -> tuple[str, Run]:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return f"onnxruntime {onnxruntime.__version__}", lambda data: session.run(None, {IMAGES: _pixels(data)})[0][0]


def _litert(path: Path, info: ModelInfo) -> tuple[str, Run]:
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(model_path=str(path))
    given, taken = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    reader = Reader(info)

    def run(data: bytes) -> npt.NDArray[np.float32]:
        is_any = -1 in given["shape_signature"]
        pixels = _pixels(data) if is_any else reader.decoded(data)
        interpreter.resize_tensor_input(given["index"], pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], pixels)
        interpreter.invoke()
        scores: npt.NDArray[np.float32] = interpreter.get_tensor(taken["index"])[0]
        return scores

    return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}", run


_RUNTIMES = {
    formats.SAVED_MODEL: _saved_model,
    formats.KERAS: _keras,
    formats.ONNX: _onnx,
    formats.LITERT: _litert,
    formats.LITERT_INT8: _litert,
}


def _pixels(data: bytes) -> npt.NDArray[np.uint8]:
    """Returns all pixels of an image: uint8 [1, height, width, 3]."""
    image: npt.NDArray[np.uint8] = tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
    return image[np.newaxis]
