"""Evaluates the validation split after each epoch, and says when a run whose loss gets no better ends."""

import math
from typing import Any

import keras
import tensorflow as tf

from trainer import metrics
from trainer.inference import Predictor
from trainer.metrics import Predictions
from trainer.training.history import History

LOSS = "val_loss"
MEAN_AVERAGE_PRECISION = "val_mean_average_precision"


class Validate(keras.callbacks.Callback):
    """Evaluates the validation split after each epoch, and adds two metrics to the logs of the epoch.

    It has to be the first callback: those after it read the logs. A mean average precision that is undefined is left
    out of them, since neither Keras nor TensorBoard takes None.
    """

    def __init__(self, dataset: tf.data.Dataset, num_examples: int, *, flip: bool = False) -> None:
        """Prepares to evaluate a split.

        Args:
            dataset: its batches, images or features and labels.
            num_examples: in it.
            flip: whether scores are means of those of an image and its mirror image.
        """
        super().__init__()
        self._dataset, self._num_examples, self._flip = dataset, num_examples, flip
        self._predictor: Predictor | None = None
        self._predictions: Predictions | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Forgets the predictions of the epoch before: the weights change."""
        self._predictions = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the loss and, where it is defined, the mean average precision."""
        predictions = self.predictions()
        assert logs is not None
        assert predictions.loss is not None
        logs[LOSS] = predictions.loss
        # Scores that are NaN have no order. The run ends because of its loss.
        if math.isfinite(predictions.loss):
            mean = metrics.mean(metrics.average_precisions(predictions))
            logs |= {} if mean is None else {MEAN_AVERAGE_PRECISION: mean}

    def predictions(self) -> Predictions:
        """Returns the predictions for the split: after an epoch, those from which its logs were computed."""
        if self._predictions is None:
            self._predictor = self._predictor or Predictor(
                self.model, self._dataset, self._num_examples, flip=self._flip
            )
            self._predictions = self._predictor()
        return self._predictions


def is_best(history: History) -> bool:
    """Returns whether the validation loss of the last epoch is lower than all before it."""
    *before, last = _losses(history)
    return last < min(before, default=math.inf)


def should_stop(history: History, patience: int) -> bool:
    """Returns whether a run ends, since its validation loss has not become lower for some epochs.

    Args:
        history: of the epochs so far.
        patience: number of these epochs; 0: a run never ends so.
    """
    losses = _losses(history)
    return bool(patience) and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])


def _losses(history: History) -> list[float]:
    return [loss for loss in history.get(LOSS, []) if loss is not None]
