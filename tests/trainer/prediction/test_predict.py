"""Files, folders and patterns get rows with the predictions of a run, in order, whatever the files are."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

import trainer
from multihot import flags, locking
from multihot.errors import UserError
from schemas import example
from trainer import finished_run, model_file, predict
from trainer.config import TrainConfig
from trainer.input import pipeline, reading
from trainer.model_file import ModelInfo
from trainer.prediction.loaded import LoadedModel
from trainer.prediction.reading import Reader
from trainer.prediction.table import Format, Table, reason, whole_rows
from trainer.system import devices, numerics

_ROOT = Path(__file__).parents[3]
Predict = Callable[..., list[dict[str, str]]]


@pytest.fixture
def predict_on(finished: Path, tmp_path: Path) -> Predict:
    """Returns the function that runs the program in this process, and reads the rows of the CSV."""

    def run(*words: object, output: Path = tmp_path / "predictions.csv") -> list[dict[str, str]]:
        argv = ["predict", f"--run={finished}", f"--output={output}", *map(str, words)]
        predict.main(flags.parse(predict.USAGE, argv))
        with output.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return run


def _probabilities(row: dict[str, str]) -> list[float]:
    return [float(value) for name, value in row.items() if name.startswith("p_")]


@pytest.mark.parametrize("decode", ["scaled", "exact"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_files_give_the_pixels_that_a_conversion_and_a_training_give(
    resize: str, decode: str, finished: Path, recipe: Callable[..., TrainConfig], source: Path
) -> None:
    run = finished_run.find(str(finished))
    config = recipe("", image_size=24, resize=resize, decode=decode, output="unused")
    data = run.sources()
    for split in ("modes", "validation"):
        trained_on = np.concatenate([images for images, _ in pipeline.decoded_chunks(config, data, split, 24)])
        records = tf.io.parse_example(
            list(reading.records(data.each[0], split)), example.parse_spec(4, (example.FILENAME,))
        )
        names = [name.decode() for name in records[example.FILENAME].numpy()]
        changes = {"image_size": 24, "resize": resize, "decode": decode}
        reader = Reader(ModelInfo(**{**vars(run.info), **changes}))
        batch = reader.batch([(name, (source / "images" / name).read_bytes) for name in names])
        assert batch.faults == [None] * len(names)
        np.testing.assert_array_equal(batch.images, trained_on)


def test_rows_have_the_scores_of_the_run_on_the_converted_dataset(
    finished: Path, predict_on: Predict, source: Path
) -> None:
    run = finished_run.find(str(finished))
    data, config = run.sources(), run.config_for("validation")
    network = run.load_model()
    expected = []
    for images, _ in pipeline.evaluation_dataset(config, data, "validation"):
        expected += list((network(images) + network(images[:, :, ::-1])).numpy() / 2)
    rows = predict_on(source / "images" / "validation*")
    by_name = {Path(row["file"]).name: row for row in rows}
    records = tf.io.parse_example(
        list(reading.records(data.each[0], "validation")), example.parse_spec(4, (example.FILENAME,))
    )
    assert len(rows) == len(expected) == 21
    for name, scores in zip(records[example.FILENAME].numpy(), expected, strict=True):
        row = by_name[name.decode()]
        np.testing.assert_allclose(_probabilities(row), scores, atol=1e-6)
        named = [label for label, score in zip(run.info.classes, scores, strict=True) if score >= 0.5]
        assert row["labels"] == ",".join(named)


def test_files_that_cannot_be_used_are_rows_with_their_reason(
    predict_on: Predict, tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    good = (source / "images" / "rgb.jpg").read_bytes()
    contents = {
        "=cmd, 'a' & <b>.jpg": good,
        "cut.jpg": good[: len(good) // 2],
        "deeper/é\nline.png": (source / "images" / "rgb.png").read_bytes(),
        "empty.jpg": b"",
        "notes.txt": b"text",
        "photo.tif": b"II*\0",
        ".hidden.jpg": good,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    rows = predict_on(folder, source / "images" / "rgb.jpg", "--batch_size=2")
    names = [f"{folder}/{name}" for name in sorted(contents) if not name.startswith(".")]
    assert [row["file"].replace("'=", "=") for row in rows] == [*names, f"{source}/images/rgb.jpg"]
    reasons = ["", "corrupt_image", "", "empty_file", "not_an_image", "unsupported_format", ""]
    assert [row["reason"] for row in rows] == reasons
    assert all(bool(row["detail"]) == bool(row["reason"]) == (row["p_blue"] == "") for row in rows)
    said = capsys.readouterr().out
    assert "3 images predicted" in said
    assert "Could not be used: 4 of the files (corrupt_image 1, empty_file 1" in said


def test_what_is_no_file_is_a_row(predict_on: Predict, tmp_path: Path, source: Path) -> None:
    (tmp_path / "a.jpg").write_bytes((source / "images" / "rgb.jpg").read_bytes())
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    (tmp_path / "c.jpg").symlink_to("nothing")
    rows = predict_on(tmp_path / "*.jpg", "--max_image_mb=1")
    assert [row["reason"] for row in rows] == ["", "unreadable_file", "missing_file"]
    assert rows[1]["detail"] == "is no file"


def test_a_name_that_is_not_utf_8_is_that_of_a_file(predict_on: Predict, tmp_path: Path, source: Path) -> None:
    good = (source / "images" / "rgb.jpg").read_bytes()
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    # The last name is UTF-8, and looks like that of a listing.
    for name in (b"deeper/caf\xe9.jpg", b"\xff.jpg", rb"\udcfe.jpg"):
        try:
            (folder / os.fsdecode(name)).write_bytes(good)
        except OSError:
            pytest.skip("this file system knows no such names")
    rows = predict_on(folder)
    names = [r"\udcfe.jpg", r"\udcff.jpg", r"deeper/caf\udce9.jpg"]
    assert [row["file"] for row in rows] == [f"{folder}/{name}" for name in names]
    assert {row["reason"] for row in rows} == {""}


def test_some_images_are_explained_by_maps(
    predict_on: Predict, tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, picture = tmp_path / "grey", tmp_path / "predictions.explained.png"
    folder.mkdir()
    (folder / "$a$ <b>, \n바다.jpg").write_bytes(b"")
    assert len(predict_on(folder, "--explain=3")) == 1
    assert "None of the images for --explain could be used" in capsys.readouterr().out
    assert not picture.exists()
    for name in ("grey.jpg", "grey.png"):
        (folder / f"$a$ <b>, \n바다 {name}").write_bytes((source / "images" / name).read_bytes())
    assert len(predict_on(folder, "--explain=3", "--overwrite")) == 3
    assert f"Activation maps of 2 images: {picture}" in capsys.readouterr().out
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    width = pixels.shape[1]
    coloured = np.ptp(pixels, axis=2) > 40
    # Of each of the two images in a row of three, the second panel has the map; the images are grey.
    panels = [coloured[:, width * i // 6 : width * (i + 1) // 6].any() for i in range(6)]
    assert panels == [False, True, False, True, False, False]
    with pytest.raises(UserError, match=r"--explain must be from 0 to 300\. Received: 301"):
        predict_on(folder, "--explain=301")


def test_places_that_are_not_there_are_one_sentence(predict_on: Predict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no file and no folder .*nothing\.jpg"):
        predict_on(tmp_path / "nothing.jpg")
    with pytest.raises(UserError, match=r"No file matches .*\*\.jpg"):
        predict_on(tmp_path / "*.jpg")
    with pytest.raises(UserError, match=r"FILE\.\.\. is required"):
        predict_on()
    (tmp_path / "predictions.csv").write_text("mine")
    with pytest.raises(UserError, match=r"predictions\.csv exists.* --overwrite"):
        predict_on(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"--output must be a file\. .*folder\.csv is a folder"):
        predict_on(tmp_path, "--overwrite", output=tmp_path / "folder.csv")
    with pytest.raises(UserError, match=r"must end with \.csv or \.parquet"):
        predict_on(tmp_path, output=tmp_path / "predictions.txt")


def test_parquet_has_the_same_rows(predict_on: Predict, source: Path, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "=1.jpg").write_bytes(b"")
    places = (source / "images" / "rgb*", tmp_path / "=1.jpg")
    rows = predict_on(*places)
    output = tmp_path / "predictions.parquet"
    argv = ["predict", f"--run={finished}", f"--output={output}", *map(str, places)]
    predict.main(flags.parse(predict.USAGE, argv))
    table = pq.read_table(output)
    assert table.column("file").to_pylist() == [row["file"].replace("/'=", "/=") for row in rows]
    assert table.column("labels").to_pylist() == [row["labels"].split(",") if row["labels"] else [] for row in rows]
    assert table.column("reason").to_pylist() == [row["reason"] or None for row in rows]
    written = [f"{score:.7g}" if score is not None else "" for score in table.column("p_red").to_pylist()]
    assert written == [row["p_red"] for row in rows]
    assert not list(tmp_path.glob(".*.part"))


def test_goes_on_behind_the_last_whole_row(
    predict_on: Predict, finished: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = source / "images"
    rows = predict_on(folder)
    whole = (tmp_path / "predictions.csv").read_bytes()
    (tmp_path / "predictions.csv").unlink()
    options = flags.parse(predict.USAGE, ["predict", f"--run={finished}", str(folder)])
    key = predict._key(options, finished_run.find(str(finished)))[:12]
    part = tmp_path / f".predictions.csv.{key}.part"
    for cut in (0, 10, len(whole) // 2, len(whole)):
        part.write_bytes(whole[:cut])
        assert predict_on(folder) == rows
        assert not part.exists()
        (tmp_path / "predictions.csv").unlink()
    assert f"of {len(rows)} files." in capsys.readouterr().out
    part.write_bytes(whole.replace(b"rgb.jpg", b"old.jpg"))
    with pytest.raises(UserError, match=r"old\.jpg is no longer .* --overwrite"):
        predict_on(folder)
    assert predict_on(folder, "--overwrite") == rows


def test_auto_is_bfloat16_where_the_processor_is_fast_in_it(
    predict_on: Predict, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not devices.processor_computes_bfloat16_fast():
        pytest.skip("needs a processor with AMX, and no GPU")
    exact = [_probabilities(row) for row in predict_on(source / "images" / "rgb*.jpg")]
    assert "The model computes in" not in capsys.readouterr().out
    try:
        rows = predict_on(source / "images" / "rgb*.jpg", "--precision=auto", "--overwrite")
    finally:
        numerics.choose_for_predictions("float32")
    rounded = [_probabilities(row) for row in rows]
    assert "The model computes in bfloat16.\n" in capsys.readouterr().out
    assert rounded != exact
    np.testing.assert_allclose(rounded, exact, atol=0.02)


def test_auto_is_float32_on_other_processors(
    predict_on: Predict, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = predict_on(source / "images" / "rgb*.jpg")
    monkeypatch.setattr(devices, "processor_computes_bfloat16_fast", lambda: False)
    assert predict_on(source / "images" / "rgb*.jpg", "--precision=auto", "--overwrite") == exact
    assert "The model computes in" not in capsys.readouterr().out


def test_rows_of_another_precision_are_not_gone_on_with(finished: Path) -> None:
    run = finished_run.find(str(finished))
    parsed = [
        flags.parse(predict.USAGE, ["predict", f"--run={finished}", "photos", f"--precision={precision}"])
        for precision in ("float32", "auto")
    ]
    assert len({predict._key(options, run) for options in parsed}) == 2


def test_two_processes_do_not_write_the_same_rows(
    predict_on: Predict, finished: Path, source: Path, tmp_path: Path
) -> None:
    folder, output = source / "images", tmp_path / "predictions.csv"
    options = flags.parse(predict.USAGE, ["predict", f"--run={finished}", str(folder)])
    run = finished_run.find(str(finished))
    key = predict._key(options, run)
    with Table(output, run.info, key) as rows:  # A lock keeps out this process too.
        for words in ((), ("--overwrite",)):
            with pytest.raises(UserError, match=r"Another process writes the rows of .*predictions\.csv\. Wait"):
                predict_on(folder, *words)
        rows.finish()
        assert output.read_bytes() == Format(run.info).header
    output.unlink()
    assert len(predict_on(folder)) == len(list(folder.iterdir()))


def test_rows_that_get_their_name_meanwhile_are_left_alone(
    odd: ModelInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    with Table(path, odd, "key") as first:
        # Another process opens the file, and has the lock when the first one has ended.
        monkeypatch.setattr(locking, "hold", lambda _: first.finish() is None)
        with pytest.raises(UserError, match="Another process writes"):
            Table(path, odd, "key")
    assert path.read_bytes() == Format(odd).header


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with_and_no_row_is_lost_or_doubled(
    finished: Path, source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3000):
        os.link(source / "images" / "rgb.jpg", folder / f"{i:04}.jpg")
    output = tmp_path / "rows.csv"
    command = [sys.executable, "-m", "trainer.predict", f"--run={finished}", str(folder), f"--output={output}"]
    for _ in range(2):
        process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL)
        begun = [0]
        while begun[0] < 20_000 and process.poll() is None:
            begun = [path.stat().st_size for path in tmp_path.glob(".rows.csv.*.part")] or [0]
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not output.exists()
    said = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    assert "Going on after" in said
    assert list(pd.read_csv(output)["file"]) == [f"{folder}/{i:04}.jpg" for i in range(3000)]


@pytest.fixture(scope="module")
def odd() -> ModelInfo:
    """Notes of a model whose classes have odd names."""
    return ModelInfo(
        classes=("a, b", "=c"),
        image_size=8,
        resize="stretch",
        decode="scaled",
        softmax=False,
        flip=False,
        thresholds=(0.5, 0.5),
        fingerprints=(),
    )


@pytest.mark.parametrize("name", ["a\rb.jpg", "a\r\nb.jpg", "\r", 'a\r"b".jpg', "a\nb.jpg"])
def test_a_line_break_in_a_name_ends_no_row(name: str, odd: ModelInfo, tmp_path: Path) -> None:
    batch = Reader(odd).batch([(name, lambda: b"")] * 2)
    nothing = np.zeros((0, 2), np.float32)
    for output in ("rows.csv", "rows.parquet"):
        with Table(tmp_path / output, odd, "key") as rows:
            rows.add(batch, nothing)
        with Table(tmp_path / output, odd, "key") as rows:
            assert list(rows.names()) == [name] * 2
            rows.finish()
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [name] * 2
    assert pq.read_table(tmp_path / "rows.parquet").column("file").to_pylist() == [name] * 2
    (line, _) = whole_rows(io.BytesIO(Format(odd).lines(batch, nothing)))
    assert reason(line) == "empty_file"


def test_a_class_with_a_comma_is_in_a_list_of_json(odd: ModelInfo, tmp_path: Path) -> None:
    batch = Reader(odd).batch([("none.jpg", lambda: b"")])
    for name in ("rows.csv", "rows.parquet"):
        with Table(tmp_path / name, odd, "key") as rows:
            rows.add(batch._replace(faults=[None]), np.array([[0.5, 0.75]], np.float32))
            rows.finish()
    assert (tmp_path / "rows.csv").read_text().splitlines()[1] == 'none.jpg,"[""a, b"", ""=c""]",,,0.5,0.75'
    (row,) = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert list(row.values()) == ["none.jpg", ["a, b", "=c"], None, None, 0.5, 0.75]


@pytest.fixture(scope="module")
def model(finished: Path) -> LoadedModel:
    return trainer.load_model(finished)


def test_a_model_takes_paths_bytes_and_arrays(model: LoadedModel, source: Path, finished: Path) -> None:
    path = source / "images" / "rgb.png"
    pixels = tf.io.decode_png(path.read_bytes()).numpy()
    of_path, *others = model.predict([path, str(path), path.read_bytes(), pixels, pixels.astype(np.float64)])
    assert others == [of_path] * 4
    assert list(of_path.probabilities) == list(model_file.read(finished / "model.keras").classes)
    assert of_path.labels == tuple(name for name, score in of_path.probabilities.items() if score >= 0.5)
    assert model(path) == of_path
    assert len(model.predict(np.stack([pixels] * 40))) == 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pixels: pixels / 255, "multiply it by 255"),
        (lambda pixels: pixels.astype(float) - 300, "from 0 to 255. Received: -"),
        (lambda pixels: pixels * np.nan, "from 0 to 255. Received: nan"),
        (lambda pixels: pixels.astype(int) + 1000, "from 0 to 255"),
        (lambda pixels: pixels[..., 0], r"\[height, width, 3\]"),
        (lambda pixels: pixels.astype(str), "numbers from 0 to 255"),
        (lambda _: b"no image", "Image 0 cannot be used: not_an_image"),
        (lambda _: "missing.jpg", r"missing\.jpg cannot be used: missing_file"),
    ],
)
def test_a_model_refuses_what_it_would_misread(
    change: Callable[..., object], words: str, model: LoadedModel, source: Path
) -> None:
    pixels = tf.io.decode_png((source / "images" / "rgb.png").read_bytes()).numpy()
    with pytest.raises(UserError, match=words):
        model(change(pixels))


@pytest.mark.parametrize("form", [str, Path, lambda path: path.read_bytes()], ids=["str", "Path", "bytes"])
def test_one_image_in_place_of_a_list_is_refused(
    form: Callable[[Path], Sequence[object]], model: LoadedModel, source: Path
) -> None:
    with pytest.raises(UserError, match=r"takes a list of images.* model\(image\)"):
        model.predict(form(source / "images" / "rgb.png"))
