"""Labels are corrected by a file of corrections, each used once, and nothing else changes."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from converter import diff
from converter.dataset import examples
from converter.dataset.summary import summary
from converter.job import pipeline
from converter.options import ConvertOptions
from multihot.errors import UserError
from schemas import metadata, rows
from schemas.metadata import DatasetInfo

Draw = Callable[..., bytes]

_HEADER = ["filename", "class", "given", "corrected"]


class Work(NamedTuple):
    """A folder of images with their table, and conversions of it."""

    folder: Path

    def options(self, **given: Any) -> ConvertOptions:
        paths = {"csv": f"{self.folder}/labels.csv", "images": f"{self.folder}/images", "output": f"{self.folder}/out"}
        return ConvertOptions(**{**paths, "num_shards": {"train": 4, "validation": 2}, "overwrite": True, **given})

    def correct(self, *lines: Sequence[object], header: Sequence[str] = _HEADER, **given: Any) -> DatasetInfo:
        """Converts with these corrections."""
        path = self.folder / "corrections.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *lines])
        found = pipeline.convert(self.options(corrections=str(path), **given))
        assert found is not None
        return found

    def labels(self, **given: Any) -> dict[str, tuple[int, ...]]:
        """Returns the labels of all images of the dataset."""
        dataset = self.options(**given).dataset
        info = metadata.load(dataset)
        shards = [shard for split in info.splits for shard in split.shards]
        found = (one for shard in shards for _, one in examples.read_shard(dataset, shard, info))
        return {one.filename: one.labels for one in found}

    def shards(self) -> tuple[int, int]:
        """Returns how many shards the last conversion wrote, and how many it kept."""
        shards = json.loads(Path(self.options().dataset, "conversion.json").read_text())["shards"]
        return shards["written"], shards["reused"]


@pytest.fixture
def work(tmp_path: Path, draw: Draw) -> Work:
    """Returns twenty images with their table."""
    work = Work(tmp_path)
    (tmp_path / "images").mkdir()
    lines = [f"{i}.jpg,{i % 2},{i % 3 % 2}" for i in range(20)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,sea,trees", *lines]) + "\n")
    for i in range(20):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(draw(i))
    return work


@pytest.mark.parametrize("split_method", ["hash", "stratified"])
def test_exactly_these_labels_change_and_only_the_shards_of_their_images(work: Work, split_method: str) -> None:
    as_before = work.options(split_method=split_method, output=f"{work.folder}/before")
    for options in (as_before, work.options(split_method=split_method)):
        pipeline.convert(options)
    before = work.labels()
    lines = [("7.jpg", "sea", 1, 0), ("7.jpg", "trees", 1, 0), ("8.jpg", "trees", 0, 1)]
    info = work.correct(*lines, split_method=split_method)
    after = {**before, "7.jpg": (0, 0), "8.jpg": (0, 1)}
    assert before["7.jpg"] == (1, 1) and before["8.jpg"] == (0, 0)
    assert work.labels() == after
    assert info.corrected == 3
    assert "\nLabels corrected: 3 (--corrections)\n" in summary(info, "data")
    written, kept = work.shards()
    assert 1 <= written <= 2 and written + kept == sum(len(split.shards) for split in info.splits)
    changes = [diff.Relabelled("7.jpg", (), ("sea", "trees")), diff.Relabelled("8.jpg", ("trees",), ())]
    assert diff.diff(as_before.dataset, work.options().dataset) == diff.Difference(relabelled=tuple(changes))


def test_without_corrections_the_manifest_does_not_name_them(work: Work) -> None:
    info = pipeline.convert(work.options())
    assert info is not None and info.corrected == 0
    assert "corrected" not in Path(work.options().dataset, "manifest.json").read_text()


def test_the_file_may_be_one_of_a_spreadsheet(work: Work) -> None:
    path = work.folder / "corrections.csv"
    path.write_text('line;class;"filename";corrected;given;\n9;sea;7.jpg;0;1;\n;;;;;\n', encoding="utf-8-sig")
    pipeline.convert(work.options(corrections=str(path)))
    assert work.labels()["7.jpg"] == (0, 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            ("7.jpg", "sea", 0, 1),
            r"line 2: 7\.jpg has changed .*sea was 0, and is 1 .*labels\.csv line 9",
            id="changed",
        ),
        pytest.param(("70.jpg", "sea", 0, 1), r"not in the table.* 70\.jpg \(line 2\)", id="no such image"),
        pytest.param(
            ("7.jpg", "lake", 0, 1), r"line 2: there is no class 'lake'\. The classes are: sea, trees", id="class"
        ),
        pytest.param(("7.jpg", "sea", "yes", 0), r"line 2: given must be 0 or 1\. Received: 'yes'", id="no label"),
        pytest.param(("7.jpg", "sea", 1, 1), "line 2 corrects nothing", id="no correction"),
        pytest.param(("", "sea", 1, 0), "line 2 has no filename", id="no name"),
        pytest.param(("7.jpg", "sea"), r"line 2: given must be 0 or 1\. Received: ''", id="cut off"),
    ],
)
def test_a_correction_that_cannot_be_applied_publishes_nothing(
    work: Work, line: Sequence[object], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        work.correct(line)
    assert not Path(work.options().dataset).exists()


def test_an_image_whose_row_is_rejected_is_not_corrected_in_silence(work: Work) -> None:
    (work.folder / "images/7.jpg").unlink()
    with pytest.raises(UserError, match=r"whose rows are rejected: 7\.jpg \(line 2\)"):
        work.correct(("7.jpg", "sea", 1, 0), max_rejects=5)


def test_a_label_is_corrected_once(work: Work) -> None:
    with pytest.raises(UserError, match=r"line 3: line 2 corrects the same label, sea of 7\.jpg"):
        work.correct(("7.jpg", "sea", 1, 0), ("7.jpg", "sea", 1, 0))


def test_a_correction_that_takes_another_one_back_is_removed_with_it(work: Work) -> None:
    with pytest.raises(UserError, match=r"line 3: line 2 corrects .*\. If this one takes that one back, remove both\."):
        work.correct(("7.jpg", "sea", 1, 0), ("7.jpg", "sea", 0, 1))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(",".join(_HEADER).encode() + b"\nm\xfcll.jpg,sea,1,0\n", "line 2 is not utf-8", id="encoding"),
        pytest.param(b"# mine\nfilename,class,given,corrected\n7.jpg,sea,1,0\n", "line 1 is a comment", id="comment"),
        pytest.param(b"May\nfilename,class,given,corrected\n7.jpg,sea,1,0\n", "line 1 has 1 cell", id="title"),
        pytest.param("filename,class\n7.jpg,sea\n".encode("utf-16-le"), "line 1 has NUL characters", id="no mark"),
    ],
)
def test_no_flag_for_the_table_is_recommended_for_the_corrections(work: Work, content: bytes, expected: str) -> None:
    path = work.folder / "corrections.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{expected}.*\. Corrections are CSV in UTF-8 with the names") as found:
        pipeline.convert(work.options(corrections=str(path)))
    assert "--" not in str(found.value)


def test_a_file_of_another_kind_is_one_sentence(work: Work) -> None:
    with pytest.raises(UserError, match=r"must have the columns .* Wrong: given, corrected"):
        work.correct(header=("filename", "class", "suggested"))
    with pytest.raises(UserError, match=r"none\.csv"):
        pipeline.convert(work.options(corrections=f"{work.folder}/none.csv"))


def test_an_unknown_label_is_not_one_that_was_given(work: Work) -> None:
    text = (work.folder / "labels.csv").read_text()
    (work.folder / "labels.csv").write_text(text.replace("7.jpg,1,1", "7.jpg,?,1"))
    with pytest.raises(UserError, match="sea was 1, and is unknown"):
        work.correct(("7.jpg", "sea", 1, 0), unknown_labels=("?",))


def test_names_that_a_spreadsheet_would_run_are_found_again(work: Work, draw: Draw) -> None:
    (work.folder / "images/=1.jpg").write_bytes(draw(50))
    with (work.folder / "labels.csv").open("a") as file:
        file.write("=1.jpg,1,0\n")
    work.correct(("'=1.jpg", "sea", 1, 0))
    assert work.labels()["=1.jpg"] == (0, 0)


def test_the_notes_say_from_which_row_an_example_was_made(work: Work) -> None:
    pipeline.convert(work.options())
    dataset, splits = work.options().dataset, ["train", "validation"]
    found = rows.read(dataset, splits)
    assert found["7.jpg"] == rows.RowPlace("7.jpg", f"{work.folder}/labels.csv", 9)
    assert {place.line for place in found.values()} == set(range(2, 22))
    header, *lines = (work.folder / "labels.csv").read_text().splitlines()
    (work.folder / "labels.csv").write_text("\n".join([header, *reversed(lines)]))
    pipeline.convert(work.options())
    assert work.shards()[0] == 0
    assert rows.read(dataset, splits)["7.jpg"].line == 23 - 9


def test_the_notes_have_the_groups_of_a_column(work: Work) -> None:
    lines = (work.folder / "labels.csv").read_text().splitlines()
    grouped = [f"{line},{'place' if i == 0 else f'beach {i % 4}'}" for i, line in enumerate(lines)]
    (work.folder / "labels.csv").write_text("\n".join(grouped))
    pipeline.convert(work.options(group_column="place"))
    found = rows.read(work.options().dataset, ["train", "validation"])
    assert {name: place.group for name, place in found.items()}["7.jpg"] == f"beach {8 % 4}"
