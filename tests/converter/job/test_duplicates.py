"""The steps of the job that find duplicates: which images are read a second time, and which are listed."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import drawings
from converter.job import duplicates, pipeline
from converter.options import ConvertOptions
from converter.shards import reading
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.table.row import Row
from multihot.storage.files import File


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


def test_images_of_many_batches_are_read_again_together() -> None:
    names = [f"{number:03}.jpg" for number in range(500)]
    sources = [
        Source(Row("labels.csv", 2, name, b"\1", "train", name), File(name, f"images/{name}", 1, 0)) for name in names
    ]
    chosen = set(names[::3])
    step = duplicates._ToRead(lambda row: row.filename)
    batches = [Batch(sources[start : start + 10]) for start in range(0, len(sources), 10)]
    elements = [element for batch in batches for element in step.process(batch, chosen)]
    elements += (windowed.value for windowed in step.finish_bundle())
    read = [[name for part in parts for name, _ in part] for _, parts in elements]
    assert [len(each) >= 64 for each in read] == [True, True, False]
    assert list(itertools.chain.from_iterable(read)) == sorted(chosen)
    assert [*step.finish_bundle()] == []


def test_a_repeated_bundle_has_nothing_of_the_one_that_failed() -> None:
    row = Row("labels.csv", 2, "a.jpg", b"\1", "train", "a.jpg")
    step = duplicates._ToRead(lambda row: row.filename)
    for _ in range(2):
        step.start_bundle()
        assert [*step.process(Batch([Source(row, File("a.jpg", "images/a.jpg", 1, 0))]), {"a.jpg"})] == []
    (windowed,) = step.finish_bundle()
    assert [len(part) for part in windowed.value[1]] == [1]
