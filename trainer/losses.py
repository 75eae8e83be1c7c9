"""Defines the loss of a run: that of Keras, in which unknown labels have no part.

In the label vectors of a pipeline, from parsing to the loss, a label is 0, 1, between both if it was mixed, or
example.UNKNOWN. One tensor has all of it, so that no cache, shuffle or batch has a second one. Keras alone cannot leave
out single labels: its sample weights are those of whole examples.
"""

from typing import Any

import keras
import tensorflow as tf

from schemas.example import UNKNOWN
from trainer.config import TrainConfig
from trainer.sources import Sources


def of_run(config: TrainConfig, data: Sources) -> "str | Masked":
    """Returns the loss to compile a model with: that of Keras, by its name, if all labels of the run are known."""
    return Masked(config.loss) if data.has_unknown else config.loss


def set_loss(network: keras.Model, loss: str) -> None:
    """Lets the files of a compiled model name a loss of Keras: programs that load the model do not need this package.

    Args:
        network: compiled with a masked loss.
        loss: name of the loss of Keras, which has the same values where all labels are known.
    """
    network.get_compile_config = lambda: {**type(network).get_compile_config(network), "loss": loss}


class Masked(keras.losses.Loss):
    """A loss of Keras, without the unknown labels. If all labels of a batch are known, its value is that of Keras.

    binary_crossentropy is the mean over the known labels of a batch, in which each of them has the same weight. With a
    mean for each image first, the only known label of an image would have the weight of all labels of another one.

    categorical_crossentropy is the mean over the images of a batch of which all labels are known. A softmax spreads one
    probability over all classes, so that no class can be left out of it: the others would get its share.

    A batch of which no label counts has a loss of 0, and changes nothing.
    """

    def __init__(self, loss: str) -> None:
        """Prepares a loss.

        Args:
            loss: `binary_crossentropy` or `categorical_crossentropy`.
        """
        super().__init__(name=loss)

    def call(self, labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        """Returns the mean over all that counts, as a scalar: the mean that Keras takes of it changes nothing.

        Args:
            labels: float32 [batch, k], 0 to 1 or UNKNOWN.
            scores: float32 [batch, k], probabilities.
        """
        loss = (
            keras.ops.binary_crossentropy if self.name == "binary_crossentropy" else keras.ops.categorical_crossentropy
        )
        counts = self.counts(labels)
        # The gradient of what `where` leaves out is exactly 0.
        losses = tf.where(counts, loss(tf.where(labels < UNKNOWN, labels, 0.0), scores), 0.0)
        return tf.reduce_sum(losses) / tf.maximum(tf.reduce_sum(tf.cast(counts, losses.dtype)), 1.0)

    def counts(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns which elements the mean is over: bool [batch, k] of labels, or bool [batch] of images."""
        known = labels < UNKNOWN
        return known if self.name == "binary_crossentropy" else tf.reduce_all(known, axis=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"loss": self.name}
