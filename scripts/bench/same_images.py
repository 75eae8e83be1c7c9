"""The same images for every reader: a dataset, and its examples once more in the forms that others read.

FOLDER/
    images/SPLIT/000000.jpg ...  labels.csv     for the tutorial; the CSV has a column Filenames, and the classes
    tars/train-0.tar ...                        for WebDataset and for the limit: NUMBER.jpg, NUMBER.json
    arrays/                                     ArrayRecord, which the reader that has the library makes

Names of files are numbers: those of the dataset may stand in folders.
"""

import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from multihot.errors import UserError
from schemas import example, metadata
from schemas.statistics import JPEG
from schemas.tfrecord import ShardReader

_ROOT = Path(__file__).resolve().parents[2]
_NUM_TARS = 8
# As many as the real data set has.
_NUM_MADE = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SameImages:
    """A dataset and its images in other forms.

    Attributes:
        dataset: its folder.
        folder: of the other forms.
        num_images: in the split `train`.
        positives: how many of these have each class.
        splits: names of all splits.
    """

    dataset: str
    folder: str
    num_images: int
    positives: tuple[int, ...]
    splits: tuple[str, ...]


def convert(csv_path: str, images: str, folder: Path, splits: str, *flags: str) -> str:
    """Converts a data set, and returns the folder of the dataset.

    Args:
        csv_path: of the table.
        images: folder of the images.
        folder: of the datasets.
        splits: their names and shares, as in train=0.8,validation=0.2.
        flags: further ones of the converter.

    Raises:
        UserError: the converter has failed; it has said why.
    """
    given = {"csv": csv_path, "images": images, "output": str(folder), "name": "bench", "splits": splits}
    command = [sys.executable, "-m", "converter", *(f"--{name}={value}" for name, value in given.items()), *flags]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise UserError(f"{done.stdout}\nThe images could not be converted.")
    return str(folder / "bench" / "1.0.0")


def default(folder: Path) -> tuple[str, str]:
    """Returns the CSV and the images of the real data set, or of drawn ones."""
    miml = os.environ.get("MIML_DATASET")
    if miml:
        return os.path.join(miml, "miml_labels_1.csv"), os.path.join(miml, "images")
    print("Drawing images, since MIML_DATASET names no folder ...", flush=True)
    return draw(folder / "drawn")


def draw(folder: Path, number: int = _NUM_MADE) -> tuple[str, str]:
    """Draws images; returns the paths of their CSV and of their folder."""
    script = _ROOT / "scripts" / "make_example.py"
    subprocess.run([sys.executable, script, f"--output={folder}", f"--num_images={number}"], check=True)
    return str(folder / "labels.csv"), str(folder / "images")


def environment() -> dict[str, str]:
    """Returns the environment of processes that import the packages of the checkout."""
    return {**os.environ, "PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}


def unpack(dataset: str, folder: Path) -> SameImages:
    """Writes the examples of a dataset in the other forms.

    Raises:
        UserError: it has images that are no JPEG, which not all readers decode.
    """
    info = metadata.load(dataset)
    formats = {name for split in info.splits for name in split.statistics.formats}
    if formats != {JPEG}:
        raise UserError(f"{dataset} has images that are not JPEG, which not all decode: {', '.join(sorted(formats))}")
    rows: list[list[object]] = [["Filenames", *info.classes]]
    for split in info.splits:
        kept = folder / "images" / split.name
        kept.mkdir(parents=True)
        for shard in split.shards:
            with open(Path(dataset, shard.path), "rb") as file:
                for _, record in ShardReader(file):
                    one = example.decode(record, len(info.classes))
                    name = f"{len(rows) - 1:06d}.jpg"
                    (kept / name).write_bytes(one.image)
                    rows.append([name, *one.labels])
    with open(folder / "labels.csv", "w", newline="") as table:
        csv.writer(table).writerows(rows)
    train = info.split("train")
    _write_tars(folder, {str(row[0]): row[1:] for row in rows})
    names = tuple(split.name for split in info.splits)
    return SameImages(
        dataset=dataset,
        folder=str(folder),
        num_images=train.num_examples,
        positives=tuple(train.statistics.positives),
        splits=names,
    )


def _write_tars(folder: Path, labels: dict[str, list[object]]) -> None:
    """Writes the images of the split `train` to tars, as many to each."""
    paths = sorted((folder / "images" / "train").iterdir())
    (folder / "tars").mkdir()
    for i in range(_NUM_TARS):
        with tarfile.open(folder / "tars" / f"train-{i}.tar", "w") as tar:
            for path in paths[i::_NUM_TARS]:
                _add(tar, path.name, path.read_bytes())
                _add(tar, f"{path.stem}.json", json.dumps(labels[path.name]).encode())


def _add(tar: tarfile.TarFile, name: str, contents: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(contents)
    tar.addfile(member, io.BytesIO(contents))
