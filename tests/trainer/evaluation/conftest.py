"""Trains a small model once, for the tests of evaluations."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer import finished_run, train
from trainer.config import TrainConfig
from trainer.finished_run import FinishedRun


@pytest.fixture(scope="session")
def finished(recipe: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the drawn dataset, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    train.train_and_evaluate(
        recipe("", image_size=32, epochs=1, batch_size=16, output=str(folder), train_sizes=((32, 1.0),))
    )
    return folder


@pytest.fixture
def run(finished: Path) -> FinishedRun:
    """The run."""
    return finished_run.find(str(finished))
