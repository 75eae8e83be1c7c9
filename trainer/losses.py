"""Defines the losses of a run. Unknown labels have no part in any of them.

In the label vectors of a pipeline, from parsing to the loss, a label is 0, 1, between both if it was mixed, or
example.UNKNOWN. One tensor has all of it, so that no cache, shuffle or batch has a second one. Keras alone cannot leave
out single labels: its sample weights are those of whole examples.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from multihot.errors import UserError
from schemas.example import UNKNOWN
from schemas.statistics import Statistics
from trainer.config import TrainConfig
from trainer.sources import Sources, num_known

SOFTMAX = "categorical_crossentropy"
# The losses of Keras that files of models name: programs that load a model do not need this package.
_OF_KERAS = {
    "binary_crossentropy": "binary_crossentropy",
    "asymmetric": "binary_crossentropy",
    SOFTMAX: SOFTMAX,
}
# Exponent for negative labels, and the probability up to which they have no loss, of the asymmetric loss: those of
# Ridnik et al. 2021. The exponent for positive labels is 0.
_NEGATIVE_FOCUS, _MARGIN = 4.0, 0.05


def of_run(config: TrainConfig, data: Sources) -> "str | LabelLoss":
    """Returns the loss to compile a model with.

    Raises:
        UserError: a softmax is to have weights of positive labels.
    """
    return make(config, data.split(config.train_split).statistics, has_unknown=data.has_unknown)


def make(config: TrainConfig, statistics: Statistics, *, has_unknown: bool) -> "str | LabelLoss":
    """Returns the loss to compile a model with: that of Keras, by its name, if it is the same.

    Args:
        config: of the run.
        statistics: of the training split.
        has_unknown: whether labels may be UNKNOWN, in any split.

    Raises:
        UserError: a softmax is to have weights of positive labels.
    """
    weights = None
    if config.positive_weights == "balanced":
        if config.loss == SOFTMAX:
            raise UserError(
                f"--positive_weights=balanced needs a sigmoid for each class. Received: --loss={config.loss}"
            )
        weights = balanced_weights(statistics)
    is_plain = config.loss in ("binary_crossentropy", SOFTMAX) and not config.label_smoothing
    if is_plain and weights is None and not has_unknown:
        return config.loss
    return LabelLoss(config.loss, weights=weights, label_smoothing=config.label_smoothing, has_unknown=has_unknown)


def of_keras(config: TrainConfig) -> str:
    """Returns the name of the loss of Keras that is nearest to that of a run: other programs know no other."""
    return _OF_KERAS[config.loss]


def balanced_weights(statistics: Statistics) -> np.ndarray:
    """Returns the weights of labels with which positives and negatives of a class count the same in a loss.

    Their mean over the labels is 1, so that all classes count the same too. A class of which all known labels are of
    one kind has weights of 1.

    Args:
        statistics: of the training split; only known labels count.

    Returns:
        float64 [2, k]: of negative and of positive labels.
    """
    known = np.asarray(num_known(statistics), float)
    positives = np.asarray(statistics.positives, float)
    numbers = np.stack([known - positives, positives])
    return np.where(numbers.all(axis=0), known / np.maximum(2 * numbers, 1), 1.0)


def prior_logits(config: TrainConfig, statistics: Statistics) -> np.ndarray:
    """Returns the logits with which an untrained head has the lowest loss, so that they are not learned.

    For binary_crossentropy without weights, they are the log odds of the classes.

    Args:
        config: of the run.
        statistics: of the training split.

    Returns:
        float64 [k]; zeros for a softmax.
    """
    if config.loss == SOFTMAX:
        return np.zeros(len(statistics.positives))
    # One more of each kind, so that a class that all or none have stays finite.
    positives = np.asarray(statistics.positives, float) + 1
    share = positives / (np.asarray(num_known(statistics)) + 2)
    share = share * (1 - config.label_smoothing) + config.label_smoothing / 2
    weights = balanced_weights(statistics) if config.positive_weights == "balanced" else np.ones((2, len(share)))
    log_odds = np.log(weights[1] * share) - np.log(weights[0] * (1 - share))
    if config.loss == "binary_crossentropy":
        return log_odds
    # The loss is lowest where the slopes of both kinds of labels cancel each other out: a ratio that grows with the
    # logit, and that is the odds for binary_crossentropy. The asymmetric loss of a class that nearly all images have
    # falls without end: its prior is the last of these logits.
    logits = tf.linspace(-7.0, 7.0, 1401)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        negative, positive = _terms(config.loss, keras.activations.sigmoid(logits))
    slopes = [np.abs(tape.gradient(term, logits).numpy().astype(float)) for term in (negative, positive)]
    inside = slopes[0] > 0
    return np.interp(log_odds, np.log(slopes[0][inside]) - np.log(slopes[1][inside]), logits.numpy()[inside])


class LabelLoss(keras.losses.Loss):
    """A loss without the unknown labels. If all labels of a batch are known, it is a mean as that of Keras.

    The losses of a sigmoid (binary_crossentropy, asymmetric) are the mean over the known labels of a batch, in
    which each of them counts the same. With a mean for each image first, the only known label of an image would count
    as much as all labels of another one. The loss of a label between 0 and 1 is between those of both, as in mixup.

    categorical_crossentropy is the mean over the images of a batch of which all labels are known. A softmax spreads one
    probability over all classes, so that no class can be left out of it: the others would get its share.

    A batch of which no label counts has a loss of 0, and changes nothing.
    """

    def __init__(
        self,
        loss: str,
        *,
        weights: np.ndarray | Sequence[Sequence[float]] | None = None,
        label_smoothing: float = 0.0,
        has_unknown: bool = True,
    ) -> None:
        """Prepares a loss.

        Args:
            loss: one of the values of TrainConfig.loss.
            weights: [2, k], of negative and of positive labels; by default 1. Not for a softmax.
            label_smoothing: share by which labels are moved to 0.5; for a softmax to 1 / k.
            has_unknown: whether labels may be UNKNOWN.
        """
        super().__init__(name=loss)
        self.has_unknown = has_unknown
        self._weights = None if weights is None else np.asarray(weights, np.float32)
        self._smoothing = label_smoothing

    def call(self, labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        """Returns the mean over all that counts, as a scalar: the mean that Keras takes of it changes nothing.

        Args:
            labels: float32 [batch, k], 0 to 1 or UNKNOWN.
            scores: float32 [batch, k], probabilities.
        """
        counts = self.counts(labels)
        known = tf.where(labels < UNKNOWN, labels, 0.0)
        # The gradient of what `where` leaves out is exactly 0.
        losses = tf.where(counts, self._losses(known, scores), 0.0)
        return tf.reduce_sum(losses) / tf.maximum(tf.reduce_sum(tf.cast(counts, losses.dtype)), 1.0)

    def _losses(self, labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each label, or for a softmax of each image."""
        if self.name == SOFTMAX:
            smooth = labels * (1 - self._smoothing) + self._smoothing / labels.shape[1]
            return keras.ops.categorical_crossentropy(smooth, scores)
        smooth = labels * (1 - self._smoothing) + self._smoothing / 2
        negative, positive = _terms(self.name, scores)
        if self._weights is not None:
            negative, positive = negative * self._weights[0], positive * self._weights[1]
        return (1.0 - smooth) * negative + smooth * positive

    def counts(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns which elements the mean is over: bool [batch, k] of labels, or bool [batch] of images."""
        known = labels < UNKNOWN
        return tf.reduce_all(known, axis=1) if self.name == SOFTMAX else known

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            "loss": self.name,
            "weights": None if self._weights is None else self._weights.tolist(),
            "label_smoothing": self._smoothing,
            "has_unknown": self.has_unknown,
        }


def log_probabilities(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the logarithms of 1 - p and of p, of the probabilities p of sigmoids.

    Keras computes them from the logits, where probabilities would be rounded to 0 or 1.
    """
    return (
        -keras.ops.binary_crossentropy(tf.zeros_like(scores), scores),
        -keras.ops.binary_crossentropy(tf.ones_like(scores), scores),
    )


def _terms(loss: str, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the loss of a sigmoid if its label is 0, and if it is 1."""
    log_complement, log_score = log_probabilities(scores)
    if loss == "asymmetric":
        shifted = tf.nn.relu(tf.exp(log_score) - _MARGIN)
        return -(shifted**_NEGATIVE_FOCUS) * tf.math.log1p(-shifted), -log_score
    return -log_complement, -log_score
