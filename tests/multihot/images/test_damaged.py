"""Damaged JPEGs from end to end: rejected by name, or kept and listed, and libjpeg prints nothing."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from converter.job import pipeline
from converter.options import ConvertOptions
from multihot.errors import UserError
from multihot.images import complaints
from schemas import metadata
from schemas.metadata import DatasetInfo

Draw = Callable[..., bytes]
ReadShards = Callable[[Path, DatasetInfo, str], list[Any]]

_HOLE = "Corrupt JPEG data: premature end of data segment"


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    """Returns a folder of 12 images: 3.jpg and 5.jpg are damaged, and libjpeg complains of 7.jpg without a reason."""
    (tmp_path / "images").mkdir()
    for i in range(12):
        data = draw(i, width=200, height=150, quality=90, progressive=i == 5)
        if i == 3:
            data = data[:-300] + data[-2:]
        if i == 5:
            data = data[:-100]
        if i == 7:
            data = data[:-2] + b"some words behind the codes" + data[-2:]
        (tmp_path / f"images/{i}.jpg").write_bytes(data)
    (tmp_path / "labels.csv").write_text("file,a\n" + "".join(f"{i}.jpg,{i % 2}\n" for i in range(12)))
    return tmp_path


def _options(folder: Path, **given: Any) -> ConvertOptions:
    return ConvertOptions(
        csv=f"{folder}/labels.csv",
        images=f"{folder}/images",
        output=f"{folder}/out",
        num_shards={"train": 3, "validation": 1},
        **given,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_damaged_jpegs_are_rejected_by_name(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = _options(folder, max_rejects=2)
    pipeline.convert(options)
    assert [(row["filename"], row["reason"], row["detail"]) for row in _rows(Path(options.dataset, "rejects.csv"))] == [
        ("3.jpg", "corrupt_image", f"jpeg: {_HOLE}"),
        ("5.jpg", "corrupt_image", "jpeg: Premature end of JPEG file"),
    ]
    assert not Path(options.dataset, "damaged.csv").exists()
    assert metadata.load(options.dataset).damaged == 0
    assert capfd.readouterr().err == ""


def test_nothing_is_published_with_more_of_them_than_allowed(folder: Path) -> None:
    with pytest.raises(UserError, match=r"2 corrupt_image: .* '3\.jpg': jpeg: Corrupt JPEG data: premature end"):
        pipeline.convert(_options(folder))


def test_kept_ones_are_listed_and_all_readers_see_the_same(
    folder: Path, read_shards: ReadShards, capfd: pytest.CaptureFixture[str]
) -> None:
    options = _options(folder, keep_damaged=True)
    info = pipeline.convert(options)
    assert info
    assert (info.num_examples, info.rejects, info.damaged, info.jpeg_quality) == (12, {}, 2, 95)
    assert _rows(Path(options.dataset, "damaged.csv")) == [
        {"csv": options.csv, "line": "5", "filename": "3.jpg", "detail": _HOLE},
        {"csv": options.csv, "line": "7", "filename": "5.jpg", "detail": "Premature end of JPEG file"},
    ]
    stored = {
        one.filename: one.image for split in info.splits for one in read_shards(Path(options.dataset), info, split.name)
    }
    for name, data in stored.items():
        original = (folder / "images" / name).read_bytes()
        assert (data == original) == (name not in ("3.jpg", "5.jpg"))
        if data != original:
            assert complaints.complaint(data) == ""
    assert "JPEG" not in capfd.readouterr().err
    # A decoder that goes on, as training did with earlier versions, sees what is kept.
    seen = tf.io.decode_jpeg((folder / "images/3.jpg").read_bytes(), channels=3, dct_method="INTEGER_ACCURATE")
    kept = tf.io.decode_jpeg(stored["3.jpg"], channels=3, dct_method="INTEGER_ACCURATE")
    assert np.abs(np.asarray(seen, int) - np.asarray(kept, int)).mean() < 3


@pytest.mark.slow
def test_shards_that_are_kept_keep_the_list(folder: Path) -> None:
    options = _options(folder, keep_damaged=True)
    pipeline.convert(options)
    listed = _rows(Path(options.dataset, "damaged.csv"))
    rows = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join([rows[0], "", *rows[1:]]) + "\n")
    info = pipeline.convert(_options(folder, keep_damaged=True, overwrite=True))
    assert info
    assert info.damaged == 2
    shards = json.loads(Path(options.dataset, "conversion.json").read_text())["shards"]
    assert shards["written"] == 0
    # The lines are those of the new CSV.
    assert _rows(Path(options.dataset, "damaged.csv")) == [{**row, "line": str(int(row["line"]) + 1)} for row in listed]
    # Without the flag they are rejected, and the list is gone.
    info = pipeline.convert(_options(folder, overwrite=True, max_rejects=2))
    assert info
    assert (info.num_examples, info.damaged, info.rejects) == (10, 0, {"corrupt_image": 2})
    assert not Path(options.dataset, "damaged.csv").exists()


def _run(*arguments: str) -> tuple[int, str, str]:
    process = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    return process.returncode, process.stdout, process.stderr


@pytest.mark.slow
def test_the_programs_print_no_line_of_libjpeg(folder: Path, tmp_path: Path) -> None:
    options = _options(folder)
    flags = (f"--csv={options.csv}", f"--images={options.images}", f"--output={options.output}", "--num_shards=2")
    status, stdout, stderr = _run("converter", *flags, "--keep_damaged")
    assert (status, stderr) == (0, "")
    assert (
        "Damaged JPEGs that were kept: 2 (encoded anew; JPEG quality 95, or PNG): "
        f"{options.dataset}/damaged.csv" in stdout
    )
    for program in (
        ("converter.verify", options.dataset),
        ("converter.inspect", options.dataset, "--examples=12", f"--output={tmp_path}/grid.png"),
        ("trainer", f"--data={options.dataset}", f"--output={tmp_path}/run", "--epochs=1", "--image_size=32"),
    ):
        status, stdout, stderr = _run(*program)
        assert status == 0, stderr
        assert "JPEG data" not in stdout + stderr
    (Path(options.dataset) / "damaged.csv").unlink()
    status, stdout, stderr = _run("converter.verify", options.dataset)
    assert (status, stdout.splitlines()[0]) == (1, "damaged.csv: is missing")


def test_verify_counts_the_list(folder: Path) -> None:
    options = _options(folder, keep_damaged=True)
    pipeline.convert(options)
    path = Path(options.dataset, "damaged.csv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    status, stdout, _ = _run("converter.verify", options.dataset)
    assert status == 1
    assert stdout.splitlines()[0] == "damaged.csv: it lists 1; the manifest says 2"
