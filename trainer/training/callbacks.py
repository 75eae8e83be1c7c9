"""Lists the callbacks of a training in their order, and ends a run whose loss is NaN or infinite."""

import math
from typing import Any

import keras

from multihot.errors import UserError
from trainer.report.tensorboard import TensorBoard
from trainer.training.validation import Validate


def in_order(
    validate: Validate, tensorboard: TensorBoard, report: keras.callbacks.Callback
) -> list[keras.callbacks.Callback]:
    """Returns all callbacks of a run, in the order in which they are called after an epoch.

    Args:
        validate: adds the validation loss to the logs, which those after it read.
        tensorboard: writes the logs.
        report: prints the throughput.
    """
    return [validate, StopOnNonFiniteLoss(), tensorboard, report]


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends a run whose loss is NaN or infinite: no later result of it could be used."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers the number of the epoch for the message."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the training loss.

        Raises:
            UserError: the loss is NaN or infinite.
        """
        self._check("loss", (logs or {}).get("loss", 0.0), f"step {batch + 1} of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the validation loss: the last step of an epoch may have broken the weights.

        Raises:
            UserError: the loss is NaN or infinite.
        """
        self._check("validation loss", (logs or {}).get("val_loss", 0.0), f"epoch {epoch + 1}")

    def _check(self, name: str, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            raise UserError(
                f"The {name} is {loss} after {where}: training cannot go on. Try a lower --learning_rate, with "
                "--overwrite."
            )
