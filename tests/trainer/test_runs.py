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

    def make(
        name: str,
        metrics: dict[str, Any] | None = None,
        history: dict[str, list[float | None]] | None = None,
        **settings: Any,
    ) -> Path:
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
        if history:
            (folder / "history.json").write_text(json.dumps(history))
        return folder

    return make


def _table(root: Path, sort: str = runs.DEFAULT_SORT, *, by_run: bool = False) -> pd.DataFrame:
    return runs.table([run for _, run in runs.find(root) if isinstance(run, runs.Run)], sort, by_run=by_run)


def _main(folder: Path, **given: Any) -> None:
    runs.main(runs.RunsOptions(directory=str(folder), **given))


def test_settings_that_differ_are_shown_and_no_others(put: Any, tmp_path: Path) -> None:
    put("a", seed=1, batch_size=32, versions={"keras": "3.2"})
    put("deep/b", seed=1, batch_size=64, augment="none")
    found = _table(tmp_path)
    assert list(found.columns) == [
        "mean_average_precision",
        "epochs",
        "batch_size",
        "augment",
        "versions.keras",
        "num_examples",
        "hamming_loss",
        "dataset",
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
    assert list(_table(tmp_path, sort, by_run=True).index) == order


def test_loss_epochs_and_device_stand_beside_the_metric_that_sorts(put: Any, tmp_path: Path) -> None:
    put("cpu", history={"loss": [0.9, 0.8], "val_loss": [0.7, 0.6]}, environment={"device": "CPU (2 cores)"}, epochs=2)
    put("gpu", {"hamming_loss": 0.1}, history={"loss": [0.9], "val_loss": [0.5]}, environment={"device": "A10G"})
    put("old", {"hamming_loss": 0.3}, epochs=40, unfreeze_epochs=8)
    found = _table(tmp_path, "hamming_loss")
    first = ["hamming_loss", "mean_average_precision", "val_loss", "epochs", "device"]
    assert list(found.columns)[:5] == first
    assert [line.split(maxsplit=5) for line in runs.to_text(found[first]).splitlines()[1:]] == [
        ["gpu", "0.1000", "0.5000", "0.5000", "1", "A10G"],
        ["cpu", "0.2500", "0.5000", "0.6000", "2", "CPU (2 cores)"],
        ["old", "0.3000", "0.5000", "undefined", "48", "unknown"],
    ]


def test_runs_that_differ_in_their_seed_are_one_row(put: Any, tmp_path: Path) -> None:
    for seed, precision in ((0, 0.5), (1, 0.6), (10, 0.7)):
        put(f"a/seed{seed}", {"mean_average_precision": precision, "one_error": None if seed else 0.5}, seed=seed)
    put("b", {"mean_average_precision": 0.65, "one_error": 0.25}, seed=0, batch_size=64)
    found = _table(tmp_path)
    assert list(found.index) == ["b", "a/seed{0,1,10}"]
    assert list(found["runs"]) == [1, 3]
    assert list(found["seed"]) == [0, "0,1,10"]
    assert found.loc["a/seed{0,1,10}", "mean_average_precision"] == pytest.approx(0.6)
    assert found.loc["a/seed{0,1,10}", "mean_average_precision_sd"] == pytest.approx(0.1)
    assert pd.isna(found.loc["b", "mean_average_precision_sd"])
    # Of the runs in which it is defined.
    assert found.loc["a/seed{0,1,10}", "one_error"] == 0.5
    assert "num_examples_sd" not in found
    line = runs.to_text(found).splitlines()[2]
    assert line.split()[:6] == ["a/seed{0,1,10}", "3", "0.6000", "±", "0.1000", "40"]
    assert "undefined" not in line
    # A row for each run.
    assert list(_table(tmp_path, by_run=True).index) == ["a/seed10", "b", "a/seed1", "a/seed0"]
    assert "runs" not in _table(tmp_path, by_run=True)
    assert list(_table(tmp_path, "seed").index) == ["a/seed0", "b", "a/seed1", "a/seed10"]


def test_runs_on_other_data_or_of_other_versions_are_other_rows(put: Any, tmp_path: Path) -> None:
    put("a", seed=1)
    put("b", seed=2, versions={"keras": "3.2"})
    put("c", seed=3, datasets=[{"name": "miml", "version": "1.0.0", "fingerprint": "f" * 16}])
    assert sorted(_table(tmp_path).index) == ["a", "b", "c"]


def test_the_epochs_of_a_group_are_their_mean(put: Any, tmp_path: Path) -> None:
    for seed, epochs in ((0, 11), (1, 12)):
        put(f"s{seed}", history={"val_loss": [0.5] * epochs}, seed=seed, epochs=40, early_stopping=3)
    assert runs.to_text(_table(tmp_path)[["epochs"]]).splitlines()[1].split() == ["s{0,1}", "11.5"]


def test_a_group_with_long_names_has_the_first_of_them(put: Any, tmp_path: Path) -> None:
    for seed in range(9):
        put(f"{'ab'[seed % 2]} long name of a run {seed} that says much", seed=seed)
    assert list(_table(tmp_path).index) == ["a long name of a run 0 that says much and 8 more"]


def test_a_table_in_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--csv must be a file of this machine\. Received: 'gs://bucket/runs\.csv'"):
        _main(tmp_path, csv="gs://bucket/runs.csv")


def test_groups_are_explained_and_written_with_their_spread(
    put: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(2):
        put(f"runs/{seed}", {"mean_average_precision": 0.5 + seed / 10}, seed=seed)
    _main(tmp_path / "runs", csv=str(tmp_path / "runs.csv"))
    shown = capsys.readouterr().out
    assert "0.5500 ± 0.0707" in shown
    assert shown.endswith("--by_run\n")
    found = pd.read_csv(tmp_path / "runs.csv", index_col="run")
    assert list(found.index) == ["{0,1}"]
    assert list(found["seed"]) == ["0,1"]
    assert found["mean_average_precision_sd"].iloc[0] == pytest.approx(0.0707, abs=1e-4)
    _main(tmp_path / "runs", csv=str(tmp_path / "runs.csv"), by_run=True)
    assert "±" not in capsys.readouterr().out
    assert list(pd.read_csv(tmp_path / "runs.csv", index_col="run").index) == [1, 0]


def test_an_unfinished_run_is_listed_with_its_epochs(
    put: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("good")
    bad = put("bad", history={"loss": [0.5, 0.4, 0.3], "val_loss": [None, 0.4, 0.3]}, epochs=5, unfreeze_epochs=2)
    (bad / run_folder.EVALUATION).unlink()
    _main(tmp_path)
    assert capsys.readouterr().out.endswith(
        f"Left out:\n{bad}: it has no evaluation.json: 3 of 7 epochs are trained; it has not ended, or has failed\n"
    )
    (bad / "history.json").write_text('{"loss": [0.5, 0')
    _main(tmp_path)
    assert f"{bad}: it has no evaluation.json: it has not ended, or has failed" in capsys.readouterr().out


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
