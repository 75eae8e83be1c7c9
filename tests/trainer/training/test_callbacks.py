"""A run whose loss is NaN or infinite ends, and its message names the step."""

import math

import pytest

from multihot.errors import UserError
from trainer.training import callbacks


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_nan_or_infinite_is_told_with_its_step(loss: float) -> None:
    callback = callbacks.StopOnNonFiniteLoss()
    callback.on_epoch_begin(2)
    callback.on_train_batch_end(5, {"loss": 0.3})
    with pytest.raises(UserError, match=rf"^The loss is {loss} after step 7 of epoch 3: .*--learning_rate"):
        callback.on_train_batch_end(6, {"loss": loss})


def test_a_last_step_that_breaks_the_weights_is_told_by_the_validation_loss() -> None:
    callback = callbacks.StopOnNonFiniteLoss()
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"loss": 0.3, "val_loss": 0.4})
    with pytest.raises(UserError, match=r"^The validation loss is nan after epoch 1: .*--learning_rate"):
        callback.on_epoch_end(0, {"loss": 0.3, "val_loss": math.nan})
