"""Whatever the bytes of images, CSVs, shards and manifests: a dataset that can be trained from, or one clear sentence.

Each test goes through cases until its time is up, FUZZ_SECONDS (default 30), always in the same order; FUZZ_SEED gives
others. With the defaults they are thousands in all; `pytest -s` prints how many.
"""

import itertools
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from converter import pipeline, rows, table, verify
from converter.options import ConvertOptions
from converter.rejects import Reject
from schemas import metadata
from schemas.errors import UserError
from trainer import dataset as input_pipeline
from trainer.config import TrainConfig

Draw = Callable[..., bytes]

pytestmark = pytest.mark.slow

_SECONDS = float(os.environ.get("FUZZ_SECONDS", "30"))
_SEED = os.environ.get("FUZZ_SEED", "0")


def _rounds(name: str) -> Iterator[random.Random]:
    """Yields a source of randomness for each round, until the time is up: at least one."""
    end = time.monotonic() + _SECONDS
    for i in itertools.count():
        if i and time.monotonic() > end:
            print(f"\n{name}: {i} rounds")
            return
        yield random.Random(f"{name} {_SEED} {i}")


def _mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Damages some bytes, as disks, networks, editors and attackers do."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        size = len(damaged)
        # Mostly near the start: that is where headers are.
        at = rng.randrange(size + 1) if rng.random() < 0.5 else min(size, int(rng.expovariate(1 / 60)))
        end = min(size, at + int(rng.expovariate(1 / 20)) + 1)
        kind = rng.choice(("flip", "flip", "set", "cut", "delete", "repeat", "insert", "splice", "swap"))
        if kind == "flip" and at < size:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == "set" and at < size:
            damaged[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind == "cut":
            del damaged[at:]
        elif kind == "delete":
            del damaged[at:end]
        elif kind == "repeat":
            damaged[at:at] = bytes(damaged[at:end]) * rng.choice((1, 2, 100))
        elif kind == "insert":
            damaged[at:at] = rng.randbytes(end - at)
        elif kind == "splice":
            start = rng.randrange(len(other) + 1)
            damaged[at:] = other[start:]
        elif kind == "swap":
            start = rng.randrange(len(other) + 1)
            damaged[at:end] = other[start : start + end - at]
    return bytes(damaged)


def _read_as_training_does(folder: Path) -> int:
    """Reads every example of a dataset by the input pipeline of training; returns how many there were."""
    info = metadata.load(str(folder))
    config = TrainConfig(data=str(folder), output="unused", image_size=32, batch_size=7)
    count = 0
    for split in info.splits:
        batches = input_pipeline.evaluation_dataset(config, info, split.name, cache=None)
        count += sum(int(batch[0].shape[0]) for batch in batches)
    return count


def _pictures(draw: Draw) -> list[bytes]:
    kinds = [
        *(("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")),
        ("JPEG", "RGB", {"progressive": True}),
        (
            "JPEG",
            "RGB",
            {"exif": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06" + bytes(6)},
        ),
        *(("PNG", mode, {}) for mode in ("RGB", "L", "P", "RGBA", "I;16", "1")),
        ("PNG", "RGB", {"interlace": 1}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("BMP", "L", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
    ]
    return [draw(i, mode=mode, file_format=kind, **save) for i, (kind, mode, save) in enumerate(kinds)]


def test_images(tmp_path: Path, draw: Draw) -> None:
    good = _pictures(draw)
    for rng in _rounds("images, 300 a round"):
        shutil.rmtree(tmp_path / "images", ignore_errors=True)
        (tmp_path / "images").mkdir()
        for i in range(300):
            (tmp_path / f"images/{i}").write_bytes(_mutated(rng.choice(good), rng.choice(good), rng))
        for i, data in enumerate(good):
            (tmp_path / f"images/good{i}").write_bytes(data)
        names = [*(str(i) for i in range(300)), *(f"good{i}" for i in range(len(good)))]
        (tmp_path / "labels.csv").write_text("\n".join(["file,a,b", *(f"{name},0,1" for name in names)]))
        options = ConvertOptions(
            csv=f"{tmp_path}/labels.csv",
            images=f"{tmp_path}/images",
            output=f"{tmp_path}/out",
            max_rejects=300,
            overwrite=True,
        )
        info = pipeline.convert(options)
        assert info
        assert info.num_examples + sum(info.rejects.values()) == len(names)
        assert info.num_examples >= len(good)
        assert list(verify.verify(options.dataset, info)) == []
        assert _read_as_training_does(Path(options.dataset)) == info.num_examples


_CSVS = (
    b"file,sea,trees\n1.jpg,1,0\nb/2.jpg,0,1\n3.jpg,0,0\n",
    b'file;sea;trees\r\n"1;2.jpg";1;0\r\n"two\nlines.jpg";0.0;true\r\n',
    b'\xef\xbb\xbffile\tlabels\n1.jpg\t"sea,trees"\n2.jpg\t\n',
    "파일,바다,나무\n1.jpg,1,0\n바다.jpg,0,1\n".encode(),
    "파일,바다,나무\n1.jpg,1,0\n바다.jpg,0,1\n".encode("cp949"),
    "file,sea\n1.jpg,1\n2.jpg,0\n".encode("utf-16"),
    b"file,sea,part,who\n1.jpg,1,train,anna\n2.jpg,0,dev,\n",
)


def test_csvs(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    columns = ("", "part", "who", "file", "바다")
    for rng in _rounds("CSVs"):
        content = _mutated(rng.choice(_CSVS), rng.choice(_CSVS), rng)
        path.write_bytes(content)
        given = {
            "encoding": rng.choice(("utf-8", "utf-8", "cp949", "latin-1", "utf-16")),
            rng.choice(("split_column", "group_column")): rng.choice(columns[:3]),
            "filename_column": rng.choice(columns),
        }
        options = ConvertOptions(csv=str(path), images="images", output="out", **given)
        try:
            (one,) = table.read_tables(options)
            found = list(rows.read_rows(options, one))
        except UserError as error:
            assert str(path) in str(error), content
            assert len(str(error).splitlines()) == 1, content
            continue
        lines = [row.line for row in found]
        assert lines == sorted(set(lines)), content
        for row in found:
            if not isinstance(row, Reject):
                assert len(row.labels) == len(one.classes), content
                assert set(row.labels) <= {0, 1}, content
                assert row.filename, content
                assert not row.filename.startswith(("/", "../")), content


def test_shards(tmp_path: Path, dataset: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(dataset, folder)
    info = metadata.load(str(dataset))
    shards = [shard.path for split in info.splits for shard in split.shards]
    for rng in _rounds("shards"):
        path = rng.choice(shards)
        good = (dataset / path).read_bytes()
        bad = _mutated(good, (dataset / rng.choice(shards)).read_bytes(), rng)
        (folder / path).write_bytes(bad)
        problems = list(verify.verify(str(folder), info, decode=0))
        assert bool(problems) == (bad != good), path
        assert {problem.path for problem in problems} <= {
            path,
            path.replace("train/", "index/train/"),
            "manifest.json",
        } | set(shards) | {f"index/{p}"[:-8] + "tfindex" for p in shards}
        if bad != good:
            with pytest.raises(UserError, match=path):
                input_pipeline.check_shards(str(folder), info, [split.name for split in info.splits])
        (folder / path).write_bytes(good)


def test_manifests(tmp_path: Path, dataset: Path) -> None:
    good = (dataset / "manifest.json").read_bytes()
    path = tmp_path / "manifest.json"
    for rng in _rounds("manifests"):
        bad = _mutated(good, good, rng)
        path.write_bytes(bad)
        try:
            info = metadata.load(str(tmp_path))
        except UserError as error:
            assert str(path) in str(error)
            assert len(str(error).splitlines()) == 1
            continue
        problems = list(verify.verify(str(dataset), info))
        assert problems or info == metadata.load(str(dataset))
