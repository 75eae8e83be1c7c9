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

from trainer import run_folder
from trainer.config import TrainConfig
from trainer.input.caching import Plan
from trainer.training import leftovers
from trainer.training.checkpoints import Checkpoints
from trainer.training.leftovers import Leftovers

Config = Callable[..., TrainConfig]
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def left(config: Config, tmp_path: Path) -> Leftovers:
    """The leftovers of a run that has begun to train, and caches nothing."""
    asked = config(epochs=40)
    with run_folder.claimed(asked.output, overwrite=False) as folder:
        folder.begin({})
    found = Leftovers(asked, folder)
    found.plan = Plan("none", False, "")
    found.checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", 0)
    return found


def test_a_run_without_a_checkpoint(left: Leftovers, tmp_path: Path) -> None:
    assert left.describe().splitlines() == [
        f"{tmp_path}/run holds no checkpoint yet. The same command starts again.",
        f"To clear it: rm -r {tmp_path}/run",
    ]


@pytest.mark.parametrize(
    ("saved", "place"),
    [
        ((3, 0), "3 epochs"),
        ((1, 0), "1 epoch"),
        ((1, 1), "1 epoch and 1 step"),
        ((0, 7), "0 epochs and 7 steps"),
    ],
)
def test_the_command_that_goes_on_is_told(
    saved: tuple[int, int], place: str, left: Leftovers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--data=my data", "--overwrite", "--overwrite=true", "--output=run", "--nooverwrite"]
    monkeypatch.setattr(sys, "argv", ["trainer", *arguments])
    assert left.checkpoints
    left.checkpoints.saved = saved
    told = [
        f"Saved in {tmp_path}/run after {place}. This command goes on from there:",
        "python -m trainer '--data=my data' --output=run",
    ]
    assert left.describe().splitlines() == told
    left.plan = Plan("features", True, "")
    assert left.describe().splitlines() == [*told, "The caches on disk are kept: the next run finds them."]
    left.plan = None
    (tmp_path / "run/evaluation.json").touch()
    assert left.describe() == f"The run in {tmp_path}/run is trained and evaluated."


def test_a_run_that_has_not_begun(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config()
    with run_folder.claimed(asked.output, overwrite=False) as folder:
        assert Leftovers(asked, folder).describe() == ""  # It has failed, and its error says all.
        monkeypatch.setattr(leftovers.signals, "received", lambda: signal.SIGTERM)
        assert Leftovers(asked, folder).describe() == "Training had not begun. The same command starts again."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "sent", "status"),
    [
        pytest.param("Cache: ", signal.SIGINT, 130, id="building, SIGINT"),
        pytest.param("Cache: ", signal.SIGTERM, 143, id="building, SIGTERM", marks=pytest.mark.extended),
        pytest.param("Model: ", signal.SIGINT, 130, id="first epoch, SIGINT", marks=pytest.mark.extended),
        pytest.param("Model: ", signal.SIGTERM, 143, id="first epoch, SIGTERM"),
        pytest.param("Epoch 2/", signal.SIGINT, 130, id="third epoch, SIGINT"),
        pytest.param("Epoch 2/", signal.SIGTERM, 143, id="third epoch, SIGTERM", marks=pytest.mark.extended),
    ],
)
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
            [f"{run} holds no checkpoint yet. The same command starts again.", f"To clear it: rm -r {run}"],
        ) or said[1].startswith("Saved in ")
        assert run.exists() == ("begun" not in said[1])
    elif "holds no checkpoint" in said[1]:
        assert moment == "Model: "
        assert not (run / "checkpoints" / "last.keras").exists()
    else:
        assert said[1].startswith(f"Saved in {run} after ")
        assert said[2:] == [f"python -m trainer --data={data} {' '.join(flags[1:])}"]
        assert [path.name for path in (run / "checkpoints").iterdir() if path.name.startswith(".")] == []
        keras.saving.load_model(run / "checkpoints" / "last.keras", compile=False)
