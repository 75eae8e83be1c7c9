"""scripts/bench_learning: when trainings are as good as asked for, those that fail, its table, its programs."""

import contextlib
import csv
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import learning
import learning_rows
import same_images
import training_process
from converter.job import pipeline
from converter.options import ConvertOptions
from converter.parsing import parse_splits
from learning_rows import CONTENDERS, FIGURES, PLAIN, Contender, Result
from same_images import SameImages
from training_process import Epoch, Training, TrainingError

_ROOT = Path(__file__).parents[1]
_NUM_IMAGES = 60
_SCRATCH, _IMAGENET = CONTENDERS[1:]
# A line of the trainer, and one of the plain script.
_LINES = (
    "Epoch 1/40: 6.3 s, loss 0.4210, val_loss 0.4001, val_mean_average_precision 0.7012",
    "Epoch 2/40: val_mean_average_precision 0.8803",
    "Epoch 3/40: 6.1 s, loss 0.3210, val_loss 0.3001, val_mean_average_precision 0.8700",
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., bytes]) -> SameImages:
    """Returns JPEGs of two splits, in all forms."""
    folder = tmp_path_factory.mktemp("learning")
    (folder / "images").mkdir()
    with open(folder / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "desert", "sea", "trees"])
        for i in range(_NUM_IMAGES):
            (folder / "images" / f"{i}.jpg").write_bytes(draw(i, width=70 + i, height=90))
            table.writerow([f"{i}.jpg", i % 2, int(i % 3 == 0), int(i % 5 != 0)])
    options = ConvertOptions(
        csv=str(folder / "labels.csv"),
        images=str(folder / "images"),
        output=str(folder / "data"),
        splits=parse_splits("train=0.7,validation=0.3"),
    )
    assert pipeline.convert(options)
    (folder / "forms").mkdir()
    return same_images.unpack(options.dataset, folder / "forms")


def _program(*lines: str) -> list[str]:
    """Returns the command of a program of these lines of Python; `say` prints, and returns at once."""
    return [sys.executable, "-c", "\n".join(("import sys, time", "say = lambda text: print(text, flush=True)", *lines))]


def _run(*lines: str, **more: Any) -> Training:
    return training_process.run(_program(*lines), dict(os.environ), **{"timeout_seconds": 60, **more})


def _says(lines: Sequence[str]) -> list[str]:
    return [f"say({line!r})" for line in lines]


def test_epochs_are_timed_from_the_start_of_the_command() -> None:
    training = _run("time.sleep(0.5)", *_says(_LINES[:1]), "say('Epoch 7')", "time.sleep(0.5)", *_says(_LINES[1:]))
    assert [one.mean_average_precision for one in training.epochs] == [0.7012, 0.8803, 0.87]
    first, second, third = (one.seconds for one in training.epochs)
    assert first >= 0.5
    assert second - first >= 0.4
    assert training.seconds is not None
    assert training.seconds >= third >= second
    assert training.seconds_to(0.88) == second
    assert training.seconds_to(0.5) == first
    assert training.seconds_to(0.9) is None


def test_a_training_that_is_as_good_as_asked_for_is_killed_with_what_it_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    training = _run(
        "import pathlib, subprocess",
        "process = subprocess.Popen(['sleep', '60'])",
        f"pathlib.Path({str(started)!r}).write_text(str(process.pid))",
        *_says(_LINES[:2]),
        "process.wait()",
        until=0.88,
    )
    assert len(training.epochs) == 2
    assert training.seconds is None
    # A killed process is there for a moment, and as a zombie for as long as nobody asks for it.
    deadline = time.monotonic() + 30
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(int(started.read_text())).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        pytest.param(["sys.exit('error: no such weights')"], "status 1: error: no such weights", id="fails"),
        pytest.param(
            ["sys.exit('error: no such weights\\nTo clear it: rm -r run')"],
            "status 1: error: no such weights$",
            id="hints",
        ),
        pytest.param(["import no_such_module"], "status 1: ModuleNotFoundError: No module", id="raises"),
        pytest.param([*_says(_LINES), "sys.exit(3)"], "status 3: it said nothing", id="fails after its epochs"),
        pytest.param(["time.sleep(60)"], "it did not end within 0.5 s", id="hangs"),
        pytest.param(["say('no epoch')"], "it printed no epoch", id="trains nothing"),
    ],
)
def test_a_training_that_fails_says_why(lines: Sequence[str], reason: str) -> None:
    hangs = "time.sleep(60)" in lines
    with pytest.raises(TrainingError, match=reason):
        _run(*lines, timeout_seconds=0.5 if hangs else 60)


def _evaluate(*_: object) -> dict[str, Any]:
    return {**dict.fromkeys(FIGURES, 0.5), "num_examples": 3}


def _measure(programs: dict[str, list[str]], images: SameImages, folder: Path, **more: Any) -> dict[str, list[Result]]:
    contenders = [
        Contender(name, "", "sys", lambda *_, lines=lines: _program(*lines), _evaluate)
        for name, lines in programs.items()
    ]
    given = {"seeds": (0, 1), "until": 0.88, "timeout_seconds": 60, **more}
    return learning.measure(contenders, images, folder, **given)


def test_all_trainings_run_for_each_seed_and_one_that_fails_does_not_stop_the_others(
    images: SameImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = {"good": _says(_LINES), "broken": ["sys.exit('out of luck')"], "slow": _says(_LINES[:1])}
    results = _measure(programs, images, tmp_path)
    assert {name: [one.seed for one in of_one] for name, of_one in results.items()} == {"good": [0, 1], "slow": [0, 1]}
    # Stopped, and to the end without being as good.
    assert [one.evaluation for one in results["good"]] == [None, None]
    assert [one.evaluation for one in results["slow"]] == [dict.fromkeys(FIGURES, 0.5)] * 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "good, seed 0", "not measured", "slow, seed 0", "good, seed 1", "slow, seed 1"
    ]  # fmt: skip
    assert lines[1] == "not measured: broken: it ended with status 1: out of luck"
    assert "seed 0: below 0.88, at best 0.7012; 1 epochs, " in lines[2]
    assert not list(tmp_path.iterdir())


def test_a_training_to_the_end_is_evaluated(images: SameImages, tmp_path: Path) -> None:
    (result,) = _measure({"good": _says(_LINES)}, images, tmp_path, seeds=(5,), to_the_end=True)["good"]
    assert len(result.training.epochs) == 3
    assert result.training.seconds is not None
    assert result.evaluation == dict.fromkeys(FIGURES, 0.5)


def _result(seed: int, *seconds_to_good: float, whole: float | None = None, figure: float | None = None) -> Result:
    """Returns a training that was good after so many seconds, or never."""
    epochs = [Epoch(1.0, 0.6), *(Epoch(seconds, 0.9) for seconds in seconds_to_good)]
    return Result(seed, Training(epochs, whole), None if whole is None else dict.fromkeys(FIGURES, figure))


def test_the_table_has_means_ranges_and_ratios_of_the_same_seed() -> None:
    results = {
        PLAIN.name: [_result(0, 200.0), _result(1, 100.0), _result(2, 300.0)],
        _SCRATCH.name: [_result(i, time, whole=400.0, figure=0.9 + i / 100) for i, time in enumerate((50, 50, 60))],
        _IMAGENET.name: [_result(0, 12.0), _result(1), _result(2, 12.0)],
    }
    assert learning_rows.ratios(results, 0.88) == {_SCRATCH.key: 0.25}
    lines = learning_rows.table(results, 0.88).splitlines()
    # Columns are at least two spaces apart, but for that of the names.
    assert [" ".join(line.split()) for line in lines] == [
        "s to 0.88 / plain PyTorch s in all mAP LRAP one-error hamming loss",
        "plain PyTorch 200.0 (100.0..300.0) - - - - - -",
        "ours, from scratch 53.3 (50.0..60.0) 0.25 400.0 (400.0..400.0)" + 4 * " 0.910 (0.900..0.920)",
        "ours, ImageNet weights 12.0 (12.0..12.0), 2 of 3 - - - - - -",
    ]


def test_seeds_with_which_the_plain_script_is_never_good_have_no_ratio() -> None:
    plain = [_result(0, 100.0), _result(1), _result(2, 200.0)]
    ours = {0: _result(0, 50.0), 1: _result(1, 90.0), 2: _result(2, 60.0)}
    good = {PLAIN.name: plain, _SCRATCH.name: list(ours.values())}
    assert learning_rows.ratios(good, 0.88) == {_SCRATCH.key: pytest.approx(0.4)}
    assert learning_rows.ratios({**good, _SCRATCH.name: [ours[0], ours[1], _result(2)]}, 0.88) == {}
    assert learning_rows.ratios({**good, PLAIN.name: [_result(seed) for seed in range(3)]}, 0.88) == {}
    assert learning_rows.ratios({_SCRATCH.name: good[_SCRATCH.name]}, 0.88) == {}


def test_a_single_seed_has_no_range() -> None:
    table = learning_rows.table({_SCRATCH.name: [_result(0, 50.0, whole=90.0, figure=None)]}, 0.88)
    assert table.splitlines()[1].split()[3:] == ["50.0", "-", "90.0", "-", "-", "-", "-"]


def test_the_json_has_every_epoch(tmp_path: Path) -> None:
    results = {_SCRATCH.name: [_result(7, 50.0, whole=90.0, figure=0.9)], PLAIN.name: [_result(7)]}
    learning.write_json(str(tmp_path / "out.json"), results, {"a": 0.5}, 0.88)
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["ratios"] == {"a": 0.5}
    ours, plain = written["trainings"]
    assert ours == {
        "name": _SCRATCH.name,
        "seed": 7,
        "seconds_to_target": 50.0,
        "seconds": 90.0,
        "epochs": [
            {"seconds": 1.0, "mean_average_precision": 0.6},
            {"seconds": 50.0, "mean_average_precision": 0.9},
        ],
        "evaluation": dict.fromkeys(FIGURES, 0.9),
    }
    assert plain["seconds_to_target"] is plain["evaluation"] is None


def test_scores_of_the_plain_script_are_evaluated_as_ours_are(images: SameImages, tmp_path: Path) -> None:
    labels = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]], np.float32)
    np.savez(tmp_path / "scores.npz", labels=labels, scores=np.float32([[0.9, 0.2, 0.7], [0.6, 0.4, 0.3], [0.1, 0, 0]]))
    found = PLAIN.evaluate(images, tmp_path)
    assert {name: found[name] for name in FIGURES} == {
        "mean_average_precision": 1.0,
        "label_ranking_average_precision": pytest.approx((1 + (1 / 2 + 2 / 3) / 2 + 1) / 3),
        "one_error": 0.5,
        "hamming_loss_at_half": pytest.approx(3 / 9),
    }


def test_the_docs_name_every_ratio() -> None:
    page = (_ROOT / "docs" / "benchmarks.md").read_text()
    for one in CONTENDERS:
        assert one is PLAIN or f"`{one.key}`" in page
        assert f"| {one.name} |" in page


def _command(*flags: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, _ROOT / "scripts" / "bench" / "learning.py", *flags],
        env=same_images.environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.extended
@pytest.mark.slow
def test_the_command_stops_our_training_when_it_is_good(images: SameImages, tmp_path: Path) -> None:
    done = _command(images.dataset, "--only=scratch", "--until=0", "--seeds=3", f"--json={tmp_path / 'out.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    (training,) = json.loads((tmp_path / "out.json").read_text())["trainings"]
    assert (training["name"], training["seed"], len(training["epochs"])) == (_SCRATCH.name, 3, 1), done.stdout
    assert f"{_SCRATCH.name}, seed 3: 0 after " in done.stdout


@pytest.mark.slow
def test_a_dataset_without_a_split_to_validate_on_is_refused(
    scenes: Path, convert: Callable[..., Any], tmp_path: Path
) -> None:
    convert(splits=parse_splits("train=1"))
    done = _command(tmp_path / "out" / "scenes" / "1.0.0")
    assert done.returncode == 1
    assert "has no split validation" in done.stderr


@pytest.mark.slow
@pytest.mark.interop
def test_the_plain_script_trains_and_writes_scores_of_the_validation_split(images: SameImages, tmp_path: Path) -> None:
    if not (_ROOT / ".venv-interop-pytorch" / ".installed").exists():
        pytest.skip("run scripts/interop_venvs pytorch first")
    training = training_process.run(
        [*PLAIN.command(images, 0, tmp_path), "2"], same_images.environment(), timeout_seconds=200
    )
    assert len(training.epochs) == 2
    with np.load(tmp_path / "scores.npz") as found:
        labels, scores = found["labels"], found["scores"]
    with open(Path(images.folder, "labels.csv"), newline="") as file:
        by_name = {name: [float(value) for value in values] for name, *values in list(csv.reader(file))[1:]}
    names = sorted(path.name for path in Path(images.folder, "images", "validation").iterdir())
    assert labels.tolist() == [by_name[name] for name in names]
    assert scores.shape == labels.shape
    assert 0 < scores.min() <= scores.max() < 1
    evaluation = PLAIN.evaluate(images, tmp_path)
    # The script prints four digits.
    assert math.isclose(evaluation["mean_average_precision"], training.epochs[-1].mean_average_precision, abs_tol=1e-4)
