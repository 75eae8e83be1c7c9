"""Runs are compared by the settings that differ; an unfinished or damaged run is named, and the others are shown."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from multihot.errors import UserError
from trainer import run_folder, runs, train
from trainer.config import TrainConfig

METRICS = {"num_examples": 21, "mean_average_precision": 0.5, "hamming_loss": 0.25, "average_precision": {"sea": 0.5}}


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Returns the function that makes the folder of a run, with these settings and metrics."""

    def make(name: str, metrics: dict[str, Any] | None = None, **settings: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        config = {
            "output": name,
            "seed": 0,
            "datasets": [{"name": "miml", "version": "1.0.0", "fingerprint": "0123456789abcdef"}],
            "versions": {"keras": "3.1"},
            **settings,
        }
        (folder / run_folder.CONFIG).write_text(json.dumps(config))
        (folder / run_folder.EVALUATION).write_text(json.dumps({**METRICS, **(metrics or {})}))
        return folder

    return make


def _table(root: Path, sort: str = runs.DEFAULT_SORT) -> pd.DataFrame:
    return runs.table([run for _, run in runs.find(root) if isinstance(run, runs.Run)], sort)


def _main(folder: Path, **given: str) -> None:
    runs.main(runs.RunsOptions(directory=str(folder), **given))


def test_settings_that_differ_are_shown_and_no_others(put: Any, tmp_path: Path) -> None:
    put("a", seed=1, batch_size=32, versions={"keras": "3.2"})
    put("deep/b", seed=1, batch_size=64, augment="none")
    found = _table(tmp_path)
    assert list(found.columns) == [
        "batch_size",
        "augment",
        "versions.keras",
        "dataset",
        "num_examples",
        "mean_average_precision",
        "hamming_loss",
    ]
    # A setting that a run does not know is what it is by default.
    assert found.loc["a", "augment"] == "full"
    assert found.loc["deep/b", "batch_size"] == 64
    assert set(found["dataset"]) == {"miml 1.0.0 01234567"}


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        pytest.param("mean_average_precision", ["b", "c", "a", "d"], id="more is better, undefined comes last"),
        pytest.param("hamming_loss", ["c", "a", "b", "d"], id="less is better"),
        pytest.param("seed", ["d", "c", "b", "a"], id="a setting"),
    ],
)
def test_the_best_run_is_the_first(put: Any, tmp_path: Path, sort: str, order: list[str]) -> None:
    put("a", {"mean_average_precision": 0.25, "hamming_loss": 0.2}, seed=9)
    put("b", {"mean_average_precision": 0.75, "hamming_loss": 0.3}, seed=8)
    put("c", {"mean_average_precision": 0.5, "hamming_loss": 0.1}, seed=7)
    put("d", {"mean_average_precision": None, "hamming_loss": 0.4}, seed=6)
    assert list(_table(tmp_path, sort).index) == order


def test_several_datasets_are_told_and_so_is_that_of_an_older_run(put: Any, tmp_path: Path) -> None:
    one = {"name": "a", "version": "1.0.0", "fingerprint": "1" * 64}
    two = {"name": "b", "version": "2.0.0", "fingerprint": "2" * 64}
    put("both", datasets=[one, two], classes=["sea", "trees"])
    old = put("old")
    config = json.loads((old / run_folder.CONFIG).read_text())
    (old / run_folder.CONFIG).write_text(json.dumps({"seed": 0, "dataset": one, "versions": config["versions"]}))
    found = _table(tmp_path)
    assert found.loc["both", "dataset"] == "a 1.0.0 11111111 + b 2.0.0 22222222"
    assert found.loc["old", "dataset"] == "a 1.0.0 11111111"
    assert list(found["classes"].loc[["both", "old"]]) == ["sea,trees", ""]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        pytest.param("config.json", "{", "its config.json cannot be read: ", id="half a configuration"),
        pytest.param("config.json", "[]", "its config.json is damaged: it holds no settings", id="a list"),
        pytest.param("config.json", "{}", "its config.json is not of a run of multihot", id="another program's"),
        pytest.param("config.json", '{"datasets": 3}', "its config.json is not of a run", id="no datasets"),
        pytest.param("evaluation.json", None, "it has no evaluation.json: it has not ended, or has failed", id="none"),
        pytest.param("evaluation.json", "", "its evaluation.json cannot be read: ", id="an empty evaluation"),
        pytest.param("evaluation.json", "{}", "its evaluation.json is damaged: it has no mean", id="no metric"),
    ],
)
def test_a_folder_that_cannot_be_compared_is_named_and_stops_nothing(
    put: Any, tmp_path: Path, name: str, content: str | None, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put("good")
    bad = put("bad")
    if content is None:
        (bad / name).unlink()
    else:
        (bad / name).write_text(content)
    _main(tmp_path)
    shown = capsys.readouterr().out
    assert "good" in shown.split("Left out:")[0]
    assert f"{bad}: {reason}" in shown.split("Left out:")[1]
    with pytest.raises(UserError, match=f"^{bad} has no run that has ended"):
        _main(bad)


def test_a_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path} has no run that has ended"):
        _main(tmp_path)


def test_an_unknown_metric_names_those_that_there_are(put: Any, tmp_path: Path) -> None:
    put("a")
    with pytest.raises(UserError) as caught:
        _main(tmp_path, sort="accuracy")
    assert str(caught.value) == (
        "--sort: no run has 'accuracy'. There are: num_examples, mean_average_precision, hamming_loss, and all settings"
    )


def test_the_table_is_written_as_it_is_shown(put: Any, tmp_path: Path) -> None:
    put("runs/a", seed=1)
    put("runs/b", seed=2)
    _main(tmp_path / "runs", csv=str(tmp_path / "runs.csv"), sort="seed")
    found = pd.read_csv(tmp_path / "runs.csv", index_col="run")
    assert list(found["seed"]) == [1, 2]
    assert list(found.index) == ["a", "b"]


@pytest.mark.slow
def test_a_run_that_was_made_can_be_read(
    recipe: Callable[..., TrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = recipe("", output=str(tmp_path / "run"), image_size=8, epochs=1, augment="none")
    result = train.train_and_evaluate(asked)
    capsys.readouterr()
    found = _table(tmp_path)
    assert found.loc["run", "mean_average_precision"] == result["mean_average_precision"]
    assert set(result) - set(found.columns) == {"average_precision"}
    assert [type(run) for _, run in runs.find(tmp_path)] == [runs.Run]


def test_the_program_itself_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "trainer.runs", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: {tmp_path} has no run that has ended.\n"
