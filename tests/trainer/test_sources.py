"""Several datasets are read as if they were one, and some of their classes as if there were no others."""

import csv
import dataclasses
import functools
import json
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from converter.job.pipeline import convert
from converter.options import ConvertOptions
from multihot.errors import UserError
from schemas import layout, metadata
from schemas.metadata import FORMAT_VERSION, DatasetInfo
from trainer import sources, train
from trainer.config import TrainConfig
from trainer.input import pipeline, reading
from trainer.sources import Sources, check_shards, combine
from trainer.training import phase_setup

Config = Callable[..., TrainConfig]
Pipeline = Callable[..., tf.data.Dataset]
# The fast tests have examples that are read anew and examples that are cached.
KEPT = [
    "none",
    pytest.param("encoded", marks=pytest.mark.slow),
    "decoded",
    pytest.param("disk", marks=pytest.mark.slow),
]
Example = tuple[bytes, tuple[float, ...]]
TURNED = ("yellow", "red", "green", "blue")


@pytest.fixture(scope="module")
def other(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another dataset: six other pictures to train on and four to validate, with the classes turned round."""
    folder = tmp_path_factory.mktemp("other")
    with (source / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    jpegs = [row for row in rows if row["split"] == "jpegs"]
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "split", *TURNED])
        for i, row in enumerate(jpegs):
            split = "train" if i < 6 else "validation"
            writer.writerow([row["filename"], split, *(row[name] for name in TURNED)])
    options = ConvertOptions(
        csv=str(folder / "labels.csv"),
        images=str(source / "images"),
        output=str(folder),
        name="other",
        label_columns=TURNED,
        split_column="split",
        max_rejects=0,
        num_threads=1,
    )
    convert(options)
    return Path(options.dataset)


@pytest.fixture
def both(data: Path, other: Path) -> Sources:
    return combine([(str(folder), metadata.load(str(folder))) for folder in (data, other)])


def examples(dataset: tf.data.Dataset) -> list[Example]:
    return [
        (image.tobytes(), tuple(labels.tolist()))
        for images, batch in dataset.as_numpy_iterator()
        for image, labels in zip(images, batch, strict=True)
    ]


def some_epochs(number: int, make: Callable[..., tf.data.Dataset]) -> list[list[Example]]:
    """Returns the examples of the first epochs of a training dataset."""
    epoch = phase_setup.epoch_variable()
    dataset, found = make(epoch=epoch), []
    for i in range(number):
        epoch.assign(i)
        found.append(examples(dataset))
    return found


def alone(config: TrainConfig, data: Sources, i: int, split: str) -> list[Example]:
    """Returns the examples of one of the datasets, with the labels of the run."""
    one = dataclasses.replace(data, each=(data.each[i],))
    return examples(pipeline.evaluation_dataset(config, one, split))


def test_labels_are_those_of_the_names_whatever_their_order(config: Config, both: Sources, other: Path) -> None:
    as_stored = combine([(str(other), metadata.load(str(other)))])
    assert both.classes == TURNED[::-1]
    assert both.each[1].labels == (3, 2, 1, 0)
    turned = alone(config(), both, 1, "validation")
    assert [labels[::-1] for _, labels in turned] == [
        labels for _, labels in alone(config(), as_stored, 0, "validation")
    ]


@pytest.mark.parametrize("kept", KEPT)
def test_every_training_epoch_has_every_example_of_all_once(
    kept: str, config: Config, both: Sources, training: Pipeline
) -> None:
    asked = config(augment="none", batch_size=9)
    assert len(training(asked, both, kept)) == 6
    stored = alone(asked, both, 0, "train") + alone(asked, both, 1, "train")
    epochs = some_epochs(2, functools.partial(training, asked, both, kept))
    assert Counter(epochs[0]) == Counter(epochs[1]) == Counter(stored)
    assert len({tuple(epoch) for epoch in (stored, *epochs)}) == 3


def test_examples_are_mixed_even_where_the_shuffle_has_no_room(
    config: Config, both: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SHUFFLE_BYTES", 1)
    asked = config(augment="none", batch_size=1)
    small = set(alone(asked, both, 1, "train"))
    places = [i for i, one in enumerate(examples(pipeline.training_dataset(asked, both))) if one in small]
    assert len(places) == 6
    # One behind the other they would be the last six.
    assert places[0] < 24
    assert places != list(range(48, 54))


@pytest.mark.parametrize("kept", KEPT)
def test_evaluation_has_every_example_once_one_dataset_after_the_other(
    kept: str, config: Config, both: Sources, validation: Pipeline
) -> None:
    dataset = validation(config(batch_size=4), both, kept=kept)
    expected = alone(config(), both, 0, "validation") + alone(config(), both, 1, "validation")
    assert len(expected) == 25
    assert examples(dataset) == examples(dataset) == expected


@pytest.mark.parametrize(
    ("kept", "room"),
    [
        ("none", 1 << 30),
        *(pytest.param(kept, 1 << 30, marks=pytest.mark.slow) for kept in ("encoded", "decoded", "disk")),
        pytest.param("none", 10_000, id="little room", marks=pytest.mark.slow),
    ],
)
def test_with_weights_datasets_are_seen_in_these_proportions(
    kept: str, room: int, config: Config, both: Sources, training: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SHUFFLE_BYTES", room)
    asked = config(augment="none", batch_size=9, data=("a", "b"), data_weights=(1.0, 3.0))
    large, small = (Counter(alone(asked, both, i, "train")) for i in range(2))
    assert len(training(asked, both, kept)) == 6
    epochs = some_epochs(6, functools.partial(training, asked, both, kept))
    assert {len(epoch) for epoch in epochs} == {54}
    for epoch in epochs:
        seen = Counter(epoch)
        assert seen.keys() <= large.keys() | small.keys()
        # None a second time before all of its dataset have been seen.
        assert max(seen[one] for one in large) == 1
        times = [seen[one] for one in small]
        assert max(times) - min(times) <= (1 if room > 1 << 20 else 3)
    share = sum(one in small for epoch in epochs for one in epoch) / (6 * 54)
    assert 0.65 < share < 0.85
    assert len({tuple(epoch) for epoch in epochs}) == 6


@pytest.mark.parametrize("kept", KEPT)
def test_with_weights_the_same_seed_gives_the_same_epochs(
    kept: str, config: Config, both: Sources, training: Pipeline
) -> None:
    asked = config(augment="none", data=("a", "b"), data_weights=(2.0, 1.0))
    once, again = (some_epochs(2, functools.partial(training, asked, both, kept)) for _ in "ab")
    assert once == again


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("weights", [pytest.param((), marks=pytest.mark.slow), (1.0, 2.0)])
def test_it_runs_no_python(
    weights: tuple[float, ...], kept: str, config: Config, both: Sources, training: Pipeline, validation: Pipeline
) -> None:
    train = training(config(data=("a", "b"), data_weights=weights), both, kept)
    evaluated = validation(config(), both, kept=kept)
    # A cache of decoded images is evaluated without decoding.
    loaded = "TensorSliceDataset" if kept in ("decoded", "disk") else "DecodeJpeg"
    for dataset, expected in ((train, "GatherV2"), (evaluated, loaded)):
        graph = tf.compat.v1.GraphDef.FromString(dataset._as_serialized_graph().numpy())
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        assert not {node.op for node in nodes if "Py" in node.op or "GeneratorDataset" in node.op}
        assert any(node.op == expected for node in nodes)


def test_a_subset_of_the_classes_has_their_labels_and_counts(config: Config, data: Path, info: DatasetInfo) -> None:
    some = combine([(str(data), info)], ("red", "blue"))
    whole = combine([(str(data), info)])
    found, stored = alone(config(), some, 0, "train"), alone(config(), whole, 0, "train")
    assert info.classes == ("blue", "green", "red", "yellow")
    # Examples without any of them stay.
    assert found == [(image, (labels[2], labels[0])) for image, labels in stored]
    blue, _, red, _ = info.split("train").statistics.positives
    assert some.split("train").statistics.positives == (red, blue)
    assert some.split("train").num_examples == some.split("train").statistics.num_examples == 48


def test_splits_are_counted_together(both: Sources, info: DatasetInfo, other: Path) -> None:
    there = metadata.load(str(other)).split("train").statistics
    here = info.split("train").statistics
    together = both.split("train")
    assert together.num_examples == 54
    assert together.statistics.positives == tuple(map(sum, zip(here.positives, there.positives[::-1], strict=True)))


def _renamed(info: DatasetInfo, *classes: str) -> DatasetInfo:
    return dataclasses.replace(info, classes=classes)


def test_other_classes_are_named(info: DatasetInfo) -> None:
    other = _renamed(info, "blue", "green", "red", "pink")
    with pytest.raises(UserError) as caught:
        combine([("a", info), ("b", other)])
    assert str(caught.value) == (
        "--data: a and b must have the same classes, and only a has yellow; only b has pink. "
        "To train on classes that all datasets have, name them: --classes"
    )
    assert combine([("a", info), ("b", other)], ("red", "blue")).each[1].labels == (2, 0)
    with pytest.raises(UserError) as caught:
        combine([("a", info), ("b", other)], ("red", "yellow"))
    assert str(caught.value) == "--classes: b has no yellow. It has: blue, green, red, pink"


def test_the_same_dataset_twice_is_an_error(info: DatasetInfo) -> None:
    with pytest.raises(UserError, match=r"^--data: a and b are the same dataset.*--data_weights"):
        combine([("a", info), ("b", dataclasses.replace(info, name="copy"))])


def test_a_dataset_of_a_newer_format_is_said_to_be_one(data: Path, config: Config, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    fields = json.loads((copy / layout.MANIFEST).read_text())
    (copy / layout.MANIFEST).write_text(json.dumps({**fields, "format_version": FORMAT_VERSION + 1}))
    with pytest.raises(UserError, match=f"{copy}.*format version {FORMAT_VERSION + 1}; .*Install a newer multihot"):
        sources.load(config(data=(str(data), str(copy))))


@pytest.mark.parametrize("weights", [(), (1.0, 2.0)])
@pytest.mark.parametrize("kept", ["none", "decoded"])
def test_a_dataset_without_a_split_contributes_nothing_to_it(
    kept: str,
    weights: tuple[float, ...],
    config: Config,
    both: Sources,
    training: Pipeline,
    validation: Pipeline,
) -> None:
    here, there = both.each
    only = tuple(
        dataclasses.replace(source, info=dataclasses.replace(source.info, splits=(source.info.split(split),)))
        for source, split in ((here, "validation"), (there, "train"))
    )
    each = dataclasses.replace(both, each=only)
    asked = config(augment="none", batch_size=3, data=("a", "b"), data_weights=weights)
    assert Counter(examples(training(asked, each, kept))) == Counter(alone(asked, both, 1, "train"))
    assert examples(validation(asked, each, kept=kept)) == alone(asked, both, 0, "validation")
    assert (each.split("train").num_examples, each.split("validation").num_examples) == (6, 21)
    assert [source.info.name for source in each.having("train")] == ["other"]


@pytest.mark.slow
def test_a_run_notes_each_dataset(config: Config, data: Path, other: Path) -> None:
    asked = config(
        data=(str(data), str(other)), data_weights=(1.0, 2.0), classes=("red", "blue"), image_size=8, epochs=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = train.train_and_evaluate(asked)
    assert result["num_examples"] == 25
    assert list(result["average_precision"]) == ["red", "blue"]
    noted = json.loads((Path(asked.output) / "config.json").read_text())
    assert [(one["path"], one["fingerprint"]) for one in noted["datasets"]] == [
        (str(folder), metadata.load(str(folder)).fingerprint) for folder in (data, other)
    ]
    assert (noted["data_weights"], noted["classes_used"]) == ([1.0, 2.0], ["red", "blue"])


def test_check_shards_names_what_is_missing_or_damaged(data: Path, info: DatasetInfo, tmp_path: Path) -> None:
    removable = Path(shutil.copytree(data, tmp_path / "copy"))
    check_shards(str(removable), info, ("jpegs", "train"))
    missing, damaged = (removable / info.split(split).shards[0].path for split in ("jpegs", "train"))
    missing.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UserError) as caught:
        check_shards(str(removable), info, ("jpegs", "train"))
    assert str(caught.value) == (
        f"{removable}: these shards are missing, or differ from the manifest: jpegs/jpegs-00000-of-00002.tfrecord, "
        "train/train-00000-of-00003.tfrecord. Copy the dataset once more, or convert again."
    )
