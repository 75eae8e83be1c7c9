"""The message of an interrupted training names the files that can be used, and how to go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from trainer import leftovers, run_folder
from trainer.caching import Plan
from trainer.checkpoints import Checkpoints
from trainer.config import TrainConfig
from trainer.leftovers import Leftovers

Config = Callable[..., TrainConfig]
CHECKOUT = Path(__file__).parents[2]
AGAIN = "The same command with --overwrite deletes them and starts again."


@pytest.fixture
def left(config: Config, tmp_path: Path) -> Leftovers:
    """The leftovers of a run that has begun to train, and caches nothing."""
    asked = config(epochs=40)
    with run_folder.claimed(asked.output, overwrite=False) as folder:
        folder.begin({})
    found = Leftovers(asked, folder)
    found.plan = Plan("none", False, "")
    found.checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    return found


def test_a_run_without_a_checkpoint(left: Leftovers, tmp_path: Path) -> None:
    assert left.describe().splitlines() == [
        f"{tmp_path}/run holds no checkpoint yet: no epoch has ended. The same command with --overwrite starts again.",
        f"To clear it: rm -r {tmp_path}/run",
    ]


def test_the_epochs_of_the_checkpoints_are_told(left: Leftovers, tmp_path: Path) -> None:
    assert left.checkpoints
    left.checkpoints.set_model(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))
    for epoch, loss in enumerate([0.5, 0.4, 0.6]):
        left.checkpoints.on_epoch_end(epoch, {"val_loss": loss})
    kept = f"Kept in {tmp_path}/run: checkpoints/last.keras of epoch 3 and checkpoints/best.keras of epoch 2 of 40"
    on = f"Training does not go on from a checkpoint yet. {AGAIN}"
    assert left.describe().splitlines() == [f"{kept}.", on]
    left.plan = Plan("features", True, "")
    assert left.describe().splitlines() == [
        f"{kept}. They hold the head alone, whose inputs are the cached features.",
        on,
        "The caches on disk are kept: the next run finds them.",
    ]
    (tmp_path / "run/model.keras").touch()
    left.plan = None
    assert left.describe() == f"Kept in {tmp_path}/run: model.keras, trained to the end, but not evaluated. {AGAIN}"
    (tmp_path / "run/evaluation.json").touch()
    assert "is trained and evaluated" in left.describe()


def test_a_run_that_has_not_begun(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config()
    with run_folder.claimed(asked.output, overwrite=False) as folder:
        assert Leftovers(asked, folder).describe() == ""  # It has failed, and its error says all.
        monkeypatch.setattr(leftovers.signals, "received", lambda: signal.SIGTERM)
        assert Leftovers(asked, folder).describe() == "Training had not begun. The same command starts again."


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["Cache: ", "Model: ", "Epoch 3/"], ids=["building", "first epoch", "third epoch"])
def test_an_interrupted_training_says_what_can_be_used(
    moment: str, sent: int, status: int, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = [f"--data={data}", f"--output={run}", "--image_size=32", "--epochs=1000", "--augment=none"]
    command = [sys.executable, "-m", "trainer", *flags]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as program:  # fmt: skip
        assert program.stdout
        for line in program.stdout:
            if line.startswith(moment):
                break
        start = time.monotonic()
        program.send_signal(sent)
        said = program.communicate(timeout=60)[1].splitlines()
        assert time.monotonic() - start < 30
    assert program.returncode == status, said
    assert said[0] == "Interrupted."
    if moment == "Cache: ":
        assert said[1:] in (
            ["Training had not begun. The same command starts again."],
            [
                f"{run} holds no checkpoint yet: no epoch has ended. The same command with --overwrite starts again.",
                f"To clear it: rm -r {run}",
            ],
        )
        assert run.exists() == ("begun" not in said[1])
    elif "holds no checkpoint" in said[1]:
        assert moment == "Model: "
        assert not (run / "checkpoints" / "last.keras").exists()
    else:
        assert said[1].startswith(f"Kept in {run}: checkpoints/last.keras of epoch ")
        for path in (run / "checkpoints").iterdir():
            assert not path.name.startswith(".")
            assert keras.saving.load_model(path, compile=False).input.shape == (None, 32, 32, 3)
