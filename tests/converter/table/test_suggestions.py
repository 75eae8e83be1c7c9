"""Names that do not fit the files: the flags that are suggested make them fit."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.shards.matching import Matcher, Source
from converter.table import filenames, suggestions
from converter.table.row import Row
from multihot.storage import File

_PARTS = st.text("abcXYZ019_- ", min_size=1, max_size=6).map(str.strip).filter(bool)
# Names whose last parts differ even without case and ending, so that each means one file.
_FILES = st.lists(_PARTS, min_size=3, max_size=12, unique_by=str.lower).flatmap(
    lambda ends: st.lists(st.sampled_from(["", "a/", "b/c/"]), min_size=len(ends), max_size=len(ends)).map(
        lambda folders: [f"{folder}{end}.jpg" for folder, end in zip(folders, ends, strict=True)]
    )
)


def _base(name: str) -> str:
    return name.rpartition("/")[2]


_KINDS: dict[str, Callable[[str], str]] = {
    "no ending": lambda name: name.removesuffix(".jpg"),
    "another ending": lambda name: name.replace(".jpg", ".png"),
    "upper case": str.upper,
    "a folder too many": lambda name: f"data/my (old) images/{name}",
    "an absolute path": lambda name: f"/home/someone/data/{name}",
    "an address": lambda name: f"https://example.org/img/{name}",
    "an address with a query": lambda name: f"https://example.org/img/{name}?size=large",
    "a query": lambda name: f"{name}?size=large",
    "other folders": lambda name: f"x/y/{_base(name)}",
    "no folders": _base,
    "a folder too many and no ending": lambda name: f"data/{name.removesuffix('.jpg')}",
    "other folders and upper case": lambda name: f"x/{_base(name).upper()}",
}


def _fits(name: str, file: str, files: list[str], flags: dict[str, Any]) -> bool:
    """Whether a row of this name gets this file in a conversion with these flags."""
    given = dict(flags)
    folder = given.pop("images", "images").removeprefix("images").strip("/")
    files = [one.removeprefix(f"{folder}/") for one in files if not folder or one.startswith(f"{folder}/")]
    file = file.removeprefix(f"{folder}/")
    if "filename_match" in given:
        given["filename_match"] = tuple(given["filename_match"].split(","))
    options = ConvertOptions(csv="images/labels.csv", images="images", output="out", **given)
    row = Row("a.csv", 2, filenames.reader(options, options.csv)(name), b"\1", "", "")
    found = Matcher(options).match_all([row], [File(one, one, 10) for one in files])
    return [one.file.name for one in found if isinstance(one, Source)] == [file]


@pytest.mark.parametrize("kind", _KINDS)
@given(files=_FILES)
def test_the_flags_make_all_names_fit(kind: str, files: list[str]) -> None:
    names = {_KINDS[kind](file): file for file in files}
    found = suggestions.find(list(names), files, images="images")
    if all(name == file for name, file in names.items()):
        assert found is None
        return
    assert found is not None
    assert names[found.name] == found.file
    assert found.num_explained == found.num_compared
    for name, file in names.items():
        assert _fits(name, file, files, dict(found.flags)), found


@given(files=_FILES)
def test_names_that_lack_one_folder_fit_in_this_folder(files: list[str]) -> None:
    below = [f"photos/{_base(file)}" for file in files]
    found = suggestions.find([_base(file) for file in files], below, images="images/")
    assert found is not None
    assert found.flags == {"images": "images/photos"}


def test_where_other_names_fit_the_folder_stays() -> None:
    found = suggestions.find(["1.jpg"], ["sub/1.jpg"], images="images", fitting=3)
    assert found is not None
    assert found.flags == {"filename_match": "basename"}


def test_names_relative_to_their_tables() -> None:
    files = [f"{split}/{i}.jpg" for split in ("train", "valid") for i in range(5)]
    found = suggestions.find([f"{i}.jpg" for i in range(5)], files, images="images", csv_folders=["train", "valid"])
    assert found is not None
    assert found.flags == {"relative_to_csv": True}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        pytest.param(
            ["one.JPG", "two.JPG"],
            "the names differ in upper and lower case, as in 'one.JPG' for 'one.jpg': try --filename_match=ignore_case",
            id="case",
        ),
        pytest.param(
            ["images/one.jpg", "images/two.jpg"],
            "the names have a folder too many, 'images/', as in 'images/one.jpg' for 'one.jpg': "
            "try --filename_pattern='^(?:images/)?(.*)'",
            id="a folder",
        ),
        pytest.param(
            ["one", "two", "three"],
            "most names lack the ending '.jpg', as in 'one' for 'one.jpg': try --filename_suffix=.jpg",
            id="an ending, and a file that is not there",
        ),
        pytest.param(["four.jpg", "five.jpg"], None, id="nothing is alike"),
        pytest.param(["one.jpg"], None, id="all fit"),
        pytest.param([], None, id="no names"),
    ],
)
def test_the_sentence(names: list[str], sentence: str | None) -> None:
    assert suggestions.suggest(names, ["one.jpg", "two.jpg", "other/3.jpg"], images="images") == sentence


def test_a_name_that_may_mean_several_files_suggests_nothing() -> None:
    assert suggestions.suggest(["x/1.jpg", "y/1.jpg"], [f"{i}/1.jpg" for i in range(100)], images="images") is None


def test_of_several_folders_the_one_with_all_names_is_meant() -> None:
    files = [f"train/{i}.jpg" for i in range(9)] + [f"valid/{i}.jpg" for i in range(5)]
    found = suggestions.find([f"{i}.jpg" for i in range(9)], files, images="images")
    assert found is not None
    assert found.flags == {"images": "images/train"}
    assert suggestions.find([f"{i}.jpg" for i in range(5)], files, images="images") is None


def test_many_names_that_end_alike_are_no_burden() -> None:
    files = [f"train/patient{i}/view.jpg" for i in range(50_000)]
    found = suggestions.find([f"CheXpert/{name}" for name in files], files, images="images")
    assert found is not None
    assert found.flags == {"filename_pattern": "^(?:CheXpert/)?(.*)"}


def test_of_very_many_names_some_are_compared() -> None:
    files = [f"{i}.jpg" for i in range(50_000)]
    found = suggestions.find([f"{i}" for i in range(50_000)], files, images="images")
    assert found is not None
    assert found.flags == {"filename_suffix": ".jpg"}
    assert found.num_explained == found.num_compared <= 2000


@pytest.mark.parametrize(
    ("names", "files", "words"),
    [
        (["A_9_sea", "A_9_sky", "B_sea"], ["A_9.png", "B.png"], "3 names have something behind the name of a file"),
        (["a_b.jpg_1", "a_b.jpg_2"], ["x/a_b.jpg"], "as in 'a_b.jpg_1' for 'x/a_b.jpg'. If it is a label, write it to"),
        (["1", "12"], ["000001.jpg", "000012.jpg"], "as in '1' for '000001.jpg': write them as the files do"),
        (["7.0", "8.0"], ["7.jpg", "8.jpg"], "as in '7.0' for '7.jpg'"),
        (["x_1", "y"], ["a.jpg"], "such as 'a.jpg': is it the right folder?"),
    ],
)
def test_names_that_no_flag_makes_fit_are_said(names: list[str], files: list[str], words: str) -> None:
    options = ConvertOptions(csv="labels.csv", images="images", output="data")
    rejects = [Reject("labels.csv", 2, name, Reason.MISSING_FILE, "") for name in names]
    assert words in suggestions.hint(options, rejects, files, 0)
