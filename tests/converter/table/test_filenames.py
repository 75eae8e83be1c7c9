"""The name in a row becomes the name of a file below the folder of images, or is rejected."""

from pathlib import Path
from typing import Any

import pytest

from converter.options import ConvertOptions
from converter.rejects import Reason, RowRejectedError
from converter.table import filenames
from multihot.errors import UserError


def _options(images: str = "images", **given: Any) -> ConvertOptions:
    return ConvertOptions(csv="labels.csv", images=images, output="out", **given)


def _read(cell: str, images: str = "images", csv: str = "labels.csv", **given: Any) -> str:
    return filenames.reader(_options(images, **given), csv)(cell)


@pytest.mark.parametrize(
    ("cell", "given", "name"),
    [
        pytest.param("train_0", {"filename_suffix": ".jpg"}, "train_0.jpg", id="a suffix"),
        pytest.param("train_0.JPG", {"filename_suffix": ".jpg"}, "train_0.JPG", id="a suffix that is there"),
        pytest.param("a\\1", {"filename_suffix": ".jpg"}, "a/1.jpg", id="a suffix behind a folder"),
        pytest.param("data\\images\\x\\1.jpg", {"filename_pattern": ".*/images/(.*)"}, "x/1.jpg", id="a pattern"),
        pytest.param(
            "/data/images/1", {"filename_pattern": "images/(.*)", "filename_suffix": ".png"}, "1.png", id="both"
        ),
        pytest.param(
            "https://example.org/img/0.jpg?size=large", {"filename_pattern": r"/img/([^?]*)"}, "0.jpg", id="an address"
        ),
        pytest.param(
            "https://example.org/a%20b.jpg?s=1", {"filename_match": ("basename",)}, "a b.jpg", id="base of an address"
        ),
        pytest.param("x/0.jpg?size=large", {"filename_match": ("basename",)}, "0.jpg", id="a query"),
        pytest.param("what?.jpg", {"filename_match": ("basename",)}, "what?.jpg", id="a question mark"),
        pytest.param("C:\\photos\\1.jpg", {"filename_match": ("basename",)}, "1.jpg", id="base of a drive"),
        pytest.param("../1.jpg", {"filename_match": ("basename",)}, "1.jpg", id="base of a parent"),
    ],
)
def test_flags_make_names_fit(cell: str, given: dict[str, Any], name: str) -> None:
    assert _read(cell, **given) == name


@pytest.mark.parametrize(
    ("cell", "given", "reason", "detail"),
    [
        pytest.param(
            "x/1.jpg",
            {"filename_pattern": "images/(.*)"},
            Reason.MISSING_NAME,
            "--filename_pattern finds no name in 'x/1.jpg'",
            id="no match",
        ),
        pytest.param(
            "images/", {"filename_pattern": "images/(.*)"}, Reason.MISSING_NAME, "--filename_pattern finds", id="blank"
        ),
        pytest.param(
            " ", {"filename_suffix": ".jpg"}, Reason.MISSING_NAME, "the file name is blank", id="a suffix alone"
        ),
        pytest.param("..", {"filename_match": ("basename",)}, Reason.UNSAFE_PATH, "the file name must be", id="parent"),
        pytest.param(
            "x/../../secret.jpg",
            {"filename_pattern": "x/(.*)"},
            Reason.UNSAFE_PATH,
            "the file name must be",
            id="a pattern that leads out",
        ),
        pytest.param("/images/1.jpg", {}, Reason.UNSAFE_PATH, "the file name must be", id="another folder"),
        pytest.param("file:///etc/passwd", {}, Reason.UNSAFE_PATH, "the file name must be", id="another file"),
    ],
)
def test_names_that_lead_nowhere(cell: str, given: dict[str, Any], reason: Reason, detail: str) -> None:
    with pytest.raises(RowRejectedError) as caught:
        _read(cell, **given)
    assert caught.value.args[0] == reason
    assert caught.value.args[1].startswith(detail)


def test_absolute_paths_below_the_folder_are_relative_to_it(tmp_path: Path, images: Path) -> None:
    (tmp_path / "link").symlink_to(images)
    for folder in (images, tmp_path / "link"):
        assert _read(f"{folder}/x/1.jpg", str(folder)) == "x/1.jpg"
        assert _read(f"file://{folder}/a%20b.jpg", str(folder)) == "a b.jpg"
        assert _read(f"{folder}/./x/../1.jpg", f"{folder}/") == "1.jpg"
    assert _read(f"{images}/1.jpg", f"{tmp_path}/link") == "1.jpg"
    for cell in (f"{images}x/1.jpg", f"{images}/../1.jpg", str(images)):
        with pytest.raises(RowRejectedError):
            _read(cell, str(images))


def test_addresses_in_the_store_of_the_images_are_relative_to_it() -> None:
    assert _read("gs://bucket/images/x/1.jpg", "gs://bucket/images/") == "x/1.jpg"
    with pytest.raises(RowRejectedError):
        _read("gs://bucket/other/1.jpg", "gs://bucket/images")
    with pytest.raises(RowRejectedError):
        _read("gs://bucket/images/../1.jpg", "gs://bucket/images")


def test_names_relative_to_their_table(images: Path) -> None:
    (images / "train/labels").mkdir(parents=True)
    csv = f"{images}/train/labels/all.csv"
    assert _read("1.jpg", str(images), csv, relative_to_csv=True) == "train/labels/1.jpg"
    assert _read("../img/1", str(images), csv, relative_to_csv=True, filename_suffix=".png") == "train/img/1.png"
    assert _read(f"{images}/x/1.jpg", str(images), csv, relative_to_csv=True) == "x/1.jpg"
    assert _read("1.jpg", str(images), f"{images}/all.csv", relative_to_csv=True) == "1.jpg"
    for cell in ("../../../1.jpg", "https://example.org/1.jpg", "/1.jpg"):
        with pytest.raises(RowRejectedError):
            _read(cell, str(images), csv, relative_to_csv=True)


def test_a_table_outside_of_the_folder_is_one_sentence(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--relative_to_csv: .*labels\.csv lies outside of --images="):
        _read("1.jpg", str(images), f"{tmp_path}/labels.csv", relative_to_csv=True)


@pytest.mark.parametrize(
    ("how", "names"),
    [
        ("path", {"a/1.jpg", "A/1.jpg", "a/1.JPG"}),
        ("ignore_case", {"a/1.jpg"}),
        ("basename", {"1.jpg", "1.JPG"}),
        ("stem", {"a/1", "A/1"}),
        ("stem,basename", {"1"}),
    ],
)
def test_what_is_compared(how: str, names: set[str]) -> None:
    assert set(map(filenames.key(how.split(",")), ("a/1.jpg", "A/1.jpg", "a/1.JPG"))) == names


def test_only_endings_of_images_are_no_part_of_a_name() -> None:
    assert [filenames.without_ending(name) for name in ("IMG.2020.01", "a.b.jpeg", "1.Tif")] == [
        "IMG.2020.01",
        "a.b",
        "1",
    ]
