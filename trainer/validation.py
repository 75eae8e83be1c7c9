"""Evaluates the validation split after each epoch, and says when a run whose loss gets no better ends."""

import math
from typing import Any

import keras
import tensorflow as tf

from trainer import metrics
from trainer.inference import Predictor
from trainer.metrics import Predictions

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


class EarlyStopping:
    """Ends a run whose validation loss has not become better for some epochs."""

    def __init__(self, patience: int) -> None:
        """Prepares to follow a run.

        Args:
            patience: epochs without a better loss after which the run ends; 0: it never ends so.
        """
        self._patience = patience
        self._lowest = math.inf
        self._epochs = 0

    def update(self, loss: float) -> None:
        """Notes the validation loss of an epoch."""
        self._epochs = 0 if loss < self._lowest else self._epochs + 1
        self._lowest = min(self._lowest, loss)

    @property
    def should_stop(self) -> bool:
        """Whether the run ends now."""
        return 0 < self._patience <= self._epochs

    def state(self) -> dict[str, Any]:
        """Returns all that later epochs depend on, for a checkpoint: values of JSON."""
        return {"lowest": self._lowest if math.isfinite(self._lowest) else None, "epochs": self._epochs}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from the state of an earlier process."""
        self._lowest = math.inf if state["lowest"] is None else state["lowest"]
        self._epochs = state["epochs"]
