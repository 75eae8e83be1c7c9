"""A manifest that anyone may have written: no reader of a dataset opens a file outside of the dataset's folder."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converter import diff
from converter.inspect import selection
from converter.inspect.selection import InspectOptions
from converter.job import pipeline
from converter.options import ConvertOptions
from converter.report import page
from converter.report.page import ReportOptions
from converter.verify import dataset_checks
from converter.verify.dataset_checks import VerifyOptions
from multihot.errors import UserError
from schemas import layout, metadata
from trainer import sources
from trainer.config import TrainConfig

SHARD = "train/train-00000-of-00003.tfrecord"

# Each reads a dataset, as a user does.
READERS = {
    "trainer": lambda folder, scenes, out: sources.load(TrainConfig(data=(folder,), output=out)),
    "verify": lambda folder, scenes, out: dataset_checks.main(VerifyOptions(directory=folder)),
    "inspect": lambda folder, scenes, out: selection.main(InspectOptions(directory=folder, output=out, examples=9)),
    "inspect by name": lambda folder, scenes, out: selection.main(InspectOptions(directory=folder, filename="0.jpg")),
    "report": lambda folder, scenes, out: page.main(ReportOptions(directory=folder, output=f"{out}/report.html")),
    "diff": lambda folder, scenes, out: diff.diff(folder, folder),
    "--schema": lambda folder, scenes, out: pipeline.convert(
        ConvertOptions(csv=f"{scenes}/labels.csv", images=f"{scenes}/images", output=out, schema=folder)
    ),
}


def write_manifest(folder: Path, edit: Callable[[Any], object]) -> None:
    """Edits the manifest of a dataset, and gives it the digests that fit."""
    fields = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del fields["sha256"]
    edit(fields)
    contents = [fields["classes"], [[one["name"], [s["sha256"] for s in one["shards"]]] for one in fields["splits"]]]
    fields["fingerprint"] = hashlib.sha256(json.dumps(contents).encode()).hexdigest()
    fields["sha256"] = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(fields), encoding="utf-8")


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """Returns a copy of a dataset, to be edited, with a whole shard beside it that is not its own."""
    folder = Path(shutil.copytree(dataset, tmp_path / "data/scenes/1.0.0"))
    shutil.copy(folder / SHARD, tmp_path / "data/secret")
    return folder


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_a_path_that_leads_out(copy: Path, scenes: Path, tmp_path: Path, reader: str) -> None:
    out = f"{tmp_path}/out"
    write_manifest(copy, lambda fields: fields["splits"][0]["shards"][0].update(path="../../../secret"))
    with pytest.raises(UserError) as raised:
        READERS[reader](str(copy), str(scenes), out)
    assert str(raised.value) == (
        f"{copy}/manifest.json: The manifest is damaged: the path of a shard must be {SHARD!r}. "
        "Received: '../../../secret'. Convert again."
    )
    assert not Path(out).exists()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../secret",
        "train/../../secret",
        "train//train-00000-of-00003.tfrecord",
        "./train/train-00000-of-00003.tfrecord",
        "gs://bucket/train-00000-of-00003.tfrecord",
        "file:///etc/passwd",
        "train\\train-00000-of-00003.tfrecord",
        "C:\\secret",
        "train/train-00000-of-00003.tfrecord\n",
        "train/train-00000-of-00003.tfrecord\0",
        "\x1b[31mtrain/train-00000-of-00003.tfrecord",
        "train/train-00001-of-00003.tfrecord",
        "train/train-00000-of-00004.tfrecord",
        "train/train-*-of-00003.tfrecord",
        "train/train-0000\N{FULLWIDTH DIGIT ZERO}-of-00003.tfrecord",
        "validation/validation-00000-of-00003.tfrecord",
        "",
    ],
)
def test_a_shard_has_the_path_that_a_conversion_gives_it_and_no_other(copy: Path, path: str) -> None:
    assert metadata.load(str(copy))
    write_manifest(copy, lambda fields: fields["splits"][0]["shards"][0].update(path=path))
    with pytest.raises(UserError, match="the path of a shard must be"):
        metadata.load(str(copy))


@pytest.mark.parametrize(
    "name", ["..", "../x", "/etc", "a/b", "a\\b", "gs://b", "index", "made_from", "", "a\n", "été", "a b", "train*"]
)
def test_a_split_has_a_name_that_is_one_folder(copy: Path, name: str) -> None:
    def rename(fields: Any) -> None:
        fields["splits"][0]["name"] = name
        for i, shard in enumerate(fields["splits"][0]["shards"]):
            shard["path"] = layout.shard(name, i, 3)

    write_manifest(copy, rename)
    with pytest.raises(UserError, match="no split can have the name"):
        metadata.load(str(copy))


@pytest.mark.parametrize("reader", ["inspect", "inspect by name", "report", "diff", "verify"])
def test_a_shard_that_is_a_pipe_is_not_read(copy: Path, scenes: Path, tmp_path: Path, reader: str) -> None:
    for shard in copy.glob("*/*.tfrecord"):
        shard.unlink()
        os.mkfifo(shard)
    if reader == "verify":
        found = [str(problem) for problem in dataset_checks.verify(str(copy), metadata.load(str(copy)))]
        assert f"{SHARD}: is missing" in found
    elif reader == "diff":
        with pytest.raises(UserError, match="is missing or cut"):
            READERS[reader](str(copy), str(scenes), f"{tmp_path}/out")
    else:
        with pytest.raises(OSError, match="is no file"):
            READERS[reader](str(copy), str(scenes), f"{tmp_path}/out")


def test_a_shard_may_lie_on_another_disk(copy: Path, tmp_path: Path) -> None:
    (copy / SHARD).rename(tmp_path / "elsewhere")
    (copy / SHARD).symlink_to(tmp_path / "elsewhere")
    info = metadata.load(str(copy))
    assert list(dataset_checks.verify(str(copy), info)) == []
    assert len(list(selection.select(str(copy), info))) == info.num_examples


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda fields: fields["classes"].__setitem__(1, fields["classes"][0]), "classes has the name 'desert' twice"),
        (lambda fields: fields["splits"][1].update(name="train"), "splits has the name 'train' twice"),
    ],
)
def test_a_name_that_stands_twice_is_refused(copy: Path, edit: Callable[[Any], object], sentence: str) -> None:
    write_manifest(copy, edit)
    with pytest.raises(UserError, match=sentence):
        metadata.load(str(copy))
