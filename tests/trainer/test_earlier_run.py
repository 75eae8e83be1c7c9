"""A run starts from the weights of an earlier one, by its folder or by one of its files."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from multihot.errors import UserError
from schemas.metadata import DatasetInfo
from schemas.statistics import Statistics
from trainer import earlier_run, train
from trainer.config import TrainConfig
from trainer.models import model

Config = Callable[..., TrainConfig]
CLASSES = ("blue", "green", "red", "yellow")


@pytest.fixture
def statistics(info: DatasetInfo) -> Statistics:
    """The statistics of the training split."""
    return info.split("train").statistics


@pytest.fixture(scope="module")
def finished(recipe: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    train.train_and_evaluate(recipe("", image_size=16, epochs=1, batch_size=16, output=str(folder)))
    return folder


@pytest.fixture
def first(finished: Path, tmp_path: Path) -> Path:
    """The folder of a run, which may be changed."""
    return Path(shutil.copytree(finished, tmp_path / "first"))


def _weights(network: keras.Model) -> list[np.ndarray]:
    return [np.array(weight) for weight in network.weights]


def _saved(path: Path) -> list[np.ndarray]:
    return _weights(keras.saving.load_model(path, compile=False))


def _assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("file", ["", "model.keras", "checkpoints/last.keras"])
def test_takes_backbone_and_head(
    file: str, finished: Path, config: Config, statistics: Statistics, capsys: pytest.CaptureFixture[str]
) -> None:
    network = model.build(config(weights=str(finished / file)), statistics, CLASSES)
    _assert_equal(_weights(network), _saved(finished / (file or "model.keras")))
    assert capsys.readouterr().out == (
        f"Weights of {finished / file}: backbone and head, which has the same classes.\n"
    )


@pytest.mark.parametrize(
    "classes",
    [
        pytest.param(("blue", "red"), id="fewer classes"),
        pytest.param(("green", "blue", "red", "yellow"), id="another order"),
        pytest.param(("blue", "green", "red", "cyan"), id="as many classes"),
    ],
)
def test_takes_the_backbone_alone_for_other_classes(
    classes: tuple[str, ...],
    finished: Path,
    config: Config,
    statistics: Statistics,
    capsys: pytest.CaptureFixture[str],
) -> None:
    positives = dataclasses.replace(statistics, positives=statistics.positives[: len(classes)])
    network = model.build(config(weights=str(finished)), positives, classes)
    _assert_equal(_weights(network)[:-2], _saved(finished / "model.keras")[:-2])
    assert not np.any(network.get_layer("labels").bias)  # Half of the images have each class.
    assert capsys.readouterr().out == f"Weights of {finished}: backbone alone: the head has other classes.\n"


@pytest.mark.parametrize("name", ["last", "best"])
def test_takes_the_checkpoint_of_a_run_that_has_not_ended(
    name: str, first: Path, config: Config, statistics: Statistics
) -> None:
    (first / "model.keras").unlink()
    if name == "best":
        (first / "checkpoints" / "last.keras").unlink()
    network = model.build(config(weights=str(first)), statistics, CLASSES)
    _assert_equal(_weights(network), _saved(first / "checkpoints" / f"{name}.keras"))


def test_a_run_without_a_model(first: Path, config: Config, statistics: Statistics) -> None:
    (first / "model.keras").unlink()
    shutil.rmtree(first / "checkpoints")
    with pytest.raises(UserError, match=rf"^--weights={first} is a run without a model: it has none of model\.keras, "):
        model.build(config(weights=str(first)), statistics)


def test_a_run_of_another_model(finished: Path, config: Config, statistics: Statistics) -> None:
    with pytest.raises(
        UserError, match=r" does not fit vgg16 without its top: .* It is that of --model=small_resnet\.$"
    ):
        model.build(config(weights=str(finished), model="vgg16"), statistics)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="no config.json"),
        pytest.param("{", id="a damaged one"),
        pytest.param("[]", id="a list"),
        pytest.param('{"model": "small_resnet", "image_size": 64}', id="that of another program"),
        pytest.param('{"datasets": [{"fingerprint": "f"}]}', id="no model"),
        pytest.param('{"datasets": [{"fingerprint": "f"}], "model": "vgg16", "image_size": "wide"}', id="no size"),
    ],
)
def test_a_folder_that_is_no_run(content: str | None, config: Config, statistics: Statistics, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if content is not None:
        (folder / "config.json").write_text(content)
    assert earlier_run.run_model(str(folder)) is None
    with pytest.raises(UserError, match=rf"^--weights={folder} is not the folder of a run: "):
        model.build(config(weights=str(folder)), statistics)


def test_says_which_model_a_run_has_and_for_which_images(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads((finished / "config.json").read_text())["image_size"] == 16
    for file in ("", "model.keras", "checkpoints/best.keras"):
        assert earlier_run.run_model(str(finished / file)) == ("small_resnet", 16)
    assert earlier_run.run_model(str(tmp_path / "missing")) is None
    monkeypatch.chdir(finished)
    assert earlier_run.run_model("model.keras") == ("small_resnet", 16)
    assert earlier_run.run_model("imagenet") is None
