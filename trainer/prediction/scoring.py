"""Runs a model on batches of images."""

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.model_file import ModelInfo


class Scores:
    """Runs a model on images of its size, as often as it is called."""

    def __init__(self, network: keras.Model, info: ModelInfo) -> None:
        """Prepares to run a model.

        Args:
            network: images -> probabilities [batch, k].
            info: what the model takes.
        """
        self._num_classes = len(info.classes)
        spec = tf.TensorSpec([None, info.image_size, info.image_size, 3], tf.uint8)
        self._step = tf.function(lambda images: probabilities(network, info, images), input_signature=[spec])

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Returns the probabilities of the classes, float32 [n, k], of images uint8 [n, size, size, 3]."""
        if not len(images):  # Layers of Keras fail for a batch of none.
            return np.zeros((0, self._num_classes), np.float32)
        scores: npt.NDArray[np.float32] = self._step(images).numpy()
        return scores


def probabilities(network: keras.Model, info: ModelInfo, images: tf.Tensor) -> tf.Tensor:
    """Returns the probabilities of the classes as the evaluation of a run has them: float32 [n, k].

    Args:
        network: images -> probabilities [batch, k].
        info: what the model takes: whether a probability is the mean of those of an image and its mirror image.
        images: uint8 or float32 [n, size, size, 3], from 0 to 255.
    """
    scores = network(images, training=False)
    return (scores + network(tf.reverse(images, [2]), training=False)) / 2 if info.flip else scores


def labels(scores: npt.NDArray[np.float32], info: ModelInfo) -> tuple[str, ...]:
    """Returns the names of the classes whose probabilities, float32 [k], reach their thresholds."""
    reached = scores >= np.asarray(info.thresholds, np.float32)
    return tuple(info.classes[i] for i in np.flatnonzero(reached))
