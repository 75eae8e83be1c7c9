"""Checkpoints keep the last epoch and the best one."""

from pathlib import Path

import keras
import numpy as np

from trainer.checkpoints import Checkpoints


def test_the_best_checkpoint_is_that_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    callback = Checkpoints(tmp_path / "checkpoints")
    callback.set_model(network)
    for epoch, val_loss in enumerate([0.5, 0.3, 0.4]):
        network.set_weights([np.array([[float(epoch)]])])
        callback.on_epoch_end(epoch, {"loss": 1 - val_loss, "val_loss": val_loss})
    assert (callback.last_epoch, callback.best_epoch) == (3, 2)
    kept = {path.name: keras.saving.load_model(path).get_weights()[0] for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {"best.keras": 1.0, "last.keras": 2.0}
