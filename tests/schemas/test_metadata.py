"""The manifest: what is written is read back, and what is not a whole dataset of ours is refused with a sentence."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multihot.errors import UserError
from schemas import metadata
from schemas.metadata import FORMAT_VERSION, DatasetInfo
from schemas.statistics import Statistics


def _edited(info: DatasetInfo, edit: Callable[[Any], object]) -> str:
    """Returns a manifest without its digest, as older versions wrote it: it is the edit that is looked at."""
    fields = json.loads(info.to_json())
    del fields["sha256"]
    edit(fields)
    return json.dumps(fields)


def _write(folder: Path, info: DatasetInfo) -> None:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(info.to_json(), encoding="utf-8")


def test_reads_what_it_wrote(info: DatasetInfo) -> None:
    assert DatasetInfo.from_json(info.to_json()) == info


def test_the_format_is_higher_for_unknown_labels_alone(info: DatasetInfo, partly_known: DatasetInfo) -> None:
    for one, version in ((info, 1), (partly_known, 2)):
        assert (one.has_unknown, one.format_version) == (version == 2, version)
        assert json.loads(one.to_json())["format_version"] == version
        assert DatasetInfo.from_json(one.to_json()) == one
    assert (partly_known.statistics.positives, partly_known.statistics.unknown) == ((2, 1), (1, 2))


def test_what_few_datasets_have_changes_no_byte_of_other_manifests(info: DatasetInfo) -> None:
    digest = hashlib.sha256(info.to_json().encode()).hexdigest()
    assert digest == "f66c9ea9fa027b22ac12dd9387e7966e88416c554964240e8405c760ea0c7369"


def test_reads_a_manifest_from_before_images_were_resized(info: DatasetInfo) -> None:
    changed = dataclasses.replace(info, resize_shorter=256, jpeg_quality=95)
    assert DatasetInfo.from_json(changed.to_json()) == changed
    text = _edited(info, lambda fields: (fields.pop("resize_shorter"), fields.pop("jpeg_quality")))
    assert DatasetInfo.from_json(text) == info


def test_the_same_dataset_gives_the_same_text(info: DatasetInfo) -> None:
    again = DatasetInfo.from_json(info.to_json())
    assert again.to_json() == info.to_json()
    assert "바다" in info.to_json()


def test_counts_over_all_splits(info: DatasetInfo) -> None:
    assert (info.num_examples, info.split("train").num_examples, info.split("test").num_examples) == (4, 3, 1)
    assert info.statistics.positives == (3, 2)
    assert info.statistics.image_bytes.total == 2000


def test_statistics_of_a_dataset_without_splits_are_zero() -> None:
    nothing = DatasetInfo(name="tiny", version="1.0.0", classes=("a", "b"), splits=())
    assert nothing.statistics == Statistics(positives=(0, 0))


def test_the_fingerprint_never_changes(info: DatasetInfo) -> None:
    assert info.fingerprint == "1346af5d64fae598283558ffb33461a743ce86559d2ad8c73fc54c1768eddc0c"


def test_fingerprint_says_what_training_sees(info: DatasetInfo) -> None:
    train, test = info.splits
    swapped = dataclasses.replace(train, shards=train.shards[::-1])
    others = [
        dataclasses.replace(info, classes=("바다", "desert")),
        dataclasses.replace(info, splits=(test, train)),
        dataclasses.replace(info, splits=(swapped, test)),
        dataclasses.replace(info, splits=(train,)),
    ]
    assert len({info.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert dataclasses.replace(info, name="other", version="9.9.9", rejects={}).fingerprint == info.fingerprint


def test_a_newer_format_is_refused(info: DatasetInfo) -> None:
    text = _edited(info, lambda fields: fields.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(UserError, match=rf"format version {FORMAT_VERSION + 1}.*reads up to {FORMAT_VERSION}.*newer"):
        DatasetInfo.from_json(text)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda fields: fields["classes"].reverse(), id="classes in another order"),
        pytest.param(lambda fields: fields["splits"].pop(), id="a split less"),
        pytest.param(lambda fields: fields["splits"][0]["shards"].pop(), id="a shard less"),
        pytest.param(lambda fields: fields["splits"][0].update(name="other"), id="a split renamed"),
        pytest.param(lambda fields: fields["splits"][1]["shards"][0].update(sha256="d" * 64), id="another shard"),
    ],
)
def test_an_edited_manifest_is_refused(info: DatasetInfo, edit: Callable[[Any], object]) -> None:
    with pytest.raises(UserError, match="edited"):
        DatasetInfo.from_json(_edited(info, edit))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('"bad_label": 1', '"bad_label": 3', id="rejects"),
        pytest.param('"unlisted": 7', '"unlisted": 6', id="files without a row"),
        pytest.param('"oriented": 0', '"oriented": 1', id="oriented images, which no record tells"),
        pytest.param('"leaks"', '"leeks"', id="the name of a field that may be missing"),
        pytest.param('"jpeg_quality": 0', '"jpeg_quality": 8', id="quality"),
    ],
)
def test_a_flipped_bit_that_the_fingerprint_does_not_cover_is_found(info: DatasetInfo, old: str, new: str) -> None:
    text = info.to_json()
    assert old in text
    with pytest.raises(UserError, match="edited or damaged: its sha256"):
        DatasetInfo.from_json(text.replace(old, new, 1))


def test_the_layout_of_a_manifest_does_not_count(info: DatasetInfo) -> None:
    assert DatasetInfo.from_json(json.dumps(json.loads(info.to_json()))) == info


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param("[]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="no fields"),
        pytest.param('{"format_version": "1"}', id="a text for a number"),
    ],
)
def test_a_damaged_manifest_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"damaged.*Convert again"):
        DatasetInfo.from_json(text)


def test_a_cut_manifest_is_refused_wherever_it_is_cut(info: DatasetInfo) -> None:
    text = info.to_json().rstrip()
    for length in range(0, len(text), 37):
        with pytest.raises(UserError, match="damaged"):
            DatasetInfo.from_json(text[:length])


def test_a_field_that_a_newer_version_has_added_is_passed_over(info: DatasetInfo) -> None:
    text = _edited(info, lambda fields: (fields.update(new=1), fields["splits"][0]["shards"][0].update(new=1)))
    assert DatasetInfo.from_json(text) == info


def test_a_shard_without_a_field_is_refused(info: DatasetInfo) -> None:
    text = _edited(info, lambda fields: fields["splits"][0]["shards"][0].pop("num_bytes"))
    with pytest.raises(UserError, match=r"damaged.*num_bytes"):
        DatasetInfo.from_json(text)


def test_a_split_that_is_not_there_lists_those_that_are(info: DatasetInfo) -> None:
    with pytest.raises(UserError, match=r"tiny 1\.2\.3 has no split 'dev'\. It has: train, test\."):
        info.split("dev")


def test_loads_a_dataset(info: DatasetInfo, tmp_path: Path) -> None:
    _write(tmp_path / "1.2.3", info)
    assert metadata.load(str(tmp_path / "1.2.3")) == metadata.load(f"{tmp_path}/1.2.3/") == info


def test_a_damaged_file_is_named(info: DatasetInfo, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=rf"^{tmp_path}/manifest.json: The manifest is damaged"):
        metadata.load(str(tmp_path))


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=rf"^Cannot read {tmp_path}/manifest.json"):
        metadata.load(str(tmp_path))


@pytest.mark.parametrize("make", [True, False], ids=["empty folder", "no folder"])
def test_a_folder_that_is_no_dataset_says_how_to_make_one(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "1.0.0"
    if make:
        folder.mkdir()
    with pytest.raises(UserError) as caught:
        metadata.load(str(folder))
    assert str(caught.value) == (
        f"{folder} is not a dataset: it has no manifest.json. Make one with `python -m converter`."
    )


def test_a_conversion_that_has_not_finished_is_told_apart(info: DatasetInfo, tmp_path: Path) -> None:
    _write(tmp_path / "1.0.0.incomplete", info)
    with pytest.raises(UserError, match=r"1\.0\.0 is not a dataset yet: its conversion has not finished"):
        metadata.load(f"{tmp_path}/1.0.0")


def test_a_parent_folder_names_the_datasets_below_it(info: DatasetInfo, tmp_path: Path) -> None:
    for name in ("b/1.0.0", "a/2.0.0", "a/1.0.0", "a/3.0.0.incomplete"):
        _write(tmp_path / name, info)
    with pytest.raises(UserError) as caught:
        metadata.load(str(tmp_path))
    found = ", ".join(f"{tmp_path}/{name}" for name in ("a/1.0.0", "a/2.0.0", "b/1.0.0"))
    assert str(caught.value) == f"{tmp_path} is not a dataset, but these are: {found}."
    with pytest.raises(UserError, match=rf"but these are: {tmp_path}/b/1\.0\.0\.$"):
        metadata.load(f"{tmp_path}/b")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda fields: fields.pop("fingerprint"), "was edited"),
        (lambda fields: fields.update(version=1), "version must be str. Received: '1'"),
        (lambda fields: fields.update(classes=["desert", None]), r"classes\[1\] must be str. Received: 'None'"),
        (lambda fields: fields.update(rejects=[]), "rejects must be Mapping"),
        (lambda fields: fields.update(rejects={"a": 1.5}), r"rejects\['a'\] must be int. Received: '1.5'"),
        (
            lambda fields: fields["splits"][0]["shards"][1].update(num_examples="2"),
            r"splits\[0\]\.shards\[1\]\.num_examples must be int. Received: '2'",
        ),
        (
            lambda fields: fields["splits"][1]["statistics"]["height"].update(total=True),
            r"splits\[1\]\.statistics\.height\.total must be int. Received: 'True'",
        ),
        (lambda fields: fields["splits"][0]["statistics"].update(formats=["ab", "c"]), "formats must be Mapping"),
    ],
)
def test_a_field_of_another_type_is_refused(info: DatasetInfo, edit: Callable[[Any], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DatasetInfo.from_json(_edited(info, edit))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format_version": ' + "1" * 5000 + "}"], ids=["deep", "long number"])
def test_json_that_python_does_not_read_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="damaged"):
        DatasetInfo.from_json(text)
