"""Tables of other makes, from end to end: other names than those of files, a file for each split, merged rows."""

import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from converter.dataset.summary import summary
from converter.inspect import selection
from multihot.errors import UserError
from schemas import metadata

Convert = Callable[..., Any]
Draw = Callable[..., bytes]
WriteCsv = Callable[..., Path]


def _draw_all(folder: Path, draw: Draw, *names: str) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(draw(i))


def _membership(dataset: Path, read_shards: Callable[..., list[Any]]) -> dict[str, tuple[str, tuple[int, ...]]]:
    info = metadata.load(str(dataset))
    return {
        one.filename: (split.name, one.labels)
        for split in info.splits
        for one in read_shards(dataset, info, split.name)
    }


def _list(dataset: Path, name: str) -> list[str]:
    with (dataset / name).open(encoding="utf-8", newline="") as file:
        return [row["filename"] for row in csv.DictReader(file)]


def test_files_of_rejected_rows_and_tables_are_not_unlisted(
    convert: Convert, tmp_path: Path, images: Path, draw: Draw, write_csv: WriteCsv
) -> None:
    _draw_all(images, draw, "1.jpg", "a/2.jpg", "3.jpg", "4.jpg", "5.jpg")
    rows = [
        ("file", "x"),
        ("1.jpg", "1"),
        ("a\\2.jpg", "maybe"),
        ("./3.jpg", ""),
        ("a\\6.jpg", "1"),
        ("4.jpg", "1", "1"),
    ]
    info = convert(csv=write_csv(images / "labels.csv", rows), images=images, max_rejects=4)
    dataset = tmp_path / "out/scenes/1.0.0"
    assert (info.num_examples, info.unlisted, _list(dataset, "unlisted.csv")) == (1, 1, ["5.jpg"])
    assert _list(dataset, "rejects.csv") == ["a/2.jpg", "3.jpg", "a/6.jpg", "4.jpg"]
    for name in ("a\\2.jpg", "a/2.jpg", "./3.jpg", "4.jpg"):
        with pytest.raises(UserError, match=r"It was rejected: .*(bad_label|bad_row)"):
            selection.main(selection.InspectOptions(directory=str(dataset), filename=name))


def test_names_that_are_matched_give_the_dataset_of_the_names_of_the_files(
    convert: Convert, scenes: Path, tmp_path: Path, write_csv: WriteCsv
) -> None:
    header, *rows = csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines())
    loud = [[f"http://example.org/{name.upper()}", *labels] for name, *labels in rows]
    exact = convert()
    given = {"filename_pattern": "org/(.*)", "filename_match": ("ignore_case",), "version": "2.0.0"}
    matched = convert(csv=write_csv(tmp_path / "loud.csv", [header, *loud]), **given)
    assert matched.fingerprint == exact.fingerprint
    assert (matched.num_examples, matched.unlisted) == (24, 0)


def test_names_that_do_not_fit_are_explained(
    convert: Convert, scenes: Path, tmp_path: Path, write_csv: WriteCsv
) -> None:
    header, *rows = csv.reader((scenes / "labels.csv").read_text(encoding="utf-8").splitlines())
    other = [[f"/data/images/{name}", *labels] for name, *labels in rows]
    with pytest.raises(UserError) as caught:
        convert(csv=write_csv(tmp_path / "other.csv", [header, *other]))
    assert (
        f"({scenes}/images holds 24 files that no row names; the names have a folder too many, '/data/images/', as in "
        "'/data/images/0.jpg' for '0.jpg': try --filename_pattern='^(?:/data/images/)?(.*)')"
    ) in str(caught.value)
    assert "is it the right folder?" not in str(caught.value)


def test_each_split_can_have_a_file_of_its_own(
    convert: Convert, tmp_path: Path, images: Path, draw: Draw, write_csv: WriteCsv, read_shards: Any
) -> None:
    _draw_all(images, draw, "train/1.jpg", "train/2.jpg", "valid/1.jpg")
    write_csv(images / "train/_classes.csv", [("filename", "x", "y"), ("1.jpg", 1, 0), ("2.jpg", 0, 0)])
    write_csv(images / "valid/_classes.csv", [("filename", "y", "x"), ("1.jpg", 1, 0)])
    paths = f"train={images}/train/_classes.csv,valid={images}/valid/_classes.csv"
    info = convert(csv=paths, images=images, relative_to_csv=True)
    dataset = tmp_path / "out/scenes/1.0.0"
    assert _membership(dataset, read_shards) == {
        "train/1.jpg": ("train", (1, 0)),
        "train/2.jpg": ("train", (0, 0)),
        "valid/1.jpg": ("valid", (0, 1)),
    }
    assert info.unlisted == 0
    assert "To train on it: python -m trainer --validation_split=valid ..." in summary(info, "d").splitlines()


def test_a_column_of_numbers_needs_names_of_splits(
    convert: Convert, tmp_path: Path, images: Path, draw: Draw, write_csv: WriteCsv
) -> None:
    _draw_all(images, draw, "1.jpg", "2.jpg", "3.jpg")
    rows = [("file", "part", "x", "y"), ("1.jpg", 0, 1, 0), ("2.jpg", 1, 0, 0), ("3.jpg", 2, 0, 1)]
    given = {"csv": write_csv(tmp_path / "labels.csv", rows), "images": images, "split_column": "part"}
    with pytest.raises(
        UserError, match=r"column 'part' must name the split .* --split_names=0=train,1=validation,2=test"
    ):
        convert(**given)
    names = {"2": "test", "0": "train", "1": "validation"}
    assert [split.name for split in convert(**given, split_names=names).splits] == ["test", "train", "validation"]


def test_no_file_of_a_split_is_read_from_where_it_would_be_deleted(
    convert: Convert, tmp_path: Path, images: Path, write_csv: WriteCsv
) -> None:
    (tmp_path / "out/scenes/1.0.0").mkdir(parents=True)
    for path in ("train.csv", "out/scenes/1.0.0/test.csv"):
        write_csv(tmp_path / path, [("file", "x"), ("1.jpg", 1)])
    with pytest.raises(UserError, match=r"--csv: .*/1\.0\.0/test\.csv is in .*, which is replaced or deleted"):
        convert(csv=f"train={tmp_path}/train.csv,test={tmp_path}/out/scenes/1.0.0/test.csv", images=images)


@pytest.fixture
def long_form(tmp_path: Path, images: Path, draw: Draw, write_csv: WriteCsv) -> Path:
    """Returns a table with a row for each label: three images have several labels, and two have one."""
    _draw_all(images, draw, *(f"{i}.jpg" for i in range(5)))
    rows = [("0.jpg", "sea"), ("1.jpg", "sea"), ("0.jpg", "sun"), ("2.jpg", "sea"), ("2.jpg", "sea"), ("2.jpg", "sun")]
    return write_csv(
        tmp_path / "long.csv", [("file", "label"), *rows, ("3.jpg", "sun"), ("4.jpg", "sea"), ("4.jpg", "sun")]
    )


def test_rows_of_one_image_are_merged(
    convert: Convert, tmp_path: Path, images: Path, long_form: Path, read_shards: Any
) -> None:
    info = convert(csv=long_form, images=images, merge_rows=True)
    labels = {name: labels for name, (_, labels) in _membership(tmp_path / "out/scenes/1.0.0", read_shards).items()}
    assert labels == {"0.jpg": (1, 1), "1.jpg": (1, 0), "2.jpg": (1, 1), "3.jpg": (0, 1), "4.jpg": (1, 1)}
    assert (info.merged_rows, info.rejects) == (4, {})
    assert "merged with those of an earlier row of the same file: 4" in summary(info, "d")


@pytest.mark.parametrize("max_rejects", [1, 9, Fraction(1)])
def test_of_a_table_with_a_row_for_each_label_never_the_images_with_one_label_alone_are_kept(
    convert: Convert, images: Path, long_form: Path, max_rejects: int | Fraction
) -> None:
    with pytest.raises(UserError) as caught:
        convert(csv=long_form, images=images, max_rejects=max_rejects)
    assert (
        "(the rows of 3 files differ in labels alone, as in a table with a row for each label: --merge_rows makes one "
        "image of the rows of a file, with all labels)"
    ) in str(caught.value)


def test_augmented_versions_are_told_and_kept_together(
    convert: Convert, tmp_path: Path, images: Path, draw: Draw, write_csv: WriteCsv, read_shards: Any
) -> None:
    names = [f"{i}_jpg.rf.{i:08x}{j:08x}.jpg" for i in range(10) for j in range(3)]
    _draw_all(images, draw, *names)
    table = write_csv(
        tmp_path / "labels.csv", [("file", "x", "y"), *((name, i % 2, 1) for i, name in enumerate(names))]
    )
    info = convert(csv=table, images=images)
    assert info.augmented > 3
    assert f"several splits have augmented versions, such as NAME.rf.HASH.jpg: {info.augmented} (--group" in summary(
        info, "d"
    )
    given: dict[str, Any] = {"group_pattern": r"(.*)\.rf\.", "split_method": "stratified", "version": "2.0.0"}
    together = convert(csv=table, images=images, **given)
    assert together.augmented == 0
    members = _membership(tmp_path / "out/scenes/2.0.0", read_shards)
    assert len({(name.partition("_")[0], split) for name, (split, _) in members.items()}) == 10
    assert {split.name: split.num_examples for split in together.splits} == {"train": 24, "validation": 6}
    assert "augmented" not in summary(together, "d")
