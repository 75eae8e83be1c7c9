"""A whole run on the drawn dataset: its metrics, the files that it writes, and its errors."""

import dataclasses
import gc
import json
import re
import subprocess
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from multihot.errors import UserError
from schemas.metadata import DatasetInfo
from trainer import metrics, recipes, run_folder, train
from trainer.config import TrainConfig
from trainer.inference import Predictor
from trainer.input import pipeline
from trainer.sources import Sources
from trainer.training import phase_setup
from trainer.training.phase_setup import Batches

Config = Callable[..., TrainConfig]
Command = Callable[..., subprocess.CompletedProcess[str]]
METRICS = {
    "mean_average_precision",
    "average_precision",
    "label_ranking_average_precision",
    "f1",
    "hamming_loss",
    "hamming_loss_at_half",
    "one_error",
    "coverage",
    "ranking_loss",
    "num_examples",
}
# The figures that are shown of an epoch.
FIGURES = {"loss", "val_loss", "val_mean_average_precision"}


@dataclasses.dataclass(frozen=True)
class Run:
    """One that has ended."""

    config: TrainConfig
    result: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where it left everything."""
        return Path(self.config.output)

    def json(self, name: str) -> Any:
        """Returns what one of its files says."""
        return json.loads((self.folder / name).read_text(), parse_constant=_no_number)


def _no_number(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


@pytest.fixture(scope="module")
def run(recipe: Config, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a few epochs, with its cache on disk."""
    asked = recipe(
        "",
        output=str(tmp_path_factory.mktemp("runs") / "first"),
        image_size=32,
        batch_size=8,
        epochs=5,
        augment="flip",
        cache="disk",
        cache_dir=str(tmp_path_factory.mktemp("caches")),
    )
    return Run(asked, train.train_and_evaluate(asked))


def test_the_folder_holds_what_the_module_says(run: Run) -> None:
    named = set((run_folder.__doc__ or "").split("<output>/")[1].split("\n\n")[0].split())
    assert {path.name for path in run.folder.iterdir()} == {
        "config.json",
        "checkpoints",
        "tensorboard",
        "model.keras",
        "history.json",
        "evaluation.json",
        "MODEL_CARD.md",
        "training.png",
        "samples.png",
    }
    assert all(path.name in named or f"{path.name}/" in named for path in run.folder.iterdir())
    assert {path.name for path in (run.folder / "checkpoints").iterdir()} == {"last.keras", "best.keras"}
    for name in ("train", "validation", "hparams"):
        assert list((run.folder / "tensorboard" / name).glob("events.out.tfevents.*"))
    for name in ("training.png", "samples.png"):
        assert (run.folder / name).read_bytes().startswith(b"\x89PNG")


def test_the_evaluation_is_written_as_it_is_returned(run: Run) -> None:
    found = run.json("evaluation.json")
    assert found == run.result
    assert set(found) == METRICS
    assert found["num_examples"] == 21
    assert set(found["average_precision"]) == {"blue", "green", "red", "yellow"}


def test_it_learns(run: Run, info: DatasetInfo) -> None:
    history = run.json("history.json")
    assert set(history) == FIGURES
    assert all(len(values) == 5 for values in history.values())
    assert history["loss"][-1] < history["loss"][0] / 2
    # Without looking at the picture, the precision of a class is how frequent it is.
    prior = np.mean(info.split("validation").statistics.positives) / 21
    assert run.result["mean_average_precision"] > (1 + prior) / 2
    assert run.result["hamming_loss"] < prior / 2


def test_what_is_shown_while_training_is_the_evaluation(run: Run) -> None:
    history = run.json("history.json")
    assert history["val_mean_average_precision"][-1] == run.json("evaluation.json")["mean_average_precision"]
    assert len(set(history["val_mean_average_precision"])) > 1
    shown: dict[str, list[float]] = {}
    for path in (run.folder / "tensorboard" / "validation").glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            for value in tf.compat.v1.Event.FromString(record).summary.value:
                if value.tag.startswith("epoch_"):
                    shown.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    assert shown["epoch_mean_average_precision"] == pytest.approx(history["val_mean_average_precision"])
    assert shown["epoch_loss"] == pytest.approx(history["val_loss"])


@pytest.mark.slow
def test_a_class_without_positives_is_left_out_of_what_is_shown(config: Config, tmp_path: Path, data: Path) -> None:
    asked = config(output=str(tmp_path / "a"), image_size=8, epochs=1, validation_split="modes")
    # All pictures of this split have all four classes.
    train.train_and_evaluate(asked)
    run = Run(asked, json.loads((tmp_path / "a" / "evaluation.json").read_text()))
    assert run.result["mean_average_precision"] is None
    assert set(run.json("history.json")) == FIGURES - {"val_mean_average_precision"}


def test_the_saved_model_is_the_evaluated_one(run: Run, sources: Sources) -> None:
    network = keras.saving.load_model(run.folder / "model.keras")
    validation = pipeline.evaluation_dataset(run.config, sources, "validation")
    flip = run.config.test_time_flip
    predictions = Predictor(network, validation, sources.split("validation").num_examples, flip=flip)()
    again = metrics.evaluate(predictions, sources.classes)
    assert again.pop("average_precision") == pytest.approx(run.result["average_precision"])
    assert again == pytest.approx({key: value for key, value in run.result.items() if key != "average_precision"})
    # Of its weights, those of the evaluated model are averages.
    last = keras.saving.load_model(run.folder / "checkpoints" / "last.keras", compile=False)
    pairs = list(zip(network.get_weights(), last.get_weights(), strict=True))
    assert [one.shape for one, _ in pairs] == [other.shape for _, other in pairs]
    assert not all(np.array_equal(one, other) for one, other in pairs)


def test_the_configuration_says_all_that_it_takes_to_do_it_again(run: Run, info: DatasetInfo) -> None:
    found = run.json("config.json")
    settings = json.loads(json.dumps(dataclasses.asdict(run.config)))
    assert {name: found[name] for name in settings} == settings
    assert [(one["path"], one["fingerprint"]) for one in found["datasets"]] == [(*run.config.data, info.fingerprint)]
    assert found["datasets"][0]["classes"] == found["classes_used"] == ["blue", "green", "red", "yellow"]
    assert found["cache_used"] == {"content": "decoded", "on_disk": True}
    assert found["versions"]["keras"] == keras.__version__


def test_a_run_that_is_there_is_kept(run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    with pytest.raises(UserError, match="holds a run already"):
        train.train_and_evaluate(run.config)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


@pytest.mark.parametrize("overwrite", [False, True], ids=["without --overwrite", "with --overwrite"])
def test_a_folder_that_is_no_run_is_not_touched(run: Run, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "of another program"}')
    with pytest.raises(UserError, match="exists and is not a run of multihot"):
        train.train_and_evaluate(dataclasses.replace(run.config, output=str(tmp_path), overwrite=overwrite))
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_in_the_place_of_another(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"dataset": {"fingerprint": "of the run that was there"}}')
    (tmp_path / "old.txt").write_text("of the run that was there")
    train.train_and_evaluate(dataclasses.replace(run.config, output=str(tmp_path), overwrite=True))
    assert not (tmp_path / "old.txt").exists()
    again = json.loads((tmp_path / "history.json").read_text())
    assert again.keys() == run.json("history.json").keys()
    for name, values in run.json("history.json").items():
        # On a CPU they were equal to the last bit; other machines may add up in another order.
        assert again[name] == pytest.approx(values, rel=1e-3), name


@pytest.mark.slow
def test_the_recipe_of_the_tutorial_runs(command: Command, data: Path, tmp_path: Path) -> None:
    ended = command(
        "--flagfile=trainer/experiments/tutorial_vgg16.flags",
        "--weights=none",
        "--epochs=1",
        f"--data={data}",
        f"--output={tmp_path / 'run'}",
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "; 1 epoch of 12 steps." in ended.stdout
    assert "mean average precision" in ended.stdout
    assert f"Run: {tmp_path / 'run'}" in ended.stdout
    found = json.loads((tmp_path / "run" / "config.json").read_text())
    asked = {
        "model": "vgg16",
        "freeze_backbone": True,
        "image_size": 32,
        "preprocessing": "unit",
        "batch_size": 4,
        "learning_rate": 0.001,
        "schedule": "constant",
        "loss": "categorical_crossentropy",
        "augment": "none",
        # A flag after --flagfile overrides it.
        "weights": "none",
        "epochs": 1,
    }
    assert {name: found[name] for name in asked} == asked
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert set(history) == FIGURES
    result = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert history["val_mean_average_precision"][-1] == result["mean_average_precision"]
    assert "--loss=categorical_crossentropy needs one label for each image" in ended.stdout
    assert set(json.loads((tmp_path / "run" / "evaluation.json").read_text())) == METRICS


@pytest.mark.slow
def test_cached_features_are_the_same_training(recipe: Config, tmp_path: Path, sources: Sources) -> None:
    runs = {}
    for cache in ("decoded", "features", "disk", "auto"):
        # All examples in each step: features and images have different orders, and would leave out different examples.
        asked = recipe(
            "tutorial_vgg16", weights="none", batch_size=48, epochs=3,
            output=str(tmp_path / cache), cache=cache, cache_dir=str(tmp_path / "caches"),
        )  # fmt: skip
        runs[cache] = Run(asked, train.train_and_evaluate(asked))
    expected = runs["decoded"].json("history.json")
    for cache in ("features", "disk", "auto"):
        run = runs[cache]
        assert run.json("config.json")["cache_used"] == {"content": "features", "on_disk": cache == "disk"}
        for name, values in expected.items():
            assert run.json("history.json")[name] == pytest.approx(values, rel=1e-4), name
        # Each saved model takes images, and the last one is the model that was evaluated.
        for saved in ("model.keras", "checkpoints/last.keras", "checkpoints/best.keras"):
            network = keras.saving.load_model(run.folder / saved, compile=False)
            assert network.input.shape == (None, 32, 32, 3)
        network = keras.saving.load_model(run.folder / "checkpoints" / "last.keras", compile=False)
        validation = pipeline.evaluation_dataset(run.config, sources, "validation")
        again = Predictor(network, validation, sources.split("validation").num_examples)()
        assert metrics.evaluate(again, sources.classes)["mean_average_precision"] == pytest.approx(
            run.result["mean_average_precision"], abs=1e-4
        )


@pytest.mark.slow
def test_a_run_on_cached_features_is_evaluated_with_mirror_images(
    config: Config, tmp_path: Path, sources: Sources
) -> None:
    asked = config(
        output=str(tmp_path / "a"), epochs=2, freeze_backbone=True, augment="none", cache="features",
        train_sizes=(), precision="float32", test_time_flip=True,
    )  # fmt: skip
    run = Run(asked, train.train_and_evaluate(asked))
    network = keras.saving.load_model(run.folder / "model.keras")
    validation = pipeline.evaluation_dataset(asked, sources, "validation")
    expected, other = (
        metrics.evaluate(Predictor(network, validation, 21, flip=flip)(), sources.classes) for flip in (True, False)
    )
    assert run.result["mean_average_precision"] == pytest.approx(expected["mean_average_precision"])
    assert run.result["mean_average_precision"] != pytest.approx(other["mean_average_precision"])


@pytest.mark.slow
def test_features_on_disk_are_those_of_the_weights(recipe: Config, tmp_path: Path) -> None:
    caches = tmp_path / "caches"

    def found(**changes: Any) -> set[str]:
        small = {"weights": "none", "preprocessing": "auto", "batch_size": 32, "epochs": 1, **changes}
        asked = recipe(
            "tutorial_vgg16", output=str(tmp_path / "run"), overwrite=True, cache="disk", cache_dir=str(caches), **small
        )
        train.train_and_evaluate(asked)
        return {path.name for path in caches.iterdir() if path.is_dir()}

    first = found(seed=1)
    assert len(first) == 2  # Both splits.
    assert found(seed=1, batch_size=7, learning_rate=0.1) == first
    assert len(found(seed=2)) == 4
    assert len(found(seed=2, preprocessing="unit")) == 6


@pytest.mark.slow
def test_a_run_says_how_fast_its_input_is(config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = config(output=str(tmp_path / "a"), image_size=16, batch_size=8, epochs=3)
    train.train_and_evaluate(asked)
    lines = capfd.readouterr().out.splitlines()
    (number,) = (i for i, line in enumerate(lines) if line.startswith("Throughput: "))
    assert re.fullmatch(r"Time left: about \d+ s \(1 epoch\)\.", lines[number + 1])


@pytest.mark.slow
def test_a_run_has_as_many_epochs_as_its_images_need(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "_FEWEST_EPOCHS", 1)
    monkeypatch.setattr(recipes, "_IMAGES_SEEN", 100)
    asked = config(output=str(tmp_path / "a"), image_size=16, batch_size=8, epochs=None)
    run = Run(asked, train.train_and_evaluate(asked))
    assert run.json("config.json")["epochs"] == 2  # Of 48 images.
    assert len(run.json("history.json")["loss"]) == 2


@pytest.mark.slow
def test_looking_at_the_throughput_changes_nothing(config: Config, tmp_path: Path) -> None:
    """The report only watches: all epochs are the same without it."""
    asked = config(output=str(tmp_path / "a"), image_size=16, batch_size=8, epochs=3, schedule="constant")
    measured = Run(asked, train.train_and_evaluate(asked)).json("history.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.throughput, "ReportThroughput", lambda *_, **__: keras.callbacks.Callback())
        quiet = dataclasses.replace(asked, output=str(tmp_path / "b"))
        assert Run(quiet, train.train_and_evaluate(quiet)).json("history.json") == measured


@pytest.mark.slow
def test_a_run_ends_early_when_its_validation_loss_has_not_become_lower(config: Config, tmp_path: Path) -> None:
    asked = config(
        output=str(tmp_path / "a"), image_size=16, epochs=50, schedule="constant", learning_rate=0.02, early_stopping=2
    )
    run = Run(asked, train.train_and_evaluate(asked))
    losses = run.json("history.json")["val_loss"]
    assert 2 < len(losses) < 50
    assert min(losses[-2:]) >= min(losses[:-2])
    # Not an epoch earlier.
    assert min(losses[-3:-1]) < min(losses[:-3], default=np.inf)


@pytest.mark.slow
def test_the_last_epochs_have_batches_of_their_own_without_mixup(
    config: Config, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made: list[weakref.ref[tf.data.Dataset]] = []
    alive: list[bool] = []
    blended: list[bool] = []
    make = phase_setup.batches

    def batches(*args: Any, **kwargs: Any) -> Batches:
        gc.collect()
        alive.extend(dataset() is not None for dataset in made)
        new = make(*args, **kwargs)
        dataset = new.train(0)
        _, labels = next(iter(dataset))
        blended.append(not set(labels.numpy().ravel()) <= {0, 1})
        # The dataset that keeps the records.
        made.append(weakref.ref(dataset))
        return new

    monkeypatch.setattr(phase_setup, "batches", batches)
    sizes = ((24, 2.0), (32, 1.0))
    asked = config(model="small_resnet", epochs=3, batch_size=8, train_sizes=sizes, mixup_until=0.3, cache="encoded")
    train.train_and_evaluate(asked)
    assert blended == [True, False, False]
    # The records of the epochs before are not kept beside those of the next ones.
    assert not any(alive)
    assert capfd.readouterr().out.count("images are not blended") == 1
