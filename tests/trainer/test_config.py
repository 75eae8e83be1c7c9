"""TrainConfig refuses wrong settings, and its messages name the flag and the value."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multihot.errors import UserError
from trainer import config
from trainer.config import TrainConfig


def _config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"data": ("data/made/1.0.0",), "output": "runs/first", **changes})


@pytest.mark.parametrize(
    "path", sorted((Path(config.__file__).parent / "experiments").iterdir()), ids=lambda path: path.name
)
def test_every_recipe_changes_some_defaults(path: Path, recipe: Callable[..., TrainConfig]) -> None:
    assert recipe(path.stem, output="run") != recipe("", output="run")


def test_the_defaults_train_a_small_network_on_labels_that_are_not_exclusive() -> None:
    found = _config()
    assert found.model == "small_resnet"
    assert found.weights == "none"
    assert not found.freeze_backbone
    assert found.loss == "binary_crossentropy"
    assert found.cache == "auto"
    assert (found.train_split, found.validation_split) == ("train", "validation")
    assert not found.overwrite


def test_it_is_frozen_and_takes_names_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _config().epochs = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        TrainConfig("data", "output")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"data": ()}, "--data is required.", id="no data"),
        pytest.param({"data": ("a", "")}, "--data is required.", id="no data after another one"),
        pytest.param(
            {"data": ("a", "b"), "data_weights": (1.0,)},
            "--data_weights must have a weight for each --data. Received: 2 --data and 1 weights",
            id="a weight missing",
        ),
        pytest.param(
            {"data_weights": (0.0,)}, "--data_weights must be positive. Received: 0.0", id="a weight of nothing"
        ),
        pytest.param(
            {"data_weights": (float("nan"),)},
            "--data_weights must be positive. Received: nan",
            id="a weight that is no number",
        ),
        pytest.param(
            {"classes": ("sea", "sea")},
            "--classes must name each class once. Received: sea,sea",
            id="a class twice",
        ),
        pytest.param({"classes": ("sea", "")}, "--classes must name each class once. Received: sea,", id="no name"),
        pytest.param({"output": ""}, "--output is required.", id="no output"),
        pytest.param(
            {"output": "gs://bucket/run"},
            "--output must be a folder of this machine. Received: 'gs://bucket/run'",
            id="a run in a bucket",
        ),
        pytest.param(
            {"augment": "turn"},
            "--augment must be one of none, flip, crop, full. Received: 'turn'",
            id="unknown augment",
        ),
        pytest.param(
            {"cache": "ram"},
            "--cache must be one of auto, features, decoded, encoded, disk, none. Received: 'ram'",
            id="unknown cache",
        ),
        pytest.param(
            {"cache": "features", "augment": "none"},
            "--cache=features needs --freeze_backbone, and --augment=none or --unfreeze_epochs: otherwise features "
            "change.",
            id="features of a backbone that is trained",
        ),
        pytest.param(
            {"cache": "features", "freeze_backbone": True, "augment": "flip"},
            "--cache=features needs --freeze_backbone, and --augment=none or --unfreeze_epochs: otherwise features "
            "change.",
            id="features of images that change",
        ),
        pytest.param(
            {"loss": "mse"},
            "--loss must be one of binary_crossentropy, asymmetric, categorical_crossentropy. Received: 'mse'",
            id="unknown loss",
        ),
        pytest.param(
            {"preprocessing": "caffe"},
            "--preprocessing must be one of auto, unit. Received: 'caffe'",
            id="unknown preprocessing",
        ),
        pytest.param(
            {"schedule": "step"}, "--schedule must be one of cosine, constant. Received: 'step'", id="unknown schedule"
        ),
        pytest.param(
            {"train_split": "validation"},
            "--train_split and --validation_split must differ: the model would be evaluated on the images that it "
            "was trained on. Received: 'validation' for both",
            id="evaluated on the images that it was trained on",
        ),
        pytest.param({"image_size": 0}, "--image_size must be at least 1. Received: 0", id="no pixels"),
        pytest.param({"batch_size": -4}, "--batch_size must be at least 1. Received: -4", id="negative batches"),
        pytest.param({"epochs": 0}, "--epochs must be at least 1. Received: 0", id="no epochs"),
        pytest.param({"learning_rate": 0.0}, "--learning_rate must be positive. Received: 0.0", id="no learning"),
        pytest.param(
            {"learning_rate": float("nan")},
            "--learning_rate must be positive. Received: nan",
            id="a learning rate that is no number",
        ),
        pytest.param({"seed": -1}, "--seed must be at least 0 and less than 2**32. Received: -1", id="negative seed"),
        pytest.param(
            {"seed": 2**32},
            "--seed must be at least 0 and less than 2**32. Received: 4294967296",
            id="a seed of more than 32 bits",
        ),
        pytest.param(
            {"weight_decay": 1.0},
            "--weight_decay must be at least 0 and less than 1. Received: 1.0",
            id="weights would vanish",
        ),
        pytest.param(
            {"weight_decay": -0.1},
            "--weight_decay must be at least 0 and less than 1. Received: -0.1",
            id="weights would grow",
        ),
    ],
)
def test_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        _config(**changes)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "changes",
    [
        *(
            pytest.param({name: choice}, id=f"{name} {choice}")
            for name, choices in config.CHOICES.items()
            if name != "cache"
            for choice in choices
        ),
        *(
            pytest.param({"cache": cache, "freeze_backbone": True, "augment": "none"}, id=f"cache {cache}")
            for cache in config.CHOICES["cache"]
        ),
        pytest.param({"image_size": 1, "batch_size": 1, "epochs": 1}, id="the smallest numbers"),
        pytest.param({"seed": 2**32 - 1, "weight_decay": 0.999}, id="the largest numbers"),
        pytest.param({"freeze_backbone": True, "weights": "small.weights.h5"}, id="a frozen backbone of saved weights"),
        pytest.param({"freeze_backbone": True, "model": "vgg16"}, id="another frozen model"),
    ],
)
def test_takes(changes: dict[str, Any]) -> None:
    assert dataclasses.asdict(_config(**changes)) | changes == dataclasses.asdict(_config(**changes))


def test_weights_are_numbers() -> None:
    assert config.parse_weights(["3", " 0.5"]) == (3.0, 0.5)
    with pytest.raises(UserError) as caught:
        config.parse_weights(["3", "much"])
    assert str(caught.value) == "--data_weights must be numbers, as in 3,1. Received: 3,much"
