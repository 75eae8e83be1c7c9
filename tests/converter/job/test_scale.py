"""What a conversion sends through a shuffle, keeps and compares does not outgrow the machines of a large one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import counted_shuffles
from schemas.metadata import DatasetInfo

Convert = Callable[..., DatasetInfo]
Draw = Callable[..., bytes]
WriteCsv = Callable[..., Path]

_IMAGES = 400
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, draw: Draw, write_csv: WriteCsv) -> Path:
    """Returns a folder with labels.csv and the folder `images`."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "images").mkdir()
    names = [f"{i:03}.jpg" for i in range(_IMAGES)]
    for i, name in enumerate(names):
        (folder / "images" / name).write_bytes(draw(seed=i))
    rows = [(name, i % 2, int(i % 3 == 0)) for i, name in enumerate(names)]
    write_csv(folder / "labels.csv", [("filename", "sea", "desert"), *rows])
    return folder


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="by hash"),
        pytest.param({"split_method": "stratified"}, id="stratified"),
        pytest.param({"group_near_duplicates": True}, id="near duplicates together"),
    ],
)
def test_a_row_takes_at_most_500_bytes_of_all_shuffles(many: Path, convert: Convert, given: dict[str, Any]) -> None:
    with counted_shuffles.counted() as num_bytes:
        convert(csv=str(many / "labels.csv"), images=str(many / "images"), **given)
    assert 100 * _IMAGES < num_bytes() < 500 * _IMAGES
