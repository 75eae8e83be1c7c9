"""Runs a model over batches, and returns the labels and the scores of all examples."""

import keras
import numpy as np
import tensorflow as tf

from multihot import signals
from multihot.errors import UserError
from schemas.example import UNKNOWN
from trainer import losses
from trainer.losses import LabelLoss
from trainer.metrics import Predictions

# A probability that float32 still has in full precision.
_LEAST = 1e-37


class Predictor:
    """Runs a model over a dataset, every example once, as often as it is called."""

    def __init__(self, model: keras.Model, dataset: tf.data.Dataset, num_examples: int, *, flip: bool = False) -> None:
        """Prepares to run a model.

        Args:
            model: images -> probabilities [batch, k], with or without a loss.
            dataset: finite, of batches (images, labels [batch, k]). Labels may be UNKNOWN if the loss of the model
                leaves them out.
            num_examples: in the dataset.
            flip: whether a score is the mean of those of an image and its mirror image. Features have no mirror image:
                their scores are those of the images as they are.
        """
        self._dataset, self._num_examples = dataset, num_examples
        has_loss = self._has_loss = model.compiled
        loss = model.loss if has_loss and isinstance(model.loss, LabelLoss) else None
        self._masked = loss if loss and loss.has_unknown else None
        of_images = len(dataset.element_spec[0].shape) == 4
        is_softmax = has_loss and getattr(model.loss, "name", model.loss) == losses.SOFTMAX
        mean = _softmax_mean if is_softmax else _sigmoid_mean

        def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            scores = model(images, training=False)
            if flip and of_images:
                scores = mean(scores, model(tf.reverse(images, [2]), training=False))
            # The loss that Keras minimizes: of the logits, where probabilities would be rounded to 0 or 1.
            loss = model.compute_loss(images, labels, scores, training=False) if has_loss else tf.constant(np.nan)
            # In the scope of a strategy, Keras divides it among the replicas; here each computes whole batches.
            loss *= tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, loss.dtype)
            return scores, loss

        # Traced once. Without XLA, which would compile once more for a last batch that is smaller.
        self._step = tf.function(step, input_signature=dataset.element_spec)

    def __call__(self) -> Predictions:
        """Returns the predictions of the model as it is now: 5 bytes for each example and class, 6 with a mask.

        Raises:
            UserError: no label counts in the loss.
            ValueError: the dataset does not have `num_examples` examples.
        """
        arrays: list[np.ndarray] = []
        done, loss, weights = 0, 0.0, 0
        for images, labels in self._dataset:
            signals.check()
            scores, batch_loss = self._step(images, labels)
            if not arrays:  # Of their full size from the start: parts that are put together take twice the memory.
                arrays.append(np.empty((self._num_examples, *labels.shape[1:]), np.bool_))
                arrays.append(np.empty((self._num_examples, *scores.shape[1:]), np.float32))
                if self._masked:
                    arrays.append(np.empty_like(arrays[0]))
            part = slice(done, done + len(labels))
            arrays[0][part], arrays[1][part] = labels.numpy() > 0, scores.numpy()
            weight = len(labels)
            if self._masked:
                arrays[2][part] = labels.numpy() < UNKNOWN
                arrays[0][part] &= arrays[2][part]
                weight = int(tf.math.count_nonzero(self._masked.counts(labels)))
            loss, weights = loss + float(batch_loss) * weight, weights + weight
            done = part.stop
        if done != self._num_examples:
            raise ValueError(f"The dataset has {done} examples. Expected: {self._num_examples}")
        if not weights:
            raise UserError(
                "Every image of the split to evaluate on has an unknown label: --loss=categorical_crossentropy is "
                "undefined there. Use --loss=binary_crossentropy."
            )
        known = arrays[2] if self._masked else None
        mean = loss / weights if self._has_loss else None
        return Predictions(labels=arrays[0], scores=arrays[1], known=known, loss=mean)


def _sigmoid_mean(scores: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Returns the mean of two batches of probabilities of sigmoids, of which the loss is as exact as of each of them.

    Keras takes the loss of a sigmoid of its logits, since probabilities are rounded to 0 or 1. So the mean is taken of
    logarithms, and is itself a sigmoid.
    """
    pairs = zip(losses.log_probabilities(scores), losses.log_probabilities(others), strict=True)
    log_complement, log_score = (tf.reduce_logsumexp(tf.stack(pair), axis=0) for pair in pairs)
    return keras.activations.sigmoid(log_score - log_complement)


def _softmax_mean(scores: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Returns the mean of two batches of probabilities of softmaxes; it is itself a softmax, for the same reason."""
    return keras.activations.softmax(tf.math.log(tf.maximum((scores + others) / 2, _LEAST)))
