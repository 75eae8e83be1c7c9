"""Saves checkpoints: after each epoch the model as it is then, and the best one so far."""

import math
import shutil
from pathlib import Path
from typing import Any

import keras

from trainer import run_folder

LAST, BEST = "last.keras", "best.keras"


class Checkpoints(keras.callbacks.Callback):
    """Saves after each epoch; a file that is there is always whole.

    Attributes:
        last_epoch: the epoch whose model is in last.keras, counted from 1; None before the first one has ended.
        best_epoch: the epoch whose model is in best.keras, the one with the lowest validation loss so far.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.last_epoch: int | None = None
        self.best_epoch: int | None = None
        self._folder = folder
        self._lowest = math.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the model."""
        self._folder.mkdir(exist_ok=True)
        with run_folder.atomic_file(self._folder / LAST) as path:
            self.model.save(path)
        self.last_epoch = epoch + 1
        loss = (logs or {}).get("val_loss", math.inf)
        if loss < self._lowest:
            with run_folder.atomic_file(self._folder / BEST) as path:
                shutil.copyfile(self._folder / LAST, path)
            self.best_epoch, self._lowest = epoch + 1, loss


def complete(folder: Path, network: keras.Model, head: keras.Model) -> None:
    """Replaces each checkpoint of a head by the whole model with the weights of this head.

    Args:
        folder: of the checkpoints.
        network: the whole model, which shares the weights of the head.
        head: the part that was trained.
    """
    weights = head.get_weights()
    for path in sorted(folder.glob("*.keras")):
        head.set_weights(keras.saving.load_model(path, compile=False).get_weights())
        with run_folder.atomic_file(path) as unfinished:
            network.save(unfinished)
    head.set_weights(weights)
