"""`--schema`: a new conversion has the classes of an earlier one, in their order, and nothing that does not fit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multihot.errors import UserError
from schemas import layout
from schemas.metadata import FORMAT_VERSION, DatasetInfo

CLASSES = ("desert", "mountains", "sea", "sunset", "trees")
TURNED = CLASSES[::-1]


@pytest.fixture(scope="module")
def earlier(convert_to: Callable[..., DatasetInfo], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a dataset whose classes are in the order `TURNED`: to be read, never to be changed."""
    output = tmp_path_factory.mktemp("earlier")
    convert_to(output, name="earlier", classes=TURNED)
    return output / "earlier/1.0.0"


@pytest.mark.parametrize(
    ("table", "ending"), [("labels.csv", ""), pytest.param("names.csv", "/manifest.json", marks=pytest.mark.slow)]
)
def test_classes_and_their_order_are_those_of_the_earlier_dataset(
    earlier: Path, convert: Callable[..., DatasetInfo], scenes: Path, table: str, ending: str
) -> None:
    info = convert(csv=scenes / table, schema=f"{earlier}{ending}")
    assert info.classes == TURNED
    # The same as with --classes, bit for bit.
    assert info.fingerprint == convert(name="named", csv=scenes / table, classes=TURNED).fingerprint


def test_labels_follow_their_columns(
    earlier: Path, convert: Callable[..., DatasetInfo], read_shards: Any, labels_of: Any, tmp_path: Path
) -> None:
    info = convert(schema=str(earlier))
    for split in info.splits:
        for one in read_shards(tmp_path / "out/scenes/1.0.0", info, split.name):
            assert one.labels == labels_of[one.filename][::-1]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        pytest.param(CLASSES[1:], "missing: desert.", id="a column missing"),
        pytest.param(
            (*CLASSES, "lake"), "not among them: lake. --label_columns leaves columns out.", id="a column more"
        ),
        pytest.param(
            ("lake", *CLASSES[2:]),
            "missing: desert, mountains; not among them: lake. --label_columns leaves columns out.",
            id="another column",
        ),
    ],
)
def test_other_label_columns_are_an_error(
    earlier: Path, convert: Any, write_csv: Any, tmp_path: Path, columns: tuple[str, ...], sentence: str
) -> None:
    table = write_csv(tmp_path / "other.csv", [("file", *columns), ("0.jpg", *[1] * len(columns))])
    with pytest.raises(UserError) as caught:
        convert(csv=table, schema=str(earlier))
    assert str(caught.value) == (
        f"{table} line 1: the label columns must be the classes of {earlier}, in any order; {sentence}"
    )


def test_columns_more_can_be_left_out(earlier: Path, convert: Any, write_csv: Any, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "other.csv", [("file", "lake", *CLASSES), ("0.jpg", 1, 1, 0, 0, 0, 0)])
    info = convert(csv=table, schema=str(earlier), label_columns=CLASSES)
    assert (info.classes, info.statistics.positives) == (TURNED, (0, 0, 0, 0, 1))


def test_rows_that_name_another_class_are_rejected(earlier: Path, convert: Any, write_csv: Any, tmp_path: Path) -> None:
    table = write_csv(
        tmp_path / "other.csv", [("file", "kind"), ("0.jpg", "sea"), ("1.jpg", "sea,lake"), ("2.jpg", "")]
    )
    info = convert(csv=table, schema=str(earlier), max_rejects=1)
    assert (info.classes, info.num_examples, dict(info.rejects)) == (TURNED, 2, {"unknown_class": 1})
    rejects = (tmp_path / "out/scenes/1.0.0/rejects.csv").read_text(encoding="utf-8")
    assert f"column 'kind': must name classes of {', '.join(TURNED)}. Received: lake" in rejects


def test_a_folder_that_is_no_dataset_is_an_error(convert: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} is not a dataset"):
        convert(schema=str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_dataset_of_a_newer_format_is_said_to_be_one(earlier: Path, convert: Any, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(earlier, tmp_path / "copy"))
    fields = json.loads((copy / layout.MANIFEST).read_text())
    (copy / layout.MANIFEST).write_text(json.dumps({**fields, "format_version": FORMAT_VERSION + 1}))
    with pytest.raises(UserError, match=f"format version {FORMAT_VERSION + 1}; .*Install a newer multihot"):
        convert(schema=str(copy))


def test_what_was_followed_is_noted(earlier: Path, convert: Any, tmp_path: Path) -> None:
    convert(schema=str(earlier))
    assert json.loads((tmp_path / "out/scenes/1.0.0/conversion.json").read_text())["schema"] == str(earlier)
