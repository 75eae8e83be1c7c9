"""Two datasets are the same, or every difference is named."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from converter import diff, parsing
from converter.diff import Difference, Moved, Relabelled
from converter.splits import assignment
from multihot.errors import UserError
from schemas import layout

Labels = Mapping[str, tuple[int, ...]]
CLASSES = ("desert", "mountains", "sea", "sunset", "trees")


@pytest.fixture
def make(convert: Callable[..., Any], write_csv: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    """Returns the function that converts these labels to a dataset of this name, and returns its folder."""

    def write(name: str, labels: Labels, classes: tuple[str, ...] = CLASSES, **given: Any) -> str:
        table = write_csv(tmp_path / f"{name}.csv", [("file", *classes), *((n, *one) for n, one in labels.items())])
        convert(csv=table, name=name, **{"num_shards": {"": 2}, **given})
        return str(tmp_path / "out" / name / "1.0.0")

    return write


def test_a_dataset_is_the_same_as_itself_and_is_not_even_read(dataset: Path, make: Any, labels_of: Labels) -> None:
    copy = make("copy", labels_of, num_shards={"train": 3, "validation": 1})
    for shard in Path(copy).glob("*/*.tfrecord"):
        shard.write_bytes(bytes(shard.stat().st_size))
    assert diff.diff(str(dataset), copy) == Difference()


def test_shards_do_not_matter(dataset: Path, make: Any, labels_of: Labels) -> None:
    other = make("other", labels_of, num_shards={"train": 5, "validation": 2}, version="2.0.0").replace("1.0", "2.0")
    assert diff.diff(str(dataset), other) == diff.diff(other, str(dataset)) == Difference()


def test_every_kind_of_difference_is_told(
    dataset: Path, make: Any, labels_of: Labels, scenes: Path, draw: Any, tmp_path: Path
) -> None:
    labels = dict(labels_of)
    del labels["3.jpg"], labels["été à la mer.jpg"]
    assert (labels["4.jpg"], labels["5.jpg"]) == ((1, 0, 1, 0, 0), (0, 1, 1, 0, 0))
    labels["4.jpg"], labels["5.jpg"] = (0, 0, 1, 1, 1), (0, 1, 0, 0, 0)
    labels["new.jpg"] = (1, 1, 1, 1, 1)
    images = tmp_path / "images"
    for name in labels:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        same = name not in ("6.jpg", "new.jpg")
        (images / name).write_bytes((scenes / "images" / name).read_bytes() if same else draw(99))
    there = diff.diff(str(dataset), make("other", labels, images=images))
    assert there == Difference(
        added=("new.jpg",),
        removed=("3.jpg", "été à la mer.jpg"),
        relabelled=(Relabelled("4.jpg", ("sunset", "trees"), ("desert",)), Relabelled("5.jpg", (), ("sea",))),
        changed=("6.jpg",),
    )
    back = diff.diff(str(tmp_path / "out/other/1.0.0"), str(dataset))
    assert (back.added, back.removed, back.changed) == (there.removed, there.added, there.changed)
    assert back.relabelled[0] == Relabelled("4.jpg", ("desert",), ("sunset", "trees"))


def test_images_in_other_splits_have_moved(dataset: Path, make: Any, labels_of: Labels) -> None:
    half = parsing.parse_splits("train=0.5,validation=0.5")
    found = diff.diff(str(dataset), make("other", labels_of, splits=half))
    default = parsing.parse_splits(parsing.DEFAULT_SPLITS)
    splits = {name: (assignment.split(name, default), assignment.split(name, half)) for name in sorted(labels_of)}
    moved = tuple(Moved(name, *names) for name, names in splits.items() if names[0] != names[1])
    assert moved
    assert found == Difference(moved=moved)


def test_classes_are_compared_by_name(dataset: Path, make: Any, labels_of: Labels) -> None:
    order = (2, 0, 1, 3)  # Without trees.
    labels = {name: (*(labels[i] for i in order), int(name == "0.jpg")) for name, labels in labels_of.items()}
    other = make("other", labels, classes=("sea", "desert", "mountains", "sunset", "lake"))
    found = diff.diff(str(dataset), other)
    assert (found.classes_added, found.classes_removed, found.classes_reordered) == (("lake",), ("trees",), True)
    assert found.relabelled == tuple(
        Relabelled(name, ("lake",) * (name == "0.jpg"), ("trees",) * labels_of[name][4])
        for name in sorted(labels_of)
        if labels_of[name][4] or name == "0.jpg"
    )
    assert not (found.added or found.removed or found.changed or found.moved)


def test_classes_in_another_order_are_a_difference_and_no_other_labels(
    dataset: Path, make: Any, labels_of: Labels
) -> None:
    turned = {name: labels[::-1] for name, labels in labels_of.items()}
    other = make("other", turned, classes=CLASSES[::-1])
    assert diff.diff(str(dataset), other) == Difference(classes_reordered=True)


def test_a_shard_that_both_have_is_not_read(make: Any, labels_of: Labels, tmp_path: Path) -> None:
    labels = dict(labels_of)
    one = make("one", labels, num_shards={"": 4})
    labels["0.jpg"] = (0, 0, 0, 0, 0)
    other = make("other", labels, num_shards={"": 4})
    shards = {shard.relative_to(one) for shard in Path(one).glob("*/*.tfrecord")}
    same = {shard for shard in shards if (Path(one) / shard).read_bytes() == (Path(other) / shard).read_bytes()}
    assert len(same) == len(shards) - 1
    for shard in same:
        (Path(one) / shard).write_bytes(bytes((Path(one) / shard).stat().st_size))
    assert diff.diff(one, other) == Difference(relabelled=(Relabelled("0.jpg", (), ("desert",)),))


def test_a_damaged_shard_is_trouble(dataset: Path, make: Any, labels_of: Labels) -> None:
    other = make("other", dict(list(labels_of.items())[1:]))
    shard = Path(other) / "train/train-00000-of-00002.tfrecord"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{shard} is damaged at byte 0: the crc of the payload is wrong"):
        diff.diff(str(dataset), other)
    with pytest.raises(UserError, match=r"is damaged at byte 0"):
        diff.diff(other, str(dataset))


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_shard_that_is_not_there_is_trouble_though_both_manifests_are_the_same(
    dataset: Path, tmp_path: Path, damage: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    shard = copy / "train/train-00001-of-00003.tfrecord"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        shard.unlink()
    with pytest.raises(UserError, match=r"train-00001-of-00003\.tfrecord is missing or cut"):
        diff.diff(str(dataset), str(copy))


def test_a_shard_of_another_dataset_is_trouble(dataset: Path, make: Any, labels_of: Labels) -> None:
    other = make("other", dict(list(labels_of.items())[1:]))
    first = Path(other) / layout.shard("train", 0, 2)
    index = (Path(other) / layout.shard_index(layout.shard("train", 0, 2))).read_text().splitlines()
    content = first.read_bytes()
    # Good records, of the same size in all.
    records = [content[offset : offset + size] for offset, size in (map(int, line.split()) for line in index)]
    first.write_bytes(b"".join(reversed(records)))
    with pytest.raises(UserError, match=rf"^{first} is not the shard in the manifest"):
        diff.diff(str(dataset), other)


def test_report_counts_all_and_lists_up_to_the_limit() -> None:
    difference = Difference(
        classes_added=("lake",),
        added=("a.jpg", "b.jpg", "c\x1b.jpg"),
        relabelled=(Relabelled("d.jpg", ("sea",), ("desert", "trees")),),
        moved=(Moved("e.jpg", "train", "validation"),),
    )
    assert diff.report(difference, limit=2).splitlines() == [
        "classes added: 1",
        "  lake",
        "classes removed: 0",
        "classes reordered: no",
        "added: 3",
        "  a.jpg",
        "  b.jpg",
        "  ... and 1 more (--limit=0 lists all)",
        "removed: 0",
        "relabelled: 1",
        "  d.jpg: +sea, -desert, -trees",
        "changed: 0",
        "moved: 1",
        "  e.jpg: train -> validation",
    ]
    assert r"  c\x1b.jpg" in diff.report(difference, limit=0).splitlines()
    assert diff.report(Difference()) == "same"


def _run(*args: str) -> tuple[int, str, str]:
    # Python's warning about a module that is imported twice becomes an error.
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "converter.diff", *args]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return process.returncode, process.stdout, process.stderr


def test_command_line_ends_with_1_when_there_is_a_difference(dataset: Path, make: Any, labels_of: Labels) -> None:
    other = make("other", {name: labels for name, labels in labels_of.items() if name != "0.jpg"})
    assert _run(str(dataset), other) == (1, diff.report(Difference(removed=("0.jpg",))) + "\n", "")


@pytest.mark.slow
def test_command_line_ends_with_0_when_there_is_none(dataset: Path) -> None:
    assert _run(str(dataset), str(dataset)) == (0, "same\n", "")


def test_command_line_ends_with_2_when_there_is_trouble(dataset: Path, tmp_path: Path) -> None:
    status, stdout, stderr = _run(str(dataset), str(tmp_path / "nothing"))
    assert (status, stdout) == (2, "")
    assert stderr.startswith(f"error: {tmp_path}/nothing is not a dataset")
