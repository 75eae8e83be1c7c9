"""A finished run, for the tests of predictions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer import train
from trainer.config import TrainConfig


@pytest.fixture(scope="session")
def finished(recipe: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    changes = {"image_size": 16, "epochs": 1, "batch_size": 16, "test_time_flip": True}
    train.train_and_evaluate(recipe("", output=str(folder), **changes))
    return folder
