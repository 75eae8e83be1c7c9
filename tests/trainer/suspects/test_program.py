"""The circle: wrong labels, a training, suspects, a review by keys, corrections, and the right labels again."""

import csv
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from converter import diff
from converter.job import pipeline
from converter.options import ConvertOptions
from multihot.errors import UserError
from trainer import train
from trainer.config import TrainConfig
from trainer.suspects import files, program
from trainer.suspects.finding import LABEL, Change, Suspect
from trainer.suspects.program import SuspectsOptions

pytestmark = pytest.mark.slow


class Circle(NamedTuple):
    """A run on a dataset with wrong labels.

    Attributes:
        folder: of everything.
        right: the dataset with the right labels.
        run: folder of the run.
        wrong: image, class and wrong label.
    """

    folder: Path
    right: str
    run: Path
    wrong: set[tuple[str, str, str]]

    def rows(self) -> list[dict[str, str]]:
        """Returns the rows of suspects.csv."""
        with (self.run / "suspects" / files.SUSPECTS).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def _options(table: Path, images: Path, output: Path, **more: Any) -> ConvertOptions:
    return ConvertOptions(
        csv=str(table), images=str(images), output=str(output), split_column="split", num_threads=1, **more
    )


@pytest.fixture(scope="module")
def circle(source: Path, recipe: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Circle:
    """Flips labels of six images, converts both tables, trains on the wrong one, and looks for suspects."""
    folder = tmp_path_factory.mktemp("circle")
    with (source / "labels.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    wrong = set()
    for i in (3, 11, 23, 30, 42, 55):
        column = 2 + i % 4
        rows[i][column] = str(1 - int(rows[i][column]))
        wrong.add((rows[i][0], header[column], rows[i][column]))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    right = _options(source / "labels.csv", source / "images", folder / "right")
    flipped = _options(folder / "labels.csv", source / "images", folder / "flipped")
    for options in (right, flipped):
        pipeline.convert(options)
    run = folder / "run"
    more = {"data": (flipped.dataset,), "output": str(run), "train_sizes": ((32, 1.0),)}
    train.train_and_evaluate(recipe("", image_size=32, epochs=3, batch_size=8, **more))
    program.main(SuspectsOptions(run=str(run)))
    return Circle(folder, right.dataset, run, wrong)


def test_wrong_labels_are_found_and_have_their_rows(circle: Circle) -> None:
    rows = circle.rows()
    assert tuple(rows[0]) == files.COLUMNS
    found = {(row["filename"], row["class"], row["given"]) for row in rows}
    # The model is small, and was trained for seconds.
    assert len(circle.wrong & found) >= 4
    with (circle.folder / "labels.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    for row in rows:
        assert row["csv"] == str(circle.folder / "labels.csv")
        line = lines[int(row["line"]) - 1]
        assert (line[0], line[1]) == (row["filename"], row["split"])
        assert line[lines[0].index(row["class"])] == row["given"] == str(1 - int(row["suggested"]))
    assert {row["split"] for row in rows} <= {"train", "validation", "jpegs", "modes"}


def test_a_damaged_shard_is_one_sentence(circle: Circle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(circle.right, tmp_path / "1.0.0"))
    shard = next(copy.glob("jpegs/*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(UserError, match=rf"differ from the manifest: jpegs/{shard.name}"):
        program.main(SuspectsOptions(run=str(circle.run), data=(str(copy),)))


def test_the_circle_is_closed_by_keys_alone(circle: Circle, source: Path, browser: Any) -> None:
    page = browser.new_page(accept_downloads=True)
    page.goto((circle.run / "suspects" / "review.html").as_uri())
    # The rows of a suspect stand together.
    suspects = [
        list(rows)
        for _, rows in itertools.groupby(circle.rows(), lambda row: (row["filename"], row["confidence"], row["kind"]))
    ]
    accepted = set[tuple[str, str, str]]()
    for rows in suspects:
        cells = {(row["filename"], row["class"], row["given"]) for row in rows}
        page.keyboard.press("a" if cells <= circle.wrong else "k")
        accepted |= cells & circle.wrong if cells <= circle.wrong else set()
    assert len(accepted) >= 4
    with page.expect_download() as download:
        page.keyboard.press("c")
    corrections = circle.folder / files.CORRECTIONS
    download.value.save_as(corrections)
    page.close()
    output = circle.folder / "corrected"
    options = _options(circle.folder / "labels.csv", source / "images", output, corrections=str(corrections))
    info = pipeline.convert(options)
    assert info is not None
    assert info.corrected == len(accepted)
    found = diff.diff(str(circle.folder / "flipped" / "dataset" / "1.0.0"), options.dataset)
    changed = {(one.filename, name, "0") for one in found.relabelled for name in one.gained}
    changed |= {(one.filename, name, "1") for one in found.relabelled for name in one.lost}
    assert changed == accepted
    assert found == diff.Difference(relabelled=found.relabelled)
    left = diff.diff(circle.right, options.dataset).relabelled
    assert {one.filename for one in left} == {name for name, _, _ in circle.wrong - accepted}


def test_no_page_for_no_suspects_and_an_output_of_ones_own(circle: Circle, tmp_path: Path) -> None:
    program.main(SuspectsOptions(run=str(circle.run), review=0, output=str(tmp_path / "out")))
    same = circle.run / "suspects" / files.SUSPECTS
    assert (tmp_path / "out" / files.SUSPECTS).read_bytes() == same.read_bytes()
    assert "data:image/jpeg" not in (tmp_path / "out" / "review.html").read_text()


def test_several_datasets_are_said_to_be_reviewed_one_by_one(
    circle: Circle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flipped = str(circle.folder / "flipped" / "dataset" / "1.0.0")
    for data in ((circle.right, flipped), (flipped,)):
        program.main(SuspectsOptions(run=str(circle.run), data=data, review=0, output=str(tmp_path)))
        said = "These are suspects of 2 datasets, and corrections are for one table." in capsys.readouterr().out
        assert said == (len(data) == 2)


def test_the_summary_says_how_many_classes_it_leaves_out() -> None:
    suspects = [Suspect(i, (Change(i, 1, 0),), 0.9, LABEL) for i in range(23)]
    lines = program._summary(suspects, [f"class {i}" for i in range(23)], 50).splitlines()
    assert lines[0] == "23 suspects among 50 images: 23 label"
    assert lines[20:] == ["  class 19: 0 may be missing, 1 may be too many", "  3 more classes"]


def test_what_cannot_be_used_is_one_sentence(circle: Circle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder"):
        program.main(SuspectsOptions(run=str(tmp_path / "none")))
    with pytest.raises(UserError, match="--review must be at least 0"):
        SuspectsOptions(run="run", review=-1)
    with pytest.raises(UserError, match=r"--output must be a folder of this machine\. Received: 'gs://bucket/a'"):
        SuspectsOptions(run="run", output="gs://bucket/a")
    with pytest.raises(UserError, match="is a file"):
        SuspectsOptions(run="run", output=str(circle.folder / "labels.csv"))
    with pytest.raises(UserError, match="is not a dataset"):
        program.main(SuspectsOptions(run=str(circle.run), data=(str(tmp_path),)))
