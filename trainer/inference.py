"""Runs a model over batches, and returns the labels and the scores of all examples."""

import keras
import numpy as np
import tensorflow as tf

from multihot import signals
from trainer.metrics import Predictions


class Predictor:
    """Runs a model over a dataset, every example once, as often as it is called."""

    def __init__(self, model: keras.Model, dataset: tf.data.Dataset, num_examples: int) -> None:
        """Prepares to run a model.

        Args:
            model: images -> probabilities [batch, k], with or without a loss.
            dataset: finite, of batches (images, labels [batch, k]).
            num_examples: in the dataset.
        """
        self._dataset, self._num_examples = dataset, num_examples
        has_loss = self._has_loss = model.compiled

        def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            scores = model(images, training=False)
            # The loss that Keras minimizes: of the logits, where probabilities would be rounded to 0 or 1.
            loss = model.compute_loss(images, labels, scores, training=False) if has_loss else tf.constant(np.nan)
            return scores, loss

        # Traced once. Without XLA, which would compile once more for a last batch that is smaller.
        self._step = tf.function(step, input_signature=dataset.element_spec)

    def __call__(self) -> Predictions:
        """Returns the predictions of the model as it is now: 5 bytes for each example and class.

        Raises:
            ValueError: the dataset does not have `num_examples` examples.
        """
        arrays: list[np.ndarray] = []
        done, loss = 0, 0.0
        for images, labels in self._dataset:
            signals.check()
            scores, batch_loss = self._step(images, labels)
            if not arrays:  # Of their full size from the start: parts that are put together take twice the memory.
                arrays.append(np.empty((self._num_examples, *labels.shape[1:]), np.bool_))
                arrays.append(np.empty((self._num_examples, *scores.shape[1:]), np.float32))
            part = slice(done, done + len(labels))
            arrays[0][part], arrays[1][part] = labels.numpy() > 0, scores.numpy()
            loss += float(batch_loss) * len(labels)
            done = part.stop
        if done != self._num_examples:
            raise ValueError(f"The dataset has {done} examples. Expected: {self._num_examples}")
        return Predictions(labels=arrays[0], scores=arrays[1], loss=loss / done if self._has_loss else None)
