"""Each image is in one slice, by its size, its group or its table; what is not noted is said."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from multihot.errors import UserError
from schemas import rows
from schemas.rows import RowPlace
from trainer.evaluation import leaks, slices, summary
from trainer.input import listing
from trainer.input.listing import Listing
from trainer.sources import Sources


def _by_size(*sides: int) -> dict[str, list[int]]:
    found = slices._by_size(np.array([(side, 1000) for side in sides]))
    return {one.name: one.images.tolist() for one in found}


def test_sizes_are_parted_by_the_shorter_side() -> None:
    found = _by_size(*range(100, 180, 10))
    assert list(found.values()) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert next(iter(found)) == "shorter side 100 to 110 pixels"
    assert _by_size(64, 64, 64) == {"shorter side 64 pixels": [0, 1, 2]}
    # Half of them are of one size.
    assert list(_by_size(64, 64, 64, 64, 80, 90, 95, 99).values()) == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_groups_and_tables_are_those_of_the_notes(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = listing.examples(sources, "validation")
    places = {
        name: RowPlace(name, "a.csv" if i % 3 else "<b>.csv", i + 2, "day" if i < 5 else "")
        for i, name in enumerate(examples.filenames)
    }
    monkeypatch.setattr(rows, "read", lambda directory, splits: places)
    by_csv = slices.find("csv", examples, sources, "validation")
    assert [(one.name, len(one.images)) for one in by_csv] == [("a.csv", 14), ("<b>.csv", 7)]
    by_group = slices.find("group", examples, sources, "validation")
    assert [(one.name, one.images.tolist()) for one in by_group] == [
        ("day", list(range(5))),
        ("not noted", list(range(5, 21))),
    ]
    assert list(slices.not_noted({"csv": by_csv, "group": by_group})) == [
        "--slice_by=group: 16 of 21 images have no note about it: they are the slice 'not noted'."
    ]


def test_groups_and_tables_of_several_datasets_are_told_apart(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = sources.each
    folders = ["data/summer/1.0.0", "data/winter/1.0.0/"]
    each = tuple(dataclasses.replace(source, directory=folder) for folder in folders)
    several = Sources(classes=sources.classes, each=each)
    found = listing.examples(sources, "validation")
    n = len(found.filenames)
    examples = Listing(found.filenames * 2, np.tile(found.sizes, (2, 1)), np.repeat(np.array([0, 1], np.int32), n))

    def read(directory: str, splits: object) -> dict[str, RowPlace]:
        return {name: RowPlace(name, f"/long/{directory[5:11]}/labels.csv", 2, "dune") for name in found.filenames}

    monkeypatch.setattr(rows, "read", read)
    for by, end in (("group", "dune"), ("csv", "{}/labels.csv")):
        expected = [(f"{one}/1.0.0: {end.format(one)}", n) for one in ("summer", "winter")]
        assert [(one.name, len(one.images)) for one in slices.find(by, examples, several, "validation")] == expected


def test_a_long_name_is_cut_in_its_middle() -> None:
    assert summary._short("/home/of/a/user/labels/north/labels.csv") == "/home/of/a/use…orth/labels.csv"
    assert summary._short("a" * 30) == "a" * 30


def test_the_table_of_a_converted_dataset_is_noted(sources: Sources) -> None:
    (found,) = slices.find("csv", listing.examples(sources, "validation"), sources, "validation")
    assert found.name == "labels.csv"
    assert len(found.images) == 21


def test_a_dataset_without_notes_is_one_sentence(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = listing.examples(sources, "validation")
    with pytest.raises(UserError, match=r"--slice_by=group: .* no notes about groups: it was converted without groups"):
        slices.find("group", examples, sources, "validation")
    monkeypatch.setattr(rows, "read", lambda directory, splits: {})
    with pytest.raises(UserError, match=r"--slice_by=csv: .* Convert again, or leave the flag out\."):
        slices.find("csv", examples, sources, "validation")


def test_the_rest_of_many_groups_is_one_slice() -> None:
    found = slices._by_name([f"group {i // 2:03d}" for i in range(100)])
    assert len(found) == 31
    assert found[0].name == "group 000"
    assert found[-1].name == "20 more"
    assert sorted(np.concatenate([one.images for one in found])) == list(range(100))


def test_images_without_a_note_are_no_part_of_the_rest() -> None:
    found = slices._by_name([*(f"group {i:03d}" for i in range(40)), "", ""])
    assert [(one.name, len(one.images)) for one in found[-2:]] == [("10 more", 10), ("not noted", 2)]
    assert list(slices.not_noted({"group": found})) == [
        "--slice_by=group: 2 of 42 images have no note about it: they are the slice 'not noted'."
    ]


def test_leaks_are_the_images_with_a_duplicate_in_another_split(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "duplicates.csv").write_text(
        "group,filename,split,kind\n"
        "a,a,train,near\na,v1,validation,near\n"  # In both splits.
        "v2,v2,validation,near\nv2,v3,validation,near\n"  # In one.
        "'=b,'=b,validation,exact\n'=b,c,test,exact\n"  # Escaped for spreadsheets.
    )
    source = sources.each[0]
    leaking = source.__class__(
        directory=str(tmp_path),
        info=source.info.__class__(**{**vars(source.info), "leaks": {"num_images": 4, "num_groups": 2}}),
        labels=source.labels,
    )
    examples = Listing(["v3", "=b", "v2", "v1"], np.ones((4, 2), np.int32), np.zeros(4, np.int32))
    data = Sources(classes=sources.classes, each=(leaking,))
    assert leaks.duplicated(examples, data, "validation").tolist() == [1, 3]
    assert leaks.duplicated(examples, sources, "validation").tolist() == []
    fingerprint = source.info.fingerprint
    assert leaks.trained_on(sources, "train", [fingerprint], "train") == [source.directory]
    assert leaks.trained_on(sources, "validation", [fingerprint], "train") == []
    assert leaks.trained_on(sources, "train", ["another"], "train") == []
    (tmp_path / "duplicates.csv").write_text("group,filename\n")
    with pytest.raises(UserError, match=r"duplicates\.csv is damaged: its columns must be group"):
        leaks.duplicated(examples, data, "validation")
