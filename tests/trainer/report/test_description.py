"""config.json says what a run is, and its commands can be pasted into a shell."""

import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import keras
import pytest

from multihot import flags
from multihot.usage import Usage
from trainer import run_folder
from trainer.config import TrainConfig
from trainer.input.caching import Plan
from trainer.report import description
from trainer.sources import Sources

USAGE = Usage(module="trainer", description="", example="", settings=(TrainConfig,))
PLAN = Plan("decoded", False, "")


def test_it_has_settings_data_environment_and_command(config: Callable[..., TrainConfig], sources: Sources) -> None:
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, trainable=False), keras.layers.Dense(2)])
    asked = config(epochs=3)
    found = json.loads(json.dumps(description.describe(asked, sources, PLAN, network=network)))
    assert {name: found[name] for name in ("epochs", "image_size")} == {"epochs": 3, "image_size": 32}
    assert run_folder.datasets(found) == found["datasets"]
    assert found["num_weights"] == {"total": 3 * 4 + 4 + 4 * 2 + 2, "trained": 4 * 2 + 2}
    assert set(found["versions"]) == {"multihot", "python", "tensorflow", "keras", "numpy"}
    assert found["environment"]["cores"] > 0
    ((one),) = found["commands"]
    assert one["command"].startswith("python -m trainer --data=")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(one["started"])).total_seconds()) < 60


def test_no_variable_of_the_environment_is_in_it(
    config: Callable[..., TrainConfig], sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "s3cr3t-value")
    assert "s3cr3t" not in json.dumps(description.describe(config(), sources, PLAN))


def test_a_run_that_goes_on_has_all_its_commands(
    config: Callable[..., TrainConfig], sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier: dict[str, Any] = {}  # A run of a version that kept no commands.
    for i in range(3):
        monkeypatch.setattr(sys, "argv", ["/x/trainer/__main__.py", f"--seed={i}"])
        earlier = description.describe(config(), sources, PLAN, earlier=earlier)
    assert [one["command"] for one in earlier["commands"]] == [f"python -m trainer --seed={i}" for i in range(3)]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        pytest.param(
            ["/checkout/trainer/__main__.py", "--data=my data", "--epochs=3"],
            "python -m trainer '--data=my data' --epochs=3",
            id="python -m",
        ),
        pytest.param(["multihot train", "--data=$HOME"], "multihot train '--data=$HOME'", id="our command"),
        pytest.param(["/venv/bin/multihot-train", "--data=a"], "multihot-train --data=a", id="our other command"),
    ],
)
def test_a_command_can_be_pasted(
    argv: list[str], expected: str, config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    found = description.command(config())
    assert found == expected
    assert shlex.split(found)[-len(argv) + 1 :] == argv[1:]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, ["--model=small_resnet"], id="the recipe"),
        pytest.param(
            {"weights": "imagenet"}, ["--model=efficientnet_lite0", "--weights=imagenet"], id="the recipe with weights"
        ),
        pytest.param(
            {"epochs": 3, "test_time_flip": False, "deterministic": True, "learning_rate": 1e-05},
            ["--epochs=3", "--learning_rate=1e-05", "--notest_time_flip", "--deterministic"],
            id="some settings",
        ),
        pytest.param(
            {"weights": "imagenet", "freeze_backbone": True, "epochs": 5},
            ["--epochs=5", "--unfreeze_epochs=0"],
            id="a frozen backbone",
        ),
        pytest.param({"weights": "imagenet", "freeze_backbone": False}, ["--nofreeze_backbone"], id="not frozen"),
        pytest.param(
            {"classes": ("a,b", 'c"d', "e"), "data": ("x", "y z"), "data_weights": (1.5, 3.0)},
            ["--data=y z", "--data_weights=1.5,3", '--classes="a,b","c""d",e'],
            id="lists",
        ),
        pytest.param(
            {"image_size": 64, "train_sizes": ((32, 50.0), (64, 100 / 3))},
            ["--image_size=64", "--train_sizes=32x50,64x33.333333333333336"],
            id="sizes",
        ),
    ],
)
def test_flags_give_the_same_settings(changes: dict[str, Any], expected: list[str]) -> None:
    asked = TrainConfig(**{"data": ("x",), "output": "runs/a", **changes})
    found = description.flags_of(asked)
    assert set(expected) <= set(found)
    assert flags.make(USAGE, TrainConfig, flags.read(USAGE, ["trainer", *found])) == asked


def test_flags_that_the_recipe_gives_are_left_out() -> None:
    asked = TrainConfig(data=("x",), output="runs/a", epochs=3)
    assert description.flags_of(asked) == ["--data=x", "--output=runs/a", "--model=small_resnet", "--epochs=3"]
    assert dataclasses.replace(asked) == asked


def test_another_program_has_the_command_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [os.path.join("x", "my_experiment.py"), "--my_flag"])
    asked = TrainConfig(data=("x",), output="my runs")
    assert description.command(asked) == "python -m trainer --data=x '--output=my runs' --model=small_resnet"
