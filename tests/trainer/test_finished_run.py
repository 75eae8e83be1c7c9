"""A finished run is opened with its settings, its model and what the outputs of the model mean."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from multihot.errors import UserError
from schemas.metadata import DatasetInfo
from trainer import finished_run, model_file, train
from trainer.config import TrainConfig
from trainer.inference import Predictor
from trainer.input import pipeline

Config = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def finished(recipe: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    config = recipe("", image_size=16, epochs=1, batch_size=16, output=str(folder), train_sizes=((16, 1.0),))
    train.train_and_evaluate(config)
    return folder


@pytest.fixture
def first(finished: Path, tmp_path: Path) -> Path:
    """The folder of a run, which may be changed."""
    return Path(shutil.copytree(finished, tmp_path / "first"))


def test_has_the_settings_of_the_training_and_notes_about_the_model(finished: Path, info: DatasetInfo) -> None:
    run = finished_run.find(str(finished))
    config = json.loads((finished / "config.json").read_text())
    assert run.config.output == str(finished)
    assert run.config.train_sizes == ((16, 1.0),)
    assert {name: config[name] for name in ("model", "epochs", "ema")} == {
        name: getattr(run.config, name) for name in ("model", "epochs", "ema")
    }
    assert run.info == model_file.ModelInfo(
        classes=tuple(info.classes),
        image_size=16,
        resize="stretch",
        decode="scaled",
        softmax=False,
        flip=run.config.test_time_flip,
        thresholds=(0.5,) * len(info.classes),
        fingerprints=(info.fingerprint,),
    )


def test_its_model_gives_the_evaluation_of_the_run(finished: Path, info: DatasetInfo) -> None:
    run = finished_run.find(str(finished))
    data, config = run.sources(), run.config_for("validation")
    dataset = pipeline.evaluation_dataset(config, data, "validation")
    num_examples = info.split("validation").num_examples
    predictions = Predictor(run.load_model(), dataset, num_examples, flip=run.info.flip)()
    evaluation = train.metrics.evaluate(predictions, run.info.classes)
    saved = json.loads((finished / "evaluation.json").read_text())
    assert evaluation["num_examples"] == saved["num_examples"]
    np.testing.assert_allclose(evaluation["mean_average_precision"], saved["mean_average_precision"], atol=1e-6)
    np.testing.assert_allclose(evaluation["hamming_loss"], saved["hamming_loss"], atol=1e-6)


def test_keras_reads_the_file_as_any_other(finished: Path) -> None:
    assert "multihot.json" in zipfile.ZipFile(finished / "model.keras").namelist()
    network = keras.saving.load_model(finished / "model.keras", compile=False)
    assert network.output_shape == (None, 4)


def test_refuses_what_is_no_finished_run(first: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        finished_run.find(str(tmp_path / "other"))
    with pytest.raises(UserError, match="is not the folder of a run"):
        finished_run.find(str(tmp_path))
    (first / "evaluation.json").unlink()
    with pytest.raises(UserError, match=r"has not ended.* To go on: python -m trainer --data="):
        finished_run.find(str(first))


def test_says_how_to_name_a_dataset_that_was_moved(first: Path, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    path = first / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": [gone]}))
    run = finished_run.find(str(first))
    with pytest.raises(UserError, match="gone is not a dataset") as raised:
        run.datasets()
    assert raised.value.__notes__ == [
        f"{path} names this folder. If the dataset was moved, evaluate, suspects and embed take its folder from --data."
    ]
    with pytest.raises(UserError, match="gone is not a dataset") as raised:
        run.datasets([gone])
    assert not hasattr(raised.value, "__notes__")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda path: keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(path),
            id="a model of another program",
        ),
        pytest.param(lambda path: path.write_bytes(b"no archive"), id="no archive"),
        pytest.param(lambda path: _with_entry(path, "[]"), id="notes that are no object"),
    ],
)
def test_a_model_without_notes_is_one_sentence(change: Callable[[Path], object], first: Path) -> None:
    change(first / "model.keras")
    with pytest.raises(UserError, match=r"does not say which classes it predicts.* trained again"):
        finished_run.find(str(first))


def test_notes_of_another_version_are_one_sentence(first: Path) -> None:
    _with_entry(first / "model.keras", '{"version": 2}')
    with pytest.raises(UserError, match=r"another version of multihot.* version 2"):
        finished_run.find(str(first))


def _other_model() -> keras.Model:
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


def _with_entry(path: Path, text: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("multihot.json", text)


def test_a_damaged_model_is_one_sentence(first: Path) -> None:
    with zipfile.ZipFile(first / "model.keras") as archive:
        notes = archive.read("multihot.json").decode()
    _with_entry(first / "model.keras", notes)
    with pytest.raises(UserError, match=r"model\.keras cannot be loaded"):
        finished_run.find(str(first)).load_model()


class _Unregistered(keras.layers.Layer):
    def call(self, values: keras.KerasTensor) -> keras.KerasTensor:
        return values


@pytest.mark.parametrize("depth", [0, 2])
def test_a_layer_that_is_not_registered_is_named(depth: int, first: Path) -> None:
    info = model_file.read(first / "model.keras")
    model = keras.Sequential([keras.Input((2,)), _Unregistered()])
    for _ in range(depth):
        model = keras.Sequential([keras.Input((2,)), model])
    model.save(first / "model.keras")
    model_file.add(first / "model.keras", info)
    with pytest.raises(UserError, match=r"cannot be loaded: Could not locate class '_Unregistered'") as caught:
        finished_run.find(str(first)).load_model()
    assert "register_keras_serializable" in str(caught.value)
    assert "config" not in str(caught.value)


def test_datasets_that_lack_a_class_are_one_sentence(first: Path) -> None:
    config = json.loads((first / "config.json").read_text())
    run = finished_run.find(str(first))
    assert run.sources(config["data"]).classes == run.info.classes
    message = r"--data: .* has no other, which the model of .*first has\. It has: blue, green, red, yellow$"
    with pytest.raises(UserError, match=message):
        run._replace(info=run.info.__class__(**{**vars(run.info), "classes": ("other",)})).sources()
