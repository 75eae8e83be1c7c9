"""A conversion by features lists turned copies, keeps them in one split if asked for, and counts unused rows."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import ndimage

from converter.dataset.summary import summary
from converter.duplicates.embedded import Found, digests
from converter.job import embedded, pipeline
from converter.options import ConvertOptions
from converter.verify import dataset_checks
from multihot.errors import UserError
from schemas import embeddings, metadata
from schemas.embeddings import Columns
from schemas.metadata import DatasetInfo

_NUMBER = 24


class Work:
    """Images of which the first eight have turned copies, a table of them, and a file of their features."""

    def __init__(self, folder: Path) -> None:
        """Writes images and table."""
        self.folder, self.file = folder, folder / "embeddings.parquet"
        (folder / "images" / "turned").mkdir(parents=True)
        rng = np.random.default_rng(0)
        noise = ndimage.gaussian_filter(rng.standard_normal((_NUMBER, 64, 64)), (0, 2, 2))
        self.pictures: dict[str, Image.Image] = {}
        for i, one in enumerate(np.uint8(128 + 400 * noise.clip(-0.3, 0.3))):
            self.pictures[f"{i:02}.jpg"] = Image.fromarray(one)
        for i in range(8):
            image = self.pictures[f"{i:02}.jpg"].transpose(Image.Transpose.ROTATE_90)
            self.pictures[f"turned/é {i:02}.jpg"] = image
        for name, image in self.pictures.items():
            image.save(folder / "images" / name, quality=92)
        lines = [["file", "place", "sea"], *([name, f"p{name[-6:-4]}", 1] for name in self.pictures)]
        with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
        # Features are those of the number of an image.
        values = rng.random((_NUMBER, 50)).astype(np.float32) ** 4
        self.features = {name: values[int(name[-6:-4])] + np.float32(0.01) for name in self.pictures}

    def write(self, names: Sequence[str]) -> None:
        """Writes rows of these images."""
        small = [self.pictures[name].resize((embeddings.SIDE,) * 2, Image.Resampling.BOX) for name in names]
        columns = Columns(
            list(names),
            ["train"] * len(names),
            np.stack([self.features[name] for name in names]),
            np.stack([np.asarray(one) for one in small]),
        )
        pq.write_table(embeddings.table(columns, embeddings.schema(50, {})), self.file)

    def options(self, **given: Any) -> ConvertOptions:
        paths = {"csv": f"{self.folder}/labels.csv", "images": f"{self.folder}/images", "output": f"{self.folder}/out"}
        asked = {"ignore_columns": ("place",), "overwrite": True, "duplicates_by": str(self.file)}
        return ConvertOptions(**{**paths, **asked, **given})

    def convert(self, **given: Any) -> DatasetInfo:
        info = pipeline.convert(self.options(**given))
        assert info is not None
        return info

    def listed(self) -> dict[str, tuple[str, str]]:
        """Returns group and split of each image in duplicates.csv."""
        path = Path(self.options().dataset, "duplicates.csv")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert rows == sorted(rows, key=lambda row: (row["group"], row["filename"]))
        assert {row["kind"] for row in rows} <= {"near"}
        return {row["filename"]: (row["group"], row["split"]) for row in rows}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The images, whose file of features each test writes."""
    return Work(tmp_path_factory.mktemp("work"))


def _groups(work: Work) -> dict[str, str]:
    return {name: f"{name[-6:-4]}.jpg" for name in work.pictures if int(name[-6:-4]) < 8}


def test_turned_copies_are_listed_and_counted(work: Work) -> None:
    work.write(list(work.pictures))
    info = work.convert()
    listed = work.listed()
    assert {name: group for name, (group, _) in listed.items()} == _groups(work)
    leaking = [name for name in work.pictures if name in listed and listed[name][1] != listed[_groups(work)[name]][1]]
    assert info.leaks["num_groups"] == len(leaking) > 0
    assert (info.featured, info.unused_features) == (32, 0)
    assert "Images compared by features too: 32 of 32 (--duplicates_by)" in _summary(work, info)
    assert json.loads(Path(work.options().dataset, "conversion.json").read_text())["duplicates_by"] == str(work.file)
    assert list(dataset_checks.verify(work.options().dataset, info)) == []
    # Without the file, nothing of this is in the manifest.
    assert work.convert(duplicates_by="").fingerprint == info.fingerprint
    assert work.listed() == {}
    assert "featured" not in Path(work.options().dataset, "manifest.json").read_text()


@pytest.mark.parametrize("grouped", [{}, {"group_column": "place", "ignore_columns": ()}], ids=["alone", "and places"])
def test_turned_copies_are_kept_in_one_split(work: Work, grouped: dict[str, Any]) -> None:
    work.write(list(work.pictures)[::-1])
    info = work.convert(group_near_duplicates=True, **grouped)
    listed = work.listed()
    assert {name: group for name, (group, _) in listed.items()} == _groups(work)
    assert all(split == listed[group][1] for group, split in listed.values())
    assert not info.leaks.get("num_groups")


def test_rows_and_images_that_lack_each_other_are_counted(work: Work) -> None:
    work.write([name for name in work.pictures if not name.startswith(("00", "turned/é 01"))])
    some = work.folder / "some.csv"
    lines = (work.folder / "labels.csv").read_text(encoding="utf-8").splitlines()
    some.write_text("\n".join(line for line in lines if "02.jpg" not in line), encoding="utf-8")
    info = work.convert(csv=str(some))
    assert info.num_examples == 30
    # Without rows: 00.jpg and a turned image. Without images: 02.jpg, and as it is turned.
    assert (info.featured, info.unused_features) == (28, 2)
    assert "28 of 30 (--duplicates_by; rows of the file that name no image: 2)" in _summary(work, info)
    assert sorted(work.listed()) == sorted(name for name in _groups(work) if int(name[-6:-4]) > 2)


def test_a_group_has_the_name_of_an_image_that_is_there(work: Work, tmp_path: Path) -> None:
    # Three copies, of which the first has become no image.
    broken = Work(tmp_path)
    broken.pictures["turned/é 00 00.jpg"] = broken.pictures["00.jpg"].transpose(Image.Transpose.ROTATE_180)
    broken.pictures["turned/é 00 00.jpg"].save(tmp_path / "images" / "turned" / "é 00 00.jpg", quality=92)
    broken.features["turned/é 00 00.jpg"] = broken.features["00.jpg"]
    with (tmp_path / "labels.csv").open("a", encoding="utf-8") as file:
        file.write("turned/é 00 00.jpg,p00,1\n")
    broken.write(list(broken.pictures))
    (tmp_path / "images" / "00.jpg").write_bytes(b"no image")
    broken.convert(max_rejects=1)
    listed = {name: group for name, (group, _) in broken.listed().items() if "00.jpg" in name}
    assert listed == dict.fromkeys(("turned/é 00.jpg", "turned/é 00 00.jpg"), "turned/é 00 00.jpg")


def test_a_file_of_other_names_publishes_nothing(work: Work, tmp_path: Path) -> None:
    work.write(["00.jpg", "01.jpg"])
    columns = next(embeddings.read(str(work.file)))
    others = columns._replace(filenames=["images/00.jpg", "images/01.jpg"])
    pq.write_table(embeddings.table(others, embeddings.schema(50, {})), work.file)
    with pytest.raises(UserError, match=r"none of the 2 rows of .*embeddings\.parquet is of an image of the table"):
        work.convert(output=str(tmp_path))
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path.unlink(missing_ok=True), "embeddings.parquet"),
        (lambda path: path.write_text("file,x\n"), "embeddings.parquet cannot be read as Parquet"),
    ],
    ids=["no file", "no Parquet"],
)
def test_a_file_that_cannot_be_used_is_named_before_any_work(
    work: Work, tmp_path: Path, make: Callable[[Path], Any], expected: str
) -> None:
    make(work.file)
    with pytest.raises((UserError, OSError)) as caught:
        work.convert(output=str(tmp_path / "out"))
    assert expected in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_more_rows_than_a_job_takes_are_refused() -> None:
    names = [f"{i}.jpg" for i in range(2_000_000)]
    found = Found({}, np.sort(np.arange(2_000_000, dtype=np.uint32)))
    with pytest.raises(UserError, match=r"has 2,000,000 rows\. A job on other machines takes about 1,"):
        embedded.check_size("e.parquet", found)
    embedded.check_size("e.parquet", Found(dict(zip(names[:1000], names[:1000], strict=True)), digests(names[:1000])))


def _summary(work: Work, info: DatasetInfo) -> str:
    dataset = work.options().dataset
    assert metadata.load(dataset) == info
    return summary(info, dataset, splits=(), split_method="hash", num_reused=0, report_failure="")
