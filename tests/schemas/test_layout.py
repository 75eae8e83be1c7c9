"""File names are part of the contract: each of them is spelled out here."""

import pytest

from schemas import layout


def test_names_of_shards_and_indexes() -> None:
    assert layout.shard("train", 0, 8) == "train/train-00000-of-00008.tfrecord"
    assert layout.shard("validation", 123456, 200000) == "validation/validation-123456-of-200000.tfrecord"
    assert layout.shard_index("train/train-00003-of-00008.tfrecord") == "index/train/train-00003-of-00008.tfindex"


def test_names_of_the_other_files() -> None:
    assert (
        layout.MANIFEST,
        layout.REJECTS,
        layout.UNLISTED,
        layout.DUPLICATES,
        layout.REPORT,
        layout.CONVERSION,
        layout.TFDS_INFO,
        layout.TFDS_FEATURES,
        layout.TFDS_METADATA,
        layout.TFX_SCHEMA,
        layout.TFX_STATISTICS,
    ) == (
        "manifest.json",
        "rejects.csv",
        "unlisted.csv",
        "duplicates.csv",
        "report.html",
        "conversion.json",
        "dataset_info.json",
        "features.json",
        "metadata.json",
        "schema.pbtxt",
        "statistics.pb",
    )


@pytest.mark.parametrize("root", ["data", "/data", "gs://bucket/data"])
def test_folders_of_a_dataset(root: str) -> None:
    dataset = layout.dataset_dir(root, "miml", "1.0.0")
    assert dataset == f"{root}/miml/1.0.0"
    assert layout.incomplete_dir(dataset) == f"{root}/miml/1.0.0.incomplete"
    assert layout.replaced_dir(dataset) == f"{root}/miml/1.0.0.replaced"


def test_no_reader_takes_a_folder_in_the_making_for_a_version() -> None:
    for folder in (layout.incomplete_dir("1.0.0"), layout.replaced_dir("1.0.0")):
        assert not layout.is_version(folder)


@pytest.mark.parametrize("text", ["a", "miml", "MIML_2", "a" * 200])
def test_good_names(text: str) -> None:
    assert layout.is_name(text)
    assert layout.is_split(text)


@pytest.mark.parametrize("text", ["", "2d", "_a", "a-b", "a b", "a/b", "..", "a\n", "é", "a.b", "바다"])
def test_bad_names(text: str) -> None:
    assert not layout.is_name(text)
    assert not layout.is_split(text)


def test_a_split_cannot_be_called_as_the_folder_of_indexes() -> None:
    assert layout.is_name("index")
    assert not layout.is_split("index")


@pytest.mark.parametrize("text", ["0.0.0", "1.0.0", "10.20.30"])
def test_good_versions(text: str) -> None:
    assert layout.is_version(text)


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.0-rc", "v1.0.0", "1.0.0\n", "1.0.٣", "-1.0.0"]
)
def test_bad_versions(text: str) -> None:
    assert not layout.is_version(text)


def test_all_files_of_a_dataset() -> None:
    assert layout.files(["a/a-00000-of-00001.tfrecord"]) == {
        "a/a-00000-of-00001.tfrecord",
        "index/a/a-00000-of-00001.tfindex",
        "dataset_info.json",
        "features.json",
        "metadata.json",
        "schema.pbtxt",
        "statistics.pb",
        "rejects.csv",
        "unlisted.csv",
        "duplicates.csv",
        "report.html",
        "conversion.json",
        "manifest.json",
    }


@pytest.mark.parametrize("path", ["made_from/x", "made_from/train/x.json"])
def test_files_that_a_dataset_can_have(path: str) -> None:
    assert layout.may_have(path)


@pytest.mark.parametrize("path", ["", "x", "train/x", "train/unlisted.csv", "made_from", "unlisted.csv/x"])
def test_files_that_no_dataset_has(path: str) -> None:
    assert not layout.may_have(path)


@pytest.mark.parametrize(
    ("path", "is_shard"),
    [
        ("train/train-00000-of-00008.tfrecord", True),
        ("a_1/a_1-123456-of-123457.tfrecord", True),
        ("train/test-00000-of-00008.tfrecord", False),
        ("../train/train-00000-of-00008.tfrecord", False),
        ("/train/train-00000-of-00008.tfrecord", False),
        ("index/index-00000-of-00008.tfrecord", False),
        ("train/train-00000-of-00008.tfrecord\n", False),
    ],
)
def test_the_path_of_a_shard_is_told_from_others(path: str, is_shard: bool) -> None:
    assert layout.is_shard(path) == is_shard
