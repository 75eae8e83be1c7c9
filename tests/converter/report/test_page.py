"""The page says what is in a dataset, in the same bytes each time, and nothing of a dataset is markup in it."""

import base64
import csv
import dataclasses
import io
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from converter.dataset.lists import first_of_each
from converter.job import commit
from converter.options import ConvertOptions
from converter.parsing import parse_splits
from converter.report import charts, pictures
from converter.report import page as report_page
from converter.report.page import Report
from converter.report.pictures import Place, SampledExample
from converter.report.sheets import Picture, Sheet
from multihot.errors import UserError
from multihot.printable import printable
from schemas import layout, metadata
from schemas.metadata import DatasetInfo

Convert = Callable[..., DatasetInfo]
Draw = Callable[..., bytes]
WriteCsv = Callable[..., Path]


class _Page(HTMLParser):
    """The parsed page: its tags with the names of their attributes, the values of attributes, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.values: dict[str, list[str]] = {}
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.text += "" if tag in ("bdi", "code") else " "
        for name, value in attrs:
            self.values.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment", data))


def _collect(folder: Path) -> Report:
    return report_page.collect(str(folder), metadata.load(str(folder)))


def _page(folder: Path) -> _Page:
    return _Page((folder / layout.REPORT).read_text())


def _words(page: _Page) -> str:
    return " ".join(page.text.split())


@pytest.fixture(scope="module")
def collected(dataset: Path) -> Report:
    return _collect(dataset)


@pytest.fixture(scope="module")
def hostile(
    convert_to: Convert, scenes: Path, write_csv: WriteCsv, draw: Draw, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Returns a dataset with duplicates, rejects, unlisted files and turned images, and markup in all names."""
    tmp_path = tmp_path_factory.mktemp("hostile")
    images = Path(shutil.copytree(scenes / "images", tmp_path / "images"))
    exif = Image.Exif()
    exif[0x0112] = 6
    (images / "<b>turned.jpg").write_bytes(draw(91, width=40, height=30, exif=exif))
    for name in ("=copy.jpg", "<i>copy.jpg", "copy'\" onload=x.jpg"):
        (images / name).write_bytes(draw(92, width=40, height=30))
    (images / "<script>unlisted.txt").write_text("x")
    with (scenes / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    rows += [[name, *"10000"] for name in ("<b>turned.jpg", "=copy.jpg", "<i>copy.jpg", "copy'\" onload=x.jpg")]
    rows += [["<u>missing.jpg", *"10000"], ["1.jpg</p>", "<s>2</s>", *"0000"]]
    classes = ("<script>alert(1)</script>", "\"'><img src=x>", "$x$ & {{ 7 * 7 }}", "\u202eשלום", "바다 &amp;")
    path = write_csv(tmp_path / "labels.csv", [("file", *classes), *rows])
    splits = parse_splits("train=0.5,test=0.5")
    convert_to(tmp_path / "out", csv=path, images=images, max_rejects=2, resize_shorter=50, splits=splits)
    return tmp_path / "out" / "scenes" / "1.0.0"


def test_the_numbers_are_those_of_the_dataset(collected: Report, dataset: Path, labels_of: dict[str, Any]) -> None:
    info = collected.info
    assert collected.num_seen == 24
    assert collected.shown == (0, 1, 2, 3, 4)
    assert [sheet.title for sheet in collected.classes] == [(name,) for name in info.classes]
    positives = [sum(column) for column in zip(*labels_of.values(), strict=True)]
    assert [sheet.number for sheet in collected.classes] == positives
    assert [len(sheet.pictures) for sheet in collected.classes] == [min(8, count) for count in positives]
    for i, sheet in enumerate(collected.classes):
        assert all(labels_of[picture.filename][i] for picture in sheet.pictures)
    # All 24 label vectors differ.
    assert [(sheet.number, len(sheet.pictures)) for sheet in collected.combinations] == [(1, 1)] * 12
    train, validation = info.splits
    words = _words(_page(dataset))
    assert f"train {train.num_examples} {train.num_examples / 24:.1%}" in words
    assert f"{validation.shards[0].path} {validation.num_examples} {validation.shards[0].file_bytes:,}" in words
    assert "BMP: 1, GIF: 1, JPEG: 19, PNG: 2, WEBP: 1. All files are as they were." in words
    assert "No two images are the same, or nearly." in words
    assert "No row was rejected. Every file of the folder is named by a row." in words


def test_all_kinds_of_images_are_shown_as_they_are(collected: Report, scenes: Path) -> None:
    sheets = (*collected.classes, *collected.combinations)
    shown = {picture.filename: picture.place for sheet in sheets for picture in sheet.pictures}
    assert {Path(name).suffix.lower() for name in shown} >= {".jpg", ".png", ".gif", ".webp"}
    for name, place in shown.items():
        source = collected.thumbnails[place] if place else ""
        assert source.startswith("data:image/jpeg;base64,")
        small = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        with Image.open(scenes / "images" / name) as image:
            assert small.size == image.size  # Smaller than a small picture: never enlarged.
            differences = np.asarray(small, float) - np.asarray(image.convert("RGB"), float)
        assert np.abs(differences).mean() < 12


def test_large_images_are_made_small(draw: Draw) -> None:
    source = pictures.thumbnail(draw(1, width=900, height=300))
    assert Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).size == (176, 59)


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff\xe0 no more"])
def test_what_pillow_does_not_read_has_no_picture(data: bytes) -> None:
    assert pictures.thumbnail(data) == ""


def test_the_share_of_one_class_that_has_another() -> None:
    place = Place("s", 0)
    seen = [SampledExample(place, "f", "train", labels, 1, 1) for labels in ((0,), (0, 2), (0, 2), (0, 1, 2), ())]
    assert report_page._shares(seen, (0, 1, 2)).tolist() == [[1, 0.25, 0.75], [1, 1, 1], [1, 1 / 3, 1]]
    assert report_page._shares(seen, (2, 3)).tolist() == [[1, 0], [0, 0]]


def test_of_many_classes_the_most_frequent_are_shown_and_the_rarest() -> None:
    positives = [i % 50 * 10 + i // 50 for i in range(1000)]
    ranked = sorted(positives, reverse=True)
    shown = report_page._shown(positives)
    assert [positives[i] for i in shown] == ranked[:20] + ranked[-10:]
    assert report_page._shown(positives[:30]) == tuple(range(30))


def test_duplicates_stand_side_by_side_in_whatever_split(hostile: Path) -> None:
    (sheet,) = _collect(hostile).duplicates
    assert sheet.number == len(sheet.pictures) == 3
    with (hostile / layout.DUPLICATES).open() as file:
        rows = list(csv.DictReader(file))
    assert {picture.filename for picture in sheet.pictures} == {row["filename"] for row in rows}
    assert sheet.title == tuple(sorted({row["split"] for row in rows}))
    assert all(picture.place for picture in sheet.pictures)


def test_what_was_left_out_and_what_was_done_is_told(hostile: Path) -> None:
    words = _words(_page(hostile))
    assert "2 rows were rejected." in words
    assert "<u>missing.jpg: no such file in the folder of images" in words
    assert "1.jpg</p>: column '<script>alert(1)</script>': must be 0 or 1. Received: '<s>2</s>'" in words
    assert "1 file <script>unlisted.txt All are in unlisted.csv." in words
    assert "Turned upright, as their EXIF said: 1. Reduced, to 50 pixels on the shorter side: " in words


def test_the_page_needs_nothing_else(hostile: Path, dataset: Path) -> None:
    for folder in (hostile, dataset):
        text = (folder / layout.REPORT).read_text()
        page = _Page(text)
        assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, *_ in page.tags}
        assert not [name for _, *names in page.tags for name in names if name.startswith("on")]
        references = [value for name in ("src", "href", "xlink:href") for value in page.values[name]]
        assert all(value.startswith(("data:", "#")) for value in references)
        assert "http" not in text.replace("http-equiv", "")
        assert not any(word in text for word in ("@import", "url(//", "url(h"))
        assert len(text) < 2_000_000


# Blank names draw nothing, and no class has one.
_NAMES = st.text(min_size=1).filter(lambda text: printable(text).strip())
_MARKUP = st.sampled_from(
    ["<script>", "</title>", "<!--", "-->", '"><b onload=x>', "&lt;", "{{ x }}", "]]>", "$a$", "'"]
)


def _named(collected: Report, names: Sequence[str]) -> Report:
    """Returns the report of a dataset in which all names are these."""
    one, two, *_ = names
    info = dataclasses.replace(collected.info, classes=(one, two), rejects={one: 1}, unlisted=2)
    splits = [
        dataclasses.replace(split, statistics=dataclasses.replace(split.statistics, positives=(3, 2)))
        for split in info.splits
    ]
    sheets = [
        Sheet((one, two), 2, [Picture(one, two, None), Picture(two, one, collected.classes[0].pictures[0].place)])
    ]
    return dataclasses.replace(
        collected,
        info=dataclasses.replace(info, splits=tuple(splits)),
        shown=(0, 1),
        charts={
            **collected.charts,
            "positives": charts.positives([one, two], [[1, 2], [3, 0]], 9),
            "cooccurrence": charts.cooccurrence([one, two], np.array([[1, 0.5], [0.5, 1]])),
        },
        classes=sheets,
        combinations=sheets,
        duplicates=sheets,
        num_groups=1,
        rejects={one: [(two, one)]},
        unlisted=(one, two),
    )


@pytest.fixture(scope="module")
def plain(collected: Report) -> _Page:
    return _Page(report_page.render(_named(collected, ("one", "two"))))


@settings(max_examples=30)
@given(st.tuples(_NAMES, _NAMES) | st.tuples(_MARKUP, _MARKUP | _NAMES))
def test_no_name_is_ever_markup(collected: Report, plain: _Page, names: tuple[str, str]) -> None:
    page = _Page(report_page.render(_named(collected, names)))
    assert page.tags == plain.tags
    for name in names:
        assert printable(name)[:60] in page.text


@settings(max_examples=100)
@given(st.text())
def test_what_nobody_sees_is_written_out(text: str) -> None:
    shown = printable(text)
    assert not {"\0", "\n", "\x1b", "\u202e", "\u2066"} & set(shown)
    assert shown == text or "\\" in shown


def test_the_same_dataset_gives_the_same_bytes(
    dataset: Path, convert: Convert, scenes: Path, write_csv: WriteCsv, tmp_path: Path
) -> None:
    with (scenes / "labels.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    random.Random(1).shuffle(rows)
    path = write_csv(tmp_path / "other.csv", [header, *rows])
    convert(csv=path, num_shards={"train": 3, "validation": 1}, num_threads=1)
    made = (tmp_path / "out" / "scenes" / "1.0.0" / layout.REPORT).read_bytes()
    assert made == (dataset / layout.REPORT).read_bytes()
    assert report_page.make(str(dataset), metadata.load(str(dataset))).encode() == made


def test_of_a_large_dataset_a_sample_of_each_split_is_read(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = {one.filename for one in pictures.sample(str(dataset), metadata.load(str(dataset)))}
    for limit, value in (("MAX_EXAMPLES", 12), ("MAX_LABELS", 60)):
        with monkeypatch.context() as context:
            context.setattr(pictures, limit, value)
            collected = _collect(dataset)
            sample = pictures.sample(str(dataset), collected.info)
        assert 12 <= len(sample) <= 13
        assert {one.split for one in sample} == {"train", "validation"}
        assert {one.filename for one in sample} < every
        assert f"a random sample of {len(sample)} images." in _words(_Page(report_page.render(collected)))


@pytest.mark.parametrize("number", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 13)), 40])
def test_any_number_of_classes(
    number: int, convert: Convert, scenes: Path, write_csv: WriteCsv, tmp_path: Path, labels_of: dict[str, Any]
) -> None:
    names = [f"class {i}" for i in range(number)]
    rows = [(name, *(int((i + j) % 7 == 0) for j in range(number))) for i, name in enumerate(labels_of)]
    path = write_csv(tmp_path / "labels.csv", [("file", *names), *rows])
    convert(csv=path, splits=parse_splits("train=1"), label_columns=tuple(names))
    page = _page(tmp_path / "out" / "scenes" / "1.0.0")
    assert page.text.count("class 0") >= 3
    assert ("the most frequent are shown" in page.text) == (number > 30)
    assert "\n" not in page.text[: page.text.index("scenes 1.0.0")].strip()


def test_of_ten_thousand_rejects_the_first_by_name_are_kept() -> None:
    rows = [{"reason": f"r{i % 2}", "filename": f"{i:05d}", "detail": "d"} for i in range(10_000)]
    expected = {
        "r0": [("00000", "d"), ("00002", "d"), ("00004", "d")],
        "r1": [("00001", "d"), ("00003", "d"), ("00005", "d")],
    }
    assert first_of_each(rows, 3) == expected
    assert first_of_each(rows[::-1], 3) == expected


def test_a_defect_of_the_report_loses_no_dataset_and_is_not_silent(
    convert: Convert, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("<b>of a defect</b>")

    monkeypatch.setattr(charts, "positives", fail)
    with pytest.raises(AssertionError):  # Every other conversion of the tests would show it.
        convert()
    folder = tmp_path / "out" / "scenes" / "1.0.0"
    info = metadata.load(str(folder))
    words = _words(_page(folder))
    assert "its report could not be made: ZeroDivisionError: <b>of a defect</b>" in words
    options = ConvertOptions(csv="labels.csv", images="images", output=f"{tmp_path}/out", name="scenes")
    failure = commit.report_failure(options)
    assert failure == json.loads((folder / layout.CONVERSION).read_text())["report_failure"]
    assert failure.startswith("Traceback ")
    assert failure.endswith("ZeroDivisionError: <b>of a defect</b>\n")
    monkeypatch.undo()
    report_page.main(report_page.ReportOptions(directory=f"{folder}/"))
    assert capsys.readouterr().out == f"Report: {folder}/report.html\n"
    assert (folder / layout.REPORT).read_text() == report_page.make(str(folder), info)


@pytest.mark.slow
@pytest.mark.parametrize("name", [layout.DUPLICATES, layout.REJECTS, layout.UNLISTED])
def test_a_list_with_other_columns_is_named(dataset: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    (copy / name).write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=f"^{name} is damaged: every row must have "):
        report_page.make(str(copy), metadata.load(str(copy)))


def test_command_line(dataset: Path, tmp_path: Path) -> None:
    def run(*args: str) -> tuple[int, str, str]:
        command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "converter.report", *args]
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        return process.returncode, process.stdout, process.stderr

    page = tmp_path / "page.html"
    assert run(str(dataset), f"--output={page}") == (0, f"Report: {page}\n", "")
    assert page.read_bytes() == (dataset / layout.REPORT).read_bytes()
    # The error is about the folder that was named, and not about the file that was to take its place.
    assert run(str(dataset), f"--output={tmp_path}") == (1, "", f"error: {tmp_path}: Is a directory\n")
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    shard = "train/train-00001-of-00003.tfrecord"
    (copy / shard).write_bytes((copy / shard).read_bytes()[:100])
    status, stdout, stderr = run(str(copy))
    assert (status, stdout) == (1, "")
    assert stderr.startswith(f"error: {copy / shard} is damaged at byte 0: the file ends ")
    assert stderr.endswith("`python -m converter.verify` has details.\n")
