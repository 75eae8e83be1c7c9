"""The steps of the job that find duplicates: which images are read a second time, and which are listed."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import drawings
from converter.job import pipeline
from converter.options import ConvertOptions
from converter.shards import reading


@pytest.mark.parametrize("together", [False, True], ids=["in any split", "in one split"])
def test_of_files_with_the_same_bytes_one_is_read_again(
    together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = drawings.KINDS["logos"](1)
    same, copy = drawings.encoded(drawing, "PNG"), drawings.copy(drawing, drawings.CHANGES[0])
    files = {"a.png": same, "b.png": same, "c.png": same, "d.jpg": copy}
    (tmp_path / "images").mkdir()
    for name, data in files.items():
        (tmp_path / "images" / name).write_bytes(data)
    (tmp_path / "labels.csv").write_text("file,x\n" + "".join(f"{name},1\n" for name in files))
    read_again = []
    pictured = reading.pictured

    def counted(names: Sequence[str], *args: Any) -> Any:
        read_again.append(sorted(names))
        return pictured(names, *args)

    monkeypatch.setattr(reading, "pictured", counted)
    output = tmp_path / "out"
    pipeline.convert(
        ConvertOptions(
            csv=f"{tmp_path}/labels.csv",
            images=f"{tmp_path}/images",
            output=str(output),
            name="drawings",
            group_near_duplicates=together,
        )
    )
    # With images kept together, duplicates are searched for twice: before the splits are assigned, and at the end.
    assert sorted(itertools.chain.from_iterable(read_again)) == sorted(["a.png", "d.jpg"] * (1 + together))
    with (output / "drawings/1.0.0/duplicates.csv").open(newline="") as file:
        found = [(row["group"], row["filename"], row["kind"]) for row in csv.DictReader(file)]
    assert found == [("a.png", f"{name}.png", "exact") for name in "abc"] + [("a.png", "d.jpg", "near")]
