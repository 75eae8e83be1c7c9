"""Whatever the bytes of images, tables and half a dataset: one that can be trained from, or one clear sentence."""

import io
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from converter.job import pipeline
from converter.options import ConvertOptions
from converter.rejects import Reject
from converter.table import rows, tables
from converter.verify import dataset_checks
from multihot.errors import UserError
from schemas import layout
from schemas.metadata import DatasetInfo
from trainer.config import TrainConfig
from trainer.input import pipeline as input_pipeline
from trainer.sources import combine

Damage = Callable[[bytes, bytes, random.Random], bytes]
Draw = Callable[..., bytes]

pytestmark = pytest.mark.slow

_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06" + bytes(6)
_JPEGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *(("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")),
    ("JPEG", "RGB", {"progressive": True, "restart_marker_blocks": 2}),
    ("JPEG", "RGB", {"exif": _EXIF}),
)
_PICTURES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *_JPEGS,
    *(("PNG", mode, {}) for mode in ("RGB", "L", "P", "RGBA", "I;16", "1")),
    ("GIF", "P", {}),
    *(("BMP", mode, {}) for mode in ("RGB", "L", "RGBA")),
    *(("WEBP", mode, {"lossless": lossless}) for mode in ("RGB", "RGBA") for lossless in (False, True)),
)
_IMAGES_A_ROUND = 600


def _num_read_by_training(folder: Path, info: DatasetInfo) -> int:
    """Reads every example of a dataset by the input pipeline of training; returns how many there were."""
    config = TrainConfig(data=(str(folder),), output="unused", image_size=16, batch_size=16)
    sources = combine([(str(folder), info)])
    batches = (
        batch for split in info.splits for batch in input_pipeline.evaluation_dataset(config, sources, split.name)
    )
    return sum(int(images.shape[0]) for images, _ in batches)


def _check_dataset(folder: Path, info: DatasetInfo, num_rows: int) -> None:
    assert info.num_examples + sum(info.rejects.values()) == num_rows, folder
    assert [str(problem) for problem in dataset_checks.verify(str(folder), info)] == [], folder
    assert _num_read_by_training(folder, info) == info.num_examples, folder


def test_images(tmp_path: Path, draw: Draw, damaged_image: Damage, rounds: Any) -> None:
    for rng in rounds.least(1):
        kinds = rng.choice((_JPEGS, _PICTURES))
        good = [draw(i, mode=mode, file_format=kind, **save) for i, (kind, mode, save) in enumerate(kinds)]
        shutil.rmtree(tmp_path / "images", ignore_errors=True)
        (tmp_path / "images").mkdir()
        names = [f"good{i}" for i in range(len(good))] + [f"bad{i}" for i in range(_IMAGES_A_ROUND)]
        for name in names:
            data = good[int(name[4:])] if name.startswith("good") else damaged_image(*rng.choices(good, k=2), rng)
            (tmp_path / "images" / name).write_bytes(data)
        (tmp_path / "labels.csv").write_text("\n".join(["file,a,b", *(f"{name},0,1" for name in names)]))
        info = pipeline.convert(
            ConvertOptions(
                csv=f"{tmp_path}/labels.csv",
                images=f"{tmp_path}/images",
                output=f"{tmp_path}/out",
                max_pixels=rng.choice((4_000_000, 16_000_000)),
                resize_shorter=rng.choice((0, 0, 20)),
                max_rejects=len(names),
                overwrite=True,
            )
        )
        assert info
        _check_dataset(tmp_path / "out/dataset/1.0.0", info, len(names))
        assert info.num_examples >= len(good)
        rounds.counts.update(accepted=info.num_examples - len(good), **info.rejects)
    counts = rounds.counts
    assert counts.total() >= _IMAGES_A_ROUND
    assert min(counts["accepted"], counts["corrupt_image"]) > counts.total() / 10
    assert all(counts[reason] for reason in ("not_an_image", "unsupported_format"))


def _parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="none")
    return file.getvalue()


_TABLES = (
    b"file,sea,trees\n1.jpg,1,0\ndeep/2.jpg,0,1\n3.jpg,0,0\n",
    b'file;sea;trees\r\n"1;2.jpg";1;0\r\n"two\nlines.jpg";0.0;true\r\n',
    b'\xef\xbb\xbffile\tlabels\n1.jpg\t"sea,trees"\n2.jpg\t\n',
    "file,바다,나무\n1.jpg,1,0\n바다.jpg,0,1\n".encode(),
    "file,바다,나무\n1.jpg,1,0\n바다.jpg,0,1\n".encode("cp949"),
    "file,sea\n1.jpg,1\n2.jpg,0\n".encode("utf-16"),
    b"file,sea,part,who\n1.jpg,1,train,anna\n2.jpg,0,dev,\n",
    _parquet(file=["1.jpg", "2.jpg"], sea=[1, 0], trees=[True, None]),
    _parquet(file=["1.jpg", "바다.jpg"], labels=[["sea", "trees"], None]),
)


def _options(rng: random.Random, csv: Path, tmp_path: Path) -> ConvertOptions:
    return ConvertOptions(
        csv=str(csv),
        images=f"{tmp_path}/images",
        output=f"{tmp_path}/out",
        encoding=rng.choice(("utf-8", "utf-8", "utf-8", "cp949", "latin-1", "utf-16")),
        filename_column=rng.choice(("", "", "file")),
        **{rng.choice(("split_column", "group_column")): rng.choice(("", "", "", "part", "who"))},
        max_rejects=10_000,
        overwrite=True,
    )


def test_tables(tmp_path: Path, draw: Draw, damaged: Damage, rounds: Any) -> None:
    """Each is read, alone or beside another, and some of them are converted."""
    (tmp_path / "images/deep").mkdir(parents=True)
    for i, name in enumerate(("1.jpg", "2.jpg", "3.jpg", "deep/2.jpg", "바다.jpg", "1;2.jpg")):
        (tmp_path / "images" / name).write_bytes(draw(i))
    for rng in rounds.least(250):
        good, other = rng.choices(_TABLES, k=2)
        (tmp_path / "0.csv").write_bytes(damaged(good, other, rng))
        (tmp_path / "1.csv").write_bytes(good)
        options = _options(rng, tmp_path / rng.choice(("0.csv", "0.csv", "?.csv")), tmp_path)
        result = "refused"
        try:
            found = list(_read(options))
            result = "read, all good" if all(found) else "read, with rejects"
            if rng.random() < 1 / 60:
                info = pipeline.convert(options)
                assert info
                _check_dataset(tmp_path / "out/dataset/1.0.0", info, len(found))
                result = "converted"
        except UserError as error:
            assert str(tmp_path) in str(error), tmp_path
            # Of a table that can be read, the conversion may have more to tell: what is wrong with its rows.
            assert len(str(error).splitlines()) == 1 or result != "refused", tmp_path
        rounds.counts[result] += 1
    counts = rounds.counts
    assert counts.total() >= 100
    assert min(counts[result] for result in ("read, all good", "read, with rejects", "refused")) > counts.total() / 30


def _read(options: ConvertOptions) -> Iterator[bool]:
    """Yields for each row whether it is good, and checks that it is what the converter may go on with."""
    for one in tables.read_tables(options):
        last = 0
        for row in rows.read_rows(options, one):
            assert row.line > last, row
            last = row.line
            if isinstance(row, Reject):
                yield False
                continue
            assert len(row.labels) == len(one.classes), row
            assert set(row.labels) <= {0, 1}, row
            assert row.filename, row
            assert not row.filename.startswith(("/", "../")), row
            yield True


def _tree(folder: Path) -> dict[str, bytes]:
    """Returns the files of a dataset, without the one that names the time of the run."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != layout.CONVERSION)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_what_an_earlier_run_has_left(
    tmp_path: Path, dataset: Path, convert: Callable[..., DatasetInfo], damaged: Damage, rounds: Any
) -> None:
    """Files of a dataset, or of half a one, are damaged, lost or mixed up: the next run gives what a first one does."""
    fresh = _tree(dataset)
    published = tmp_path / "out/scenes/1.0.0"
    for rng in rounds.least(6):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        for folder in rng.choice(((".incomplete",), ("",), (".incomplete", ""))):
            for name, content in fresh.items():
                path = Path(f"{published}{folder}/{name}")
                path.parent.mkdir(parents=True, exist_ok=True)
                match rng.choice(("whole", "damaged", "lost", "another")):
                    case "whole":
                        path.write_bytes(content)
                    case "damaged":
                        path.write_bytes(damaged(content, rng.choice(list(fresh.values())), rng))
                    case "another":
                        path.write_bytes(rng.choice(list(fresh.values())))
        manifest = published / layout.MANIFEST
        # Another file of the dataset in its place may look like a manifest of another program.
        is_of_others = manifest.exists() and pipeline._is_of_others(manifest.read_bytes())
        ready = not published.exists() or (manifest.exists() and not is_of_others)
        try:
            convert(num_shards={"train": 3, "validation": 1}, overwrite=True)
        except UserError as error:
            assert not ready, tmp_path
            what = f"{manifest} is not a manifest" if is_of_others else f"{published} exists and is not a dataset"
            assert what in str(error)
            rounds.counts["refused, since it is no dataset"] += 1
            continue
        assert ready, tmp_path
        assert _tree(published) == fresh, tmp_path
        rounds.counts["the same as a first run"] += 1
    assert rounds.counts["the same as a first run"] >= 3
