"""Labels that are not known stay unknown on their way through all programs, and are nowhere taken for negatives."""

import csv
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tensorflow as tf

from converter import diff
from converter.dataset.examples import find
from converter.dataset.summary import summary
from converter.diff import Difference, Relabelled
from converter.inspect import gallery, selection
from converter.job import pipeline
from converter.options import ConvertOptions
from converter.report import page
from converter.table import rows
from converter.table.row import Row
from converter.verify.dataset_checks import verify
from multihot.errors import UserError
from schemas import example, layout, metadata
from schemas.example import UNKNOWN
from schemas.metadata import DatasetInfo
from schemas.tfrecord import ShardReader, ShardWriter

CLASSES = ("desert", "mountains", "sea", "sunset", "trees")

Labels = Mapping[str, tuple[int, ...]]


@pytest.fixture(scope="module")
def labels(labels_of: Labels) -> dict[str, tuple[int, ...]]:
    """Returns the labels of `scenes`, of which one is unknown in every third image."""
    return {
        name: tuple(UNKNOWN if i % 3 == 0 and k == i % 5 else label for k, label in enumerate(one))
        for i, (name, one) in enumerate(labels_of.items())
    }


class Made(NamedTuple):
    """A dataset."""

    folder: str
    info: DatasetInfo


@pytest.fixture(scope="module")
def make(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """Returns the function that converts `scenes` with these labels, which need not be those of its CSV."""

    def convert(labels: Labels, **given: Any) -> Made:
        read_rows = rows.read_rows

        def relabelled(*arguments: Any) -> Iterator[Any]:
            for row in read_rows(*arguments):
                yield row._replace(labels=bytes(labels[row.filename])) if isinstance(row, Row) else row

        options = ConvertOptions(
            csv=str(scenes / "labels.csv"),
            images=str(scenes / "images"),
            **{"output": str(tmp_path_factory.mktemp("unknown")), "num_shards": {"train": 2}, **given},
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows, "read_rows", relabelled)
            info = pipeline.convert(options)
        assert info
        return Made(options.dataset, info)

    return convert


@pytest.fixture(scope="module")
def made(make: Callable[..., Made], labels: Labels) -> Made:
    """Returns a dataset with unknown labels, to read."""
    return make(labels)


def _records(folder: str, path: str) -> list[bytes]:
    with open(f"{folder}/{path}", "rb") as file:
        return [payload for _, payload in ShardReader(file)]


def _paths(info: DatasetInfo) -> list[str]:
    return [shard.path for split in info.splits for shard in split.shards]


def test_every_record_says_which_labels_are_known(made: Made, labels: Labels) -> None:
    records = [record for path in _paths(made.info) for record in _records(made.folder, path)]
    spec = example.parse_spec(5, has_unknown=True)
    for record in records:
        one = tf.io.parse_single_example(record, spec)
        expected = labels[one["filename"].numpy().decode()]
        assert one["labels"].numpy().tolist() == [int(label == 1) for label in expected]
        assert one["labels/known"].numpy().tolist() == [int(label != UNKNOWN) for label in expected]
    assert len(records) == len(labels)


def test_the_manifest_counts_known_positives_and_unknown_labels(made: Made, labels: Labels) -> None:
    columns = list(zip(*labels.values(), strict=True))
    assert made.info.statistics.positives == tuple(column.count(1) for column in columns)
    assert made.info.statistics.unknown == tuple(column.count(UNKNOWN) for column in columns)
    assert (metadata.load(made.folder), made.info.format_version) == (made.info, 2)


def test_one_unknown_label_gives_all_splits_the_feature(make: Callable[..., Made], labels_of: Labels) -> None:
    name = "바다.jpg"
    _, info = make({**labels_of, name: (UNKNOWN, *labels_of[name][1:])})
    assert sum(info.statistics.unknown) == 1
    assert all(len(split.statistics.unknown) == 5 for split in info.splits)


def test_shards_without_the_feature_are_not_kept_where_it_is_needed(
    make: Callable[..., Made], labels_of: Labels, labels: Labels, made: Made, tmp_path: Path
) -> None:
    output = str(tmp_path)
    plain = make(labels_of, output=output)
    assert not plain.info.has_unknown
    assert make(labels, output=output, overwrite=True).info == made.info
    assert make(labels_of, output=output, overwrite=True).info == plain.info


def test_verify_finds_nothing_wrong(made: Made) -> None:
    assert not list(verify(made.folder, made.info))


def test_verify_finds_records_and_statistics_that_contradict_each_other(made: Made, tmp_path: Path) -> None:
    folder = str(shutil.copytree(made.folder, tmp_path / "copy"))
    path = _paths(made.info)[0]
    first, *others = _records(folder, path)
    broken = tf.train.Example.FromString(first)
    broken.features.feature["labels/known"].int64_list.value[:] = [0] * 5
    broken.features.feature["labels"].int64_list.value[:] = [1] * 5
    with open(f"{folder}/{path}", "wb") as file:
        ShardWriter(file).write(broken.SerializeToString(), *others)
    found = list(map(str, verify(folder, made.info)))
    assert f"{path} at byte 0: labels must be 0 where labels/known is 0. Received: 1" in found

    split, *rest = made.info.splits
    wrong = dataclasses.replace(split, statistics=dataclasses.replace(split.statistics, unknown=(0,) * 5))
    problems = verify(made.folder, dataclasses.replace(made.info, splits=(wrong, *rest)))
    assert "manifest.json: the statistics of train are not those of its examples: unknown" in map(str, problems)


@pytest.mark.parametrize(
    ("where", "wanted"), [("?sea", UNKNOWN), ("-sea", 0), ("sea", 1)], ids=["unknown", "negative", "positive"]
)
def test_inspect_chooses_by_what_is_known(made: Made, labels: Labels, where: str, wanted: int) -> None:
    found = {one.example.filename for one in selection.select(made.folder, made.info, where=where)}
    assert found == {name for name, one in labels.items() if one[2] == wanted}
    assert found


def test_inspect_says_where_nothing_is_unknown(dataset: Path) -> None:
    with pytest.raises(UserError, match=r"--where=\?sea: in .* all labels are known, so that no example fits"):
        next(selection.select(str(dataset), metadata.load(str(dataset)), where="?sea"))


def test_inspect_refuses_what_cannot_be(made: Made) -> None:
    with pytest.raises(UserError, match="'sea' cannot be both required and unknown"):
        next(selection.select(made.folder, made.info, where="?sea,sea"))


def test_inspect_names_unknown_classes(made: Made, labels: Labels) -> None:
    name = next(name for name, one in labels.items() if one[2] == UNKNOWN and 1 in one)
    (one,) = find(made.folder, made.info, name)
    has = ", ".join(c for c, label in zip(CLASSES, labels[name], strict=True) if label == 1)
    assert f"labels          {has}; unknown: sea" in selection.describe(one, CLASSES).splitlines()


def test_files_of_examples_say_which_labels_are_unknown(made: Made, labels: Labels, tmp_path: Path) -> None:
    gallery.export(selection.select(made.folder, made.info), CLASSES, str(tmp_path / "out"))
    with (tmp_path / "out" / "labels.csv").open(encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == ["filename", *CLASSES]
    cells = {0: "0", 1: "1", UNKNOWN: "unknown"}
    assert {name: one for name, *one in lines} == {name: [cells[k] for k in one] for name, one in labels.items()}


def test_diff_shows_labels_that_became_known(make: Callable[..., Made], made: Made, labels: Labels) -> None:
    assert labels["0.jpg"] == (UNKNOWN, 0, 0, 0, 0)
    assert labels["3.jpg"] == (0, 0, 1, UNKNOWN, 0)
    assert labels["1.jpg"] == (0, 1, 0, 0, 0)
    other = make({**labels, "0.jpg": (1, 1, 0, 0, 0), "3.jpg": (0, 0, 1, 0, 0), "1.jpg": (0, UNKNOWN, 0, 0, 0)})
    found = diff.diff(made.folder, other.folder)
    assert found == Difference(
        relabelled=(
            Relabelled("0.jpg", ("mountains",), (), (("desert", UNKNOWN, 1),)),
            Relabelled("1.jpg", (), (), (("mountains", 1, UNKNOWN),)),
            Relabelled("3.jpg", (), (), (("sunset", UNKNOWN, 0),)),
        )
    )
    assert list(map(str, found.relabelled)) == [
        "0.jpg: +mountains, desert: unknown -> 1",
        "1.jpg: mountains: 1 -> unknown",
        "3.jpg: sunset: unknown -> 0",
    ]


def test_the_summary_and_the_report_say_how_many_are_unknown(made: Made, dataset: Path) -> None:
    text = summary(made.info, made.folder)
    assert "Unknown labels: 8 (6.7%): training leaves them out" in text.splitlines()
    table = [line.split() for line in text.splitlines()]
    at = table.index(["unknown", "labels", "of"])
    rows_ = {name: sum(map(int, counts)) for name, *counts in table[at + 1 : at + 6]}
    assert rows_ == dict(zip(CLASSES, made.info.statistics.unknown, strict=True))
    html = Path(made.folder, layout.REPORT).read_text(encoding="utf-8")
    assert "<dt>unknown labels</dt><dd>6.7%</dd>" in html
    assert "Of 8 labels it is not known whether the image has the class" in html
    assert '<th scope="col">unknown' in html
    info = metadata.load(str(dataset))
    assert "nknown" not in summary(info, str(dataset)) + page.make(str(dataset), info)
