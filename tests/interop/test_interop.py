"""Readers of others, run on a dataset of ours: what they give is compared with the images and labels it was made from.

Each is a program, `read_<reader>.py`, which runs in a process of its own and prints what it was given (show.py). What
is heavy, or clashes with TensorFlow, has an environment of its own as well, which scripts/interop_venvs makes.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from converter.job import pipeline
from converter.options import ConvertOptions
from converter.table import rows
from schemas import example, metadata
from schemas.example import UNKNOWN
from schemas.metadata import DatasetInfo
from schemas.tfrecord import ShardReader

pytestmark = [pytest.mark.slow, pytest.mark.interop]

# The examples that a reader printed, by the dataset or file that it read.
Lines = Mapping[str, list[dict[str, Any]]]
Read = Callable[[str], Lines]

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_SPLITS = ("train", "validation")
_CLASSES = ("desert", "mountains", "바다", "sunset", "trees")
# Where each reader runs: in the environment of the tests, or in .venv-interop-NAME.
_ENVIRONMENTS = {
    "tf_data": None,
    "tfx": None,
    "beam": None,
    "tfds": "tfds",
    "grain": "tfds",
    "array_record": "tfds",
    "tfrecord": "tfrecord",
    "dali": "dali",
}
# Images that not all readers decode: they have a test of their own.
_NOT_DECODED = ("*.gif", "*.webp")
# Beside the images of `scenes`, of which most are JPEG in RGB: format, mode, options.
_MODES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "modes/grey.jpg": ("JPEG", "L", {}),
    "modes/inks.jpg": ("JPEG", "CMYK", {}),
    "modes/progressive.jpg": ("JPEG", "RGB", {"progressive": True}),
    "modes/grey.png": ("PNG", "L", {}),
    "modes/palette.png": ("PNG", "P", {}),
    "modes/alpha.png": ("PNG", "RGBA", {}),
    "modes/16 bits.png": ("PNG", "I;16", {}),
    "modes/1 bit.png": ("PNG", "1", {}),
    "modes/grey.bmp": ("BMP", "L", {}),
}


@pytest.fixture(scope="module")
def labels_by_name(labels_of: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Returns the names of all images with their labels."""
    decoded = {name: labels for name, labels in labels_of.items() if not name.endswith((".gif", ".webp"))}
    return {**decoded, **{name: (i % 2, 0, 1, i // 2 % 2, 1) for i, name in enumerate(_MODES)}}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, scenes: Path, draw: Callable[..., bytes]) -> Path:
    """Returns a folder of images of every format and mode, some in folders, some with non-ASCII names."""
    folder = tmp_path_factory.mktemp("interop") / "images"
    shutil.copytree(scenes / "images", folder, ignore=shutil.ignore_patterns(*_NOT_DECODED))
    (folder / "modes").mkdir()
    for i, (name, (file_format, mode, save)) in enumerate(_MODES.items()):
        (folder / name).write_bytes(draw(i, width=40 + i, height=30, mode=mode, file_format=file_format, **save))
    return folder


@pytest.fixture(scope="module")
def converted(images: Path, labels_by_name: Mapping[str, tuple[int, ...]], write_csv: Callable[..., Path]) -> Path:
    """Returns the folder of the dataset."""
    rows = [("file", *_CLASSES), *((name, *labels) for name, labels in labels_by_name.items())]
    labels = write_csv(images.parent / "labels.csv", rows)
    options = ConvertOptions(
        csv=str(labels),
        images=str(images),
        output=str(images.parent / "out"),
        name="pictures",
        num_shards={"train": 3, "validation": 1},
    )
    assert pipeline.convert(options)
    return Path(options.dataset)


@pytest.fixture(scope="module")
def partly_known(converted: Path, images: Path) -> Path:
    """Returns the folder of a dataset of the same images, of which every label of a png's first class is unknown."""
    options = ConvertOptions(
        csv=str(images.parent / "labels.csv"),
        images=str(images),
        output=str(converted.parents[1]),
        name="partly_known",
        num_shards={"train": 3, "validation": 1},
    )
    read_rows = rows.read_rows

    def relabelled(*arguments: Any) -> Iterator[Any]:
        for row in read_rows(*arguments):
            unknown = row.filename.endswith(".png")
            yield row._replace(labels=bytes([UNKNOWN, *row.labels[1:]])) if unknown else row

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "read_rows", relabelled)
        assert pipeline.convert(options)
    return Path(options.dataset)


@pytest.fixture(scope="module")
def info(converted: Path) -> DatasetInfo:
    return metadata.load(str(converted))


@pytest.fixture(scope="module")
def stored(converted: Path, info: DatasetInfo) -> dict[str, list[example.Example]]:
    """Returns the examples of each split, in their order, as we read them."""
    examples: dict[str, list[example.Example]] = {}
    for split in info.splits:
        for shard in split.shards:
            with (converted / shard.path).open("rb") as file:
                records = [example.decode(record, len(_CLASSES)) for _, record in ShardReader(file)]
            examples.setdefault(split.name, []).extend(records)
    return examples


@pytest.fixture(scope="module")
def expected(
    images: Path, labels_by_name: Mapping[str, tuple[int, ...]], stored: Mapping[str, list[example.Example]]
) -> dict[str, list[dict[str, Any]]]:
    """Returns what a reader must give of each split: labels and bytes of the source, in the order of the records."""
    return {
        split: [
            {
                "image": hashlib.sha256((images / one.filename).read_bytes()).hexdigest(),
                "labels": list(labels_by_name[one.filename]),
                "filename": one.filename,
            }
            for one in examples
        ]
        for split, examples in stored.items()
    }


@pytest.fixture(scope="module")
def run(converted: Path) -> Callable[..., Lines]:
    """Returns the function that runs a reader on the dataset, or on another one, once."""

    @functools.cache
    def run_once(reader: str, folder: Path = converted) -> Lines:
        command = [_python(reader), _HERE / f"read_{reader}.py", folder, *_SPLITS]
        # Nothing of ours is there for it to import.
        env = {**os.environ, "PYTHONPATH": ""}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr[-5000:]
        lines: dict[str, list[dict[str, Any]]] = {}
        for line in map(json.loads, done.stdout.splitlines()):
            lines.setdefault(line.pop("read"), []).append(line)
        return lines

    return run_once


@pytest.fixture
def read(run: Callable[..., Lines], record_property: Callable[[str, object], None]) -> Read:
    """Returns `run`; the closing lines of the tests say which readers ran (tests/conftest.py)."""

    def run_and_note(reader: str) -> Lines:
        record_property("interop", reader)
        return run(reader)

    return run_and_note


def _python(reader: str) -> str | Path:
    """Returns the interpreter that has the reader, or skips the test."""
    name = _ENVIRONMENTS[reader]
    if name is None:
        return sys.executable
    folder = _ROOT / f".venv-interop-{name}"
    if (folder / ".reason").exists():
        why = " ".join((folder / ".reason").read_text().split())
        pytest.skip(f"it could not be installed: {why[:300]}")
    requirements, installed = _HERE / f"{name}.txt", folder / ".installed"
    if not installed.exists() or installed.read_text() != requirements.read_text():
        pytest.skip("run scripts/interop_venvs first")
    return folder / "bin" / "python"


def _examples(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: line[key] for key in ("image", "labels", "filename")} for line in lines]


def _decode(data: bytes) -> tf.Tensor:
    """Returns the pixels of an image file, of an animation the first frame."""
    return tf.io.decode_image(data, channels=3, expand_animations=False)


def test_a_program_for_each_reader() -> None:
    assert {path.stem for path in _HERE.glob("read_*.py")} == {f"read_{reader}" for reader in _ENVIRONMENTS}
    # test_own_loop.py imports JAX.
    assert {path.stem for path in _HERE.glob("*.txt")} == {"jax", *filter(None, _ENVIRONMENTS.values())}


def test_what_is_stored_are_the_images(
    images: Path, labels_by_name: Mapping[str, tuple[int, ...]], stored: Mapping[str, list[example.Example]]
) -> None:
    examples = [one for split in stored.values() for one in split]
    assert sorted(one.filename for one in examples) == sorted(labels_by_name)
    for one in examples:
        assert one.image == (images / one.filename).read_bytes()


@pytest.mark.parametrize("reader", [reader for reader in _ENVIRONMENTS if reader != "beam"])
def test_gives_every_example_in_order(read: Read, reader: str, expected: Lines) -> None:
    lines = read(reader)
    assert {split: _examples(lines[split]) for split in _SPLITS} == expected


def test_beam_gives_every_example(read: Read, expected: Lines) -> None:
    lines = read("beam")
    for split in _SPLITS:
        assert sorted(lines[split], key=str) == sorted(expected[split], key=str)


def test_tfds_has_the_names_of_the_classes_and_exact_counts(read: Read, info: DatasetInfo, expected: Lines) -> None:
    lines = read("tfds")
    assert lines["info"] == [
        {
            "label_names": list(_CLASSES),
            "supervised_keys": ["image", "labels"],
            "shard_lengths": {split.name: [shard.num_examples for shard in split.shards] for split in info.splits},
            "num_bytes": {split.name: sum(shard.num_bytes for shard in split.shards) for split in info.splits},
        }
    ]
    assert lines["cardinality"] == [
        {"split": split, "cardinality": len(expected[split]), "length": len(expected[split])} for split in _SPLITS
    ]


def test_tfds_decodes_every_image_to_its_pixels(
    read: Read, images: Path, stored: Mapping[str, list[example.Example]]
) -> None:
    lines = read("tfds")
    for split in _SPLITS:
        assert {line["filename"]: line for line in lines[f"{split} decoded"]} == {
            one.filename: {
                "filename": one.filename,
                "size": [one.height, one.width],
                "shape": [one.height, one.width, 3],
                "pixels": hashlib.sha256(_decode((images / one.filename).read_bytes()).numpy().tobytes()).hexdigest(),
            }
            for one in stored[split]
        }


def test_tfds_gives_the_files_where_one_is_a_gif_or_webp(
    run: Callable[..., Lines], dataset: Path, scenes: Path, labels_of: Mapping[str, tuple[int, ...]]
) -> None:
    lines = run("tfds", dataset)
    seen = [line for split in _SPLITS for line in lines[split]]
    assert sorted(line["filename"] for line in seen) == sorted(labels_of)
    for line in seen:
        assert line["image"] == hashlib.sha256((scenes / "images" / line["filename"]).read_bytes()).hexdigest()
        assert tuple(line["labels"]) == labels_of[line["filename"]]
    assert {line["shape"] for split in _SPLITS for line in lines[f"{split} decoded"]} == {None}


def test_tfds_reads_parts_of_a_split(read: Read, expected: Lines) -> None:
    lines = read("tfds")
    first, second = lines["train[:50%]"], lines["train[50%:]"]
    assert [*first, *second] == expected["train"]
    assert abs(len(first) - len(second)) <= 1


def test_tfds_makes_a_data_frame_and_pairs(read: Read, expected: Lines) -> None:
    lines = read("tfds")
    for split in _SPLITS:
        assert lines[f"{split} as_dataframe"] == expected[split]
    (supervised,) = lines["supervised"]
    assert sorted(supervised["labels"]) == sorted(one["labels"] for one in expected["train"])


def test_the_index_gives_each_worker_of_tfrecord_its_part(read: Read, expected: Lines) -> None:
    lines = read("tfrecord")
    assert {split: lines[f"{split} by three workers"] for split in _SPLITS} == expected


def test_dali_decodes_every_image_to_its_size(read: Read, stored: Mapping[str, list[example.Example]]) -> None:
    lines = read("dali")
    for split in _SPLITS:
        sizes = [[one.height, one.width] for one in stored[split]]
        assert [line["size"] for line in lines[split]] == sizes
        assert [line["shape"] for line in lines[split]] == [[*size, 3] for size in sizes]


@pytest.mark.parametrize("reader", ["tf_data", "tfx", "tfds", "grain", "beam", "dali", "tfrecord"])
def test_unknown_labels_are_a_vector_of_their_own(
    run: Callable[..., Lines], reader: str, partly_known: Path, expected: Lines
) -> None:
    """Readers that do not parse it give the same examples as before, with 0 where the label is unknown."""
    lines = run(reader, partly_known)
    for split in _SPLITS:
        found = {line["filename"]: line for line in lines[split]}
        assert len(found) == len(expected[split])
        for one in expected[split]:
            is_unknown = one["filename"].endswith(".png")
            line = found[one["filename"]]
            assert line["labels"] == [0 if is_unknown else one["labels"][0], *one["labels"][1:]]
            if reader in ("tfx", "tfds"):
                assert line["known"] == [int(not is_unknown), 1, 1, 1, 1]
    if reader == "tfx":
        for line in lines["statistics"]:
            names = [one["filename"] for one in expected[line["split"]]]
            share = sum(name.endswith(".png") for name in names) / len(names) / len(_CLASSES)
            assert line["mean_known"] == pytest.approx(1 - share)


def test_the_schema_gives_the_parsing_spec(read: Read) -> None:
    (spec,) = read("tfx")["spec"]
    ours = {key: [list(one.shape), one.dtype.name] for key, one in example.parse_spec(len(_CLASSES)).items()}
    assert spec["fixed"] == ours


def test_the_statistics_count_the_examples(read: Read, expected: Lines) -> None:
    for line in read("tfx")["statistics"]:
        labels = [label for one in expected[line["split"]] for label in one["labels"]]
        assert line["num_examples"] == len(expected[line["split"]])
        assert line["mean_label"] == pytest.approx(sum(labels) / len(labels))
