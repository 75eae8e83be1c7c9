"""Weights from a file, and ImageNet weights on a machine that cannot download them."""

import dataclasses
import subprocess
import urllib.error
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from multihot.errors import UserError
from schemas.metadata import DatasetInfo
from schemas.statistics import Statistics
from trainer.config import TrainConfig
from trainer.models import model

Config = Callable[..., TrainConfig]
Command = Callable[..., subprocess.CompletedProcess[str]]
VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


@pytest.fixture
def statistics(info: DatasetInfo) -> Statistics:
    """The statistics of the training split."""
    return info.split("train").statistics


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """A file with random weights of VGG16, and those weights."""
    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    path = tmp_path_factory.mktemp("vgg16") / "vgg16.weights.h5"
    network.save_weights(path)
    return path, network.get_weights()


def _backbone(network: keras.Model) -> keras.Model:
    [backbone] = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    return backbone


def _biased(network: keras.Model) -> list[float]:
    """Returns the output of the head for features of 0."""
    head = network.get_layer("labels")
    return list(np.asarray(head(np.zeros((1, head.kernel.shape[0]), np.float32)))[0])


def _assert_weights(network: keras.Model, expected: list[np.ndarray]) -> None:
    for weight, value in zip(_backbone(network).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_file_of_weights_is_loaded(
    config: Config, statistics: Statistics, vgg16: tuple[Path, list[np.ndarray]]
) -> None:
    path, weights = vgg16
    _assert_weights(model.build(config(model="vgg16", weights=str(path)), statistics), weights)
    # It fits images of other sizes too.
    _assert_weights(model.build(config(model="vgg16", weights=str(path), image_size=48), statistics), weights)


def test_the_small_network_takes_its_own_weights(config: Config, statistics: Statistics, tmp_path: Path) -> None:
    first = _backbone(model.build(config(), statistics))
    for name in ("small.weights.h5", "small.keras"):
        (first.save_weights if name.endswith("h5") else first.save)(tmp_path / name)
        _assert_weights(model.build(config(weights=str(tmp_path / name)), statistics), first.get_weights())


def _text(path: Path, backbone: keras.Model, network: keras.Model) -> None:
    path.write_text("not weights")


def _other(path: Path, backbone: keras.Model, network: keras.Model) -> None:
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3)]).save_weights(path)


def _whole_of_another(path: Path, backbone: keras.Model, network: keras.Model) -> None:
    inputs = keras.Input((32, 32, 3))
    other = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])
    keras.Model(inputs, keras.layers.Dense(4)(other(inputs))).save_weights(path)


def _head(path: Path, backbone: keras.Model, network: keras.Model) -> None:
    model.extractor_and_head(network)[1].save(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param("text.h5", _text, id="text in an .h5 file"),
        pytest.param("text.weights.h5", _text, id="text in a .weights.h5 file"),
        pytest.param("text.keras", _text, id="text in a .keras file"),
        pytest.param("text.txt", _text, id="another kind of file"),
        pytest.param("other.weights.h5", _other, id="the weights of another model"),
        pytest.param("whole.weights.h5", _whole_of_another, id="the weights of another whole model"),
        pytest.param("head.keras", _head, id="the checkpoint of a head"),
    ],
)
def test_a_wrong_file_is_one_sentence(
    name: str,
    write: Callable[[Path, keras.Model, keras.Model], None],
    config: Config,
    statistics: Statistics,
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    network = model.build(config(), statistics)
    write(path, _backbone(network), network)
    with pytest.raises(UserError) as caught:
        model.build(config(weights=str(path)), statistics)
    message = str(caught.value)
    assert message.startswith(f"--weights={path} does not fit small_resnet")
    assert len(message.splitlines()) == 1
    assert len(message) < 500


def test_a_missing_file_of_weights(config: Config, statistics: Statistics) -> None:
    match = (
        r"^--weights must be none, imagenet, a file of weights, or the folder of a run\. There is no file missing\.h5$"
    )
    with pytest.raises(UserError, match=match):
        model.build(config(weights="missing.h5"), statistics)


@pytest.mark.parametrize(
    ("name", "preprocessing", "ending"),
    [
        ("small_resnet", "auto", ".keras"),
        ("small_resnet", "unit", ".weights.h5"),
        # EfficientNet-Lite0 changes its structure when it gets weights: see test_efficientnet_lite.py.
        pytest.param("mobilenet_v3_small", "unit", ".keras", marks=pytest.mark.slow),
        pytest.param("vgg16", "auto", ".keras", marks=pytest.mark.slow),
        # Its normalization, which has weights, is left out.
        pytest.param("efficientnet_b0", "unit", ".keras", marks=pytest.mark.slow),
    ],
)
def test_a_whole_model_has_the_weights_of_its_backbone(
    name: str, preprocessing: str, ending: str, config: Config, statistics: Statistics, tmp_path: Path
) -> None:
    asked = config(model=name, preprocessing=preprocessing)
    network = model.build(asked, statistics)
    _fill(network)
    path = tmp_path / f"whole{ending}"
    (network.save if ending == ".keras" else network.save_weights)(path)
    # Of other classes, and for images of another size.
    two_classes = dataclasses.replace(statistics, positives=(47, 47))
    other = model.build(dataclasses.replace(asked, weights=str(path), image_size=48), two_classes, ("a", "b"))
    _assert_weights(other, _backbone(network).get_weights())
    assert _biased(other) == pytest.approx([48 / 50] * 2)


def _fill(network: keras.Model) -> None:
    """Gives a network weights that no other has, in its batch normalization too."""
    rng = np.random.default_rng(0)
    network.set_weights([rng.random(value.shape, np.float32) for value in network.get_weights()])


def test_a_whole_model_is_loaded_without_a_warning_of_other_weights(
    config: Config, statistics: Statistics, tmp_path: Path
) -> None:
    network = model.build(config(), statistics)
    network.save(tmp_path / "model.keras")
    # Where warnings are no errors, as outside of tests, Keras warns before it finds that the file is no backbone's.
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        built = model.build(config(weights=str(tmp_path / "model.keras"), seed=1), statistics)
    _assert_weights(built, _backbone(network).get_weights())
    assert [str(one.message) for one in found] == []


def test_the_small_network_has_no_imagenet_weights(config: Config, statistics: Statistics) -> None:
    match = (
        r"^--weights=imagenet: small_resnet has no ImageNet weights\. Choose .* efficientnet_lite0, or --weights=none"
    )
    with pytest.raises(UserError, match=match):
        model.build(config(model="small_resnet", weights="imagenet"), statistics)


def _imagenet(command: Command, data: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    ended = command(
        f"--data={data}", f"--output={tmp_path / 'run'}", "--model=vgg16", "--weights=imagenet", "--image_size=32"
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
    return ended


def test_without_a_network_it_names_the_file_to_put_in_place(
    command: Command, data: Path, keras_home: Path, tmp_path: Path
) -> None:
    message = _imagenet(command, data, tmp_path).stderr
    assert message.startswith("error: The ImageNet weights of vgg16 cannot be downloaded from https://")
    assert str(keras_home / "models" / VGG16_FILE) in message
    assert f"--weights=/path/to/{VGG16_FILE}" in message
    assert "--weights=none" in message


def test_a_file_in_place_that_is_not_the_published_one_is_said_to_be(
    command: Command, data: Path, keras_home: Path, tmp_path: Path, vgg16: tuple[Path, list[np.ndarray]]
) -> None:
    place = keras_home / "models" / VGG16_FILE
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(vgg16[0].read_bytes())
    ended = _imagenet(command, data, tmp_path)
    assert "file hash does not match" in ended.stdout + ended.stderr
    assert f"--weights=/path/to/{VGG16_FILE}" in ended.stderr


def test_the_file_in_place_is_used(
    config: Config,
    statistics: Statistics,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    published = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    (tmp_path / "models").mkdir()
    published.save(tmp_path / "models" / VGG16_FILE)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    # Only the file that was published has its hash; this one is made.
    monkeypatch.setattr("keras.src.utils.file_utils.validate_file", lambda *_, **__: True)
    _assert_weights(model.build(config(model="vgg16", weights="imagenet"), statistics), published.get_weights())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["mobilenet", "mobilenet_v3_small", "efficientnet_v2_b0", "resnet50", "densenet121", "xception"],
)
def test_the_file_that_is_named_is_the_one_that_keras_looks_for(
    name: str, config: Config, statistics: Statistics, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    targets = []

    def no_network(origin: str, target: str, hook: Any) -> None:
        targets.append(target)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    with pytest.raises(UserError) as caught:
        model.build(config(model=name, weights="imagenet", image_size=224), statistics)
    assert targets[0] in str(caught.value)
