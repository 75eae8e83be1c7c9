"""The program evaluates a run on any dataset with its classes, and writes figures, a table and a page."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics

from converter.job.pipeline import convert
from converter.options import ConvertOptions
from converter.parsing import parse_splits
from multihot.errors import UserError
from trainer import evaluate, finished_run, model_file
from trainer.evaluate import EvaluateOptions
from trainer.evaluation import contents, predicting, summary
from trainer.evaluation.bootstrap import Interval
from trainer.finished_run import FinishedRun
from trainer.metrics import Predictions


def _evaluate(run: Path, output: Path, **options: Any) -> dict[str, Any]:
    evaluate.main(EvaluateOptions(run=str(run), output=str(output), **options))
    found: dict[str, Any] = json.loads((output / "evaluation.json").read_text())
    return found


@pytest.fixture
def converted(source: Path, tmp_path: Path) -> Callable[..., str]:
    """Returns the function that converts the drawn images again, with other classes: a row for each is made of it."""

    def make(name: str, classes: list[str], label: Callable[[dict[str, str], str], str], **options: Any) -> str:
        with (source / "labels.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "validation"]
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["filename", *classes])
            writer.writerows([row["filename"], *(label(row, one) for one in classes)] for row in rows)
        given = ConvertOptions(
            csv=str(tmp_path / f"{name}.csv"),
            images=str(source / "images"),
            output=str(tmp_path / "data"),
            name=name,
            label_columns=tuple(classes),
            splits=parse_splits("test=1"),
            num_shards={"test": 2},
            num_threads=1,
            **options,
        )
        convert(given)
        return given.dataset

    return make


def test_on_the_validation_split_the_figures_are_those_of_the_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "evaluation.json").read_bytes()
    found = _evaluate(finished, tmp_path / "out", slice_by=("image_size", "csv"))
    saved = json.loads(before)
    for name in ("mean_average_precision", "label_ranking_average_precision", "one_error", "hamming_loss"):
        assert found["headline"][name]["value"] == pytest.approx(saved[name], abs=1e-5)
    for name, value in saved["average_precision"].items():
        one = found["classes"][name]
        assert one["average_precision"]["value"] == pytest.approx(value, abs=1e-5)
        assert one["average_precision"]["low"] <= value <= one["average_precision"]["high"]
    assert sum(part["num_examples"] for part in found["slices"]["image_size"]) == 21
    assert (finished / "evaluation.json").read_bytes() == before
    assert found["worst"][0]["loss"] == max(one["loss"] for one in found["worst"])
    out = capsys.readouterr().out
    assert "21 images of the split 'validation' of made 1.0.0, 4 classes." in out
    assert f"mean average precision           {saved['mean_average_precision']:.4f} (" in out
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert page.count("data:image/jpeg") == 2 * 21


@pytest.mark.slow
def test_the_files_lie_in_the_folder_of_the_run_by_default(finished: Path, data: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "first"))
    evaluate.main(EvaluateOptions(run=str(run), split="jpegs"))
    evaluate.main(EvaluateOptions(run=str(run), data=(str(data),), split="jpegs"))
    found = {path.parent.name: json.loads(path.read_text()) for path in run.glob("*/evaluation.json")}
    assert set(found) == {"evaluation-jpegs", "evaluation-made-1.0.0-jpegs"}
    assert {one["num_examples"] for one in found.values()} == {10}
    assert finished_run.find(str(run))


@pytest.mark.slow
def test_classes_in_another_order_and_classes_of_one_side_alone(
    finished: Path, run: FinishedRun, converted: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = converted("mixed", ["yellow", "extra", "blue"], lambda row, one: row.get(one, "0"))
    found = _evaluate(finished, tmp_path / "out", data=(both,), split="test")
    assert list(found["classes"]) == ["blue", "yellow"]
    assert found["classes_only_in_model"] == ["green", "red"]
    assert found["classes_only_in_data"] == ["extra"]
    subject = predicting.subject(run, (both,), "test")
    all_classes = predicting.predict(run.load_model(), predicting.subject(run, (), "validation"))
    predictions = predicting.predict(run.load_model(), subject)
    # The same images, in another order.
    columns = all_classes.scores[:, [0, 3]]
    np.testing.assert_allclose(np.sort(predictions.scores, axis=0), np.sort(columns, axis=0), atol=1e-5)
    expected = sklearn.metrics.average_precision_score(all_classes.labels[:, 3], columns[:, 1])
    assert found["classes"]["yellow"]["average_precision"]["value"] == pytest.approx(expected, abs=1e-6)
    assert "The data has no green, red: these classes of the model are left out." in capsys.readouterr().out


@pytest.mark.slow
def test_unknown_labels_and_a_class_without_positives(
    finished: Path, converted: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def label(row: dict[str, str], one: str) -> str:
        if one == "red":
            return "0"
        return "" if one == "green" and row["filename"] < "validation08" else row[one]

    data = converted("unknown", ["blue", "green", "red", "yellow"], label, unknown_labels=("",))
    found = _evaluate(finished, tmp_path / "out", data=(data,), split="test")
    assert found["unknown_labels"] == {"blue": 0, "green": 8, "red": 0, "yellow": 0}
    assert found["classes"]["green"]["known"] == 13
    red = found["classes"]["red"]
    undefined = {"value": None, "low": None, "high": None}
    assert red["average_precision"] == red["f1"] == red["recall"] == red["precision"] == undefined
    assert red["precision_recall_curve"] is None
    values = [found["classes"][name]["average_precision"]["value"] for name in ("blue", "green", "yellow")]
    assert found["headline"]["mean_average_precision"]["value"] == pytest.approx(np.mean(values))
    out = capsys.readouterr().out
    assert "8 of 84 labels are unknown, and have no part in any figure." in out
    assert "No image has red: the figures of these classes are undefined, and no part of the means." in out


@pytest.mark.slow
def test_the_split_that_a_model_was_trained_on_is_said(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _evaluate(finished, tmp_path / "out", split="train", compare=str(finished))
    assert len(found["trained_on"]) == 1
    assert found["comparison"]["trained_on"] == found["trained_on"]
    out = capsys.readouterr().out
    assert "The model was trained on these images" in out
    assert f"{finished} was trained on these images ({found['trained_on'][0]}): the differences say nothing" in out


@pytest.mark.slow
def test_a_run_is_compared_with_another_one(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "second"))
    run = finished_run.find(str(other))
    network = run.load_model()
    head = network.get_layer("labels")
    # Outputs that say the contrary are worse.
    head.kernel.assign(-head.kernel)
    head.bias.assign(-head.bias)
    network.save(other / "model.keras")
    model_file.add(other / "model.keras", run.info)
    found = _evaluate(finished, tmp_path / "out", compare=str(other))["comparison"]
    assert found["headline"]["mean_average_precision"]["verdict"] == "worse"
    assert found["headline"]["brier"]["value"] > 0
    assert "lower (95 % interval of the difference: -0." in capsys.readouterr().out
    same = _evaluate(finished, tmp_path / "same", compare=str(finished))["comparison"]
    assert {one["verdict"] for one in same["headline"].values()} <= {"noise", "undefined"}


@pytest.mark.slow
def test_runs_with_their_classes_in_another_order_are_compared_class_by_class(finished: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "second"))
    run = finished_run.find(str(other))
    network = run.load_model()
    head = network.get_layer("labels")
    order = [2, 0, 3, 1]
    head.kernel.assign(np.asarray(head.kernel)[:, order])
    head.bias.assign(np.asarray(head.bias)[order])
    network.save(other / "model.keras")
    classes = tuple(run.info.classes[i] for i in order)
    model_file.add(other / "model.keras", dataclasses.replace(run.info, classes=classes))
    found = _evaluate(finished, tmp_path / "out", compare=str(other))["comparison"]
    assert all(one["value"] == pytest.approx(0, abs=1e-6) for one in found["average_precision"].values())
    assert found["headline"]["brier"]["value"] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_classes_that_only_one_run_has_are_not_said_to_be_missing_elsewhere(
    finished: Path, run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = run.load_model()

    def named(name: str, *classes: str) -> Path:
        other = Path(shutil.copytree(finished, tmp_path / name))
        network.save(other / "model.keras")
        model_file.add(other / "model.keras", dataclasses.replace(run.info, classes=classes))
        return other

    other = named("second", "blue", "cyan", "grey", "yellow")
    found = _evaluate(finished, tmp_path / "out", compare=str(other))
    assert list(found["classes"]) == ["blue", "yellow"]
    assert found["classes_only_in_model"] == found["classes_only_in_data"] == []
    assert found["comparison"]["classes_only_in_first_run"] == ["green", "red"]
    said = f"{other} does not know green, red: these classes are left out."
    out = capsys.readouterr().out
    assert said in out
    assert "The data has no" not in out and "The model does not know" not in out
    assert said in (tmp_path / "out" / "evaluation.html").read_text()
    third = named("third", "a", "b", "red", "c")
    with pytest.raises(UserError, match=r"third has a, b, red, c, and none of the classes of the other run: blue, yel"):
        _evaluate(other, tmp_path / "out", compare=str(third))


@pytest.mark.slow
def test_of_several_datasets_a_class_is_missing_in_one_of_them(
    finished: Path, converted: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    each = [["blue", "green", "extra"], ["blue", "red", "green", "yellow"]]
    data = tuple(converted(f"number{i}", classes, lambda row, one: row.get(one, "0")) for i, classes in enumerate(each))
    found = _evaluate(finished, tmp_path / "out", data=data, split="test")
    assert list(found["classes"]) == ["blue", "green"]
    assert found["classes_only_in_model"] == ["red", "yellow"]
    assert found["classes_only_in_data"] == ["extra"]
    out = capsys.readouterr().out
    assert "Not every dataset has red, yellow: these classes of the model are left out." in out
    assert "The model does not know extra: these classes of the data are left out." in out


@pytest.mark.parametrize(
    ("interval", "less", "expected"),
    [
        (Interval(0.1, 0.01, 0.2), False, "better"),
        (Interval(0.1, 0.01, 0.2), True, "worse"),
        (Interval(-0.1, -0.2, -0.01), False, "worse"),
        (Interval(-0.1, -0.2, -0.01), True, "better"),
        (Interval(0.1, -0.01, 0.2), False, "noise"),
        (Interval(0.0, 0.0, 0.0), False, "noise"),
        (Interval(0.1, None, None), False, "undefined"),
    ],
)
def test_a_verdict_follows_from_the_interval(interval: Interval, less: bool, expected: str) -> None:
    assert contents.verdict(interval, less_is_better=less) == expected
    name = "brier" if less else "f1_macro"
    comparison = {"run": "runs/b", "headline": {name: {**interval._asdict(), "verdict": expected}}}
    words = {"better": "it is better", "worse": "it is worse", "noise": "may be noise", "undefined": "Too few images"}
    assert words[expected] in summary.verdict(comparison, name)


def test_losses_are_the_cross_entropy_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((30, 4)).astype(np.float32)
    labels, known = rng.random((30, 4)) < 0.4, rng.random((30, 4)) < 0.8
    found = predicting.losses(Predictions(labels=labels, scores=scores, known=known), softmax=False)
    assert not found[~known].any()
    expected = sklearn.metrics.log_loss(labels[known], scores[known].astype(float))
    assert found[known].mean() == pytest.approx(expected, rel=1e-5)
    one_hot = np.eye(4, dtype=bool)[rng.integers(0, 4, 30)]
    shares = scores.astype(float) / scores.sum(axis=1, keepdims=True, dtype=float)
    found = predicting.losses(Predictions(labels=one_hot, scores=shares.astype(np.float32)), softmax=True)
    expected = sklearn.metrics.log_loss(one_hot.argmax(axis=1), shares)
    assert found.sum(axis=1).mean() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_what_cannot_be_evaluated_is_one_sentence(
    finished: Path, data: Path, converted: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(match: str, **options: Any) -> None:
        with pytest.raises(UserError, match=match):
            evaluate.main(EvaluateOptions(**{"run": str(finished), **options}))

    fails("There is no folder", run="nowhere")
    fails(r"no image is in the split 'tset'\. .*made.* has .*train \(48\), .*Use --split\.", split="tset")
    fails(r"--output: .* is the folder of a run, whose evaluation\.json it would replace", output=str(finished))
    fails("--output must be a folder of this machine. Received: 'gs://bucket/a'", output="gs://bucket/a")
    fails("There is no folder", compare="nowhere")
    fails("is not a dataset", data=(str(finished),))
    other = converted("other", ["sea"], lambda row, one: "1")
    classes = r"It has blue, green, red, yellow; .*other.* has sea\."
    fails(rf"has no class of the data\. {classes}", data=(other,), split="test")
    fails(r"--slice_by must be one or several of image_size, group, csv\. Received: 'size'", slice_by=("size",))
    # Before any prediction.
    monkeypatch.setattr(predicting, "predict", None)
    fails("--slice_by=group: .* has no notes about groups", slice_by=("group",))
