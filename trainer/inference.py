"""Runs a model over batches, and returns the labels and the scores of all examples."""

import keras
import numpy as np
import tensorflow as tf

from multihot import signals
from multihot.errors import UserError
from schemas.example import UNKNOWN
from trainer.losses import Masked
from trainer.metrics import Predictions


class Predictor:
    """Runs a model over a dataset, every example once, as often as it is called."""

    def __init__(self, model: keras.Model, dataset: tf.data.Dataset, num_examples: int) -> None:
        """Prepares to run a model.

        Args:
            model: images -> probabilities [batch, k], with or without a loss.
            dataset: finite, of batches (images, labels [batch, k]). Labels may be UNKNOWN if the loss of the model is
                masked.
            num_examples: in the dataset.
        """
        self._dataset, self._num_examples = dataset, num_examples
        has_loss = self._has_loss = model.compiled
        self._masked = model.loss if has_loss and isinstance(model.loss, Masked) else None

        def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            scores = model(images, training=False)
            # The loss that Keras minimizes: of the logits, where probabilities would be rounded to 0 or 1.
            loss = model.compute_loss(images, labels, scores, training=False) if has_loss else tf.constant(np.nan)
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
