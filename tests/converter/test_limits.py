"""All that looks at a dataset has the limits of conversion: a record of some kilobytes can ask for all memory."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image

from converter import limits
from converter.dataset.examples import Located
from converter.inspect import gallery, selection
from converter.job import pipeline
from converter.limits import LimitOptions, Limits
from converter.options import ConvertOptions
from converter.parsing import parse_splits
from converter.rejects import Reject
from converter.report import page, pictures
from converter.verify import dataset_checks
from multihot import flags
from multihot.errors import UserError
from multihot.usage import Usage
from schemas import example, layout, metadata
from schemas.duplicates import DUPLICATES_COLUMNS
from schemas.example import Example
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Statistics
from schemas.tfrecord import ShardWriter

Draw = Callable[..., bytes]
WriteCsv = Callable[..., Path]

_SMALL = Limits(max_pixels=2000)


def _gif(draw: Draw, frames: int) -> bytes:
    file = io.BytesIO()
    some = [Image.open(io.BytesIO(draw(i))) for i in range(frames)]
    some[0].save(file, "GIF", save_all=True, append_images=some[1:])
    return file.getvalue()


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, draw: Draw, write_csv: WriteCsv) -> Path:
    """Returns a dataset of one shard: four images of more than 2000 pixels, and one of less."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "images").mkdir()
    made = {
        "large.png": draw(0, width=100, height=100, file_format="PNG"),
        "frames.gif": _gif(draw, 4),
        "plain.jpg": draw(1, width=60, height=40),
        "progressive.jpg": draw(2, width=60, height=40, progressive=True),
        "small.png": draw(3, width=40, height=40, file_format="PNG"),
    }
    for name, data in made.items():
        (folder / "images" / name).write_bytes(data)
    csv = write_csv(folder / "labels.csv", [("file", "sea"), *((name, 1) for name in made)])
    options = ConvertOptions(
        csv=str(csv),
        images=str(folder / "images"),
        output=str(folder),
        splits=parse_splits("all=1"),
        num_shards={"": 1},
    )
    assert pipeline.convert(options)
    return Path(options.dataset)


@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    """Returns a dataset that anyone can have made: 400 megapixels in 50 kB, which are 1.2 GB when they are decoded."""
    png = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(png, "PNG")
    record = example.encode(image=png.getvalue(), height=20_000, width=20_000, labels=(1,), filename="gigabyte.png")
    path = layout.shard("train", 0, 1)
    (tmp_path / path).parent.mkdir()
    with (tmp_path / path).open("wb") as file:
        writer = ShardWriter(file)
        writer.write(record)
    shard = ShardInfo(path=path, num_examples=1, num_bytes=writer.num_bytes, sha256=writer.sha256)
    statistics = Statistics.of(
        labels=(1,),
        image_format="png",
        height=20_000,
        width=20_000,
        image_bytes=len(png.getvalue()),
        example_bytes=len(record),
    )
    split = SplitInfo(name="train", shards=(shard,), statistics=statistics)
    info = DatasetInfo(name="bomb", version="1.0.0", classes=("sea",), splits=(split,))
    index = tmp_path / layout.shard_index(path)
    index.parent.mkdir(parents=True)
    index.write_text(writer.index)
    (tmp_path / layout.MANIFEST).write_text(info.to_json())
    for name, columns in ((layout.REJECTS, Reject._fields), (layout.UNLISTED, ["filename"])):
        (tmp_path / name).write_text(",".join(columns) + "\n")
    (tmp_path / layout.DUPLICATES).write_text(",".join(DUPLICATES_COLUMNS) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (
            "verify {}",
            1,
            r"'gigabyte.png' was not decoded: 20000 x 20000, 400.0 megapixels in all, and --max_megapixels=128",
        ),
        ("inspect {} --examples=9", 1, r"'gigabyte.png' is too large to be shown: 20000 x 20000"),
        pytest.param("inspect {} --filename=gigabyte.png", 0, r"20000 x 20000 pixels", marks=pytest.mark.slow),
        pytest.param("report {} --output={}.html", 0, "Report: ", marks=pytest.mark.slow),
    ],
)
def test_a_png_that_asks_for_a_gigabyte_gets_none(bomb: Path, command: str, status: int, said: str) -> None:
    words = command.format(bomb, bomb).split()
    with subprocess.Popen(
        [sys.executable, "-m", f"converter.{words[0]}", *words[1:]],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        program, most = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                most = max(most, program.memory_info().rss)
            except psutil.Error:
                break
        assert process.stdout
        assert re.search(said, process.stdout.read())
        assert process.wait() == status
    assert most < 500_000_000


def test_verify_decodes_nothing_beyond_the_limit(several: Path) -> None:
    info = metadata.load(str(several))
    found = [str(problem) for problem in dataset_checks.verify(str(several), info, limits=_SMALL)]
    names = [re.search(r"'(.*?)' was not decoded: .*--max_megapixels=0.002", line) for line in found]
    # 60 x 40 pixels, four frames of 48 x 32, and one of all.
    assert {name[1] for name in names if name} == {"frames.gif", "large.png", "plain.jpg", "progressive.jpg"}
    assert len(names) == len([name for name in names if name]) == 4


def test_verify_takes_what_is_allowed(several: Path) -> None:
    info = metadata.load(str(several))
    found = list(dataset_checks.verify(str(several), info, limits=Limits(max_pixels=9_999)))
    assert [problem.sentence.split("'")[1] for problem in found] == ["large.png"]


@pytest.mark.parametrize("name", ["plain.jpg", "progressive.jpg", "frames.gif", "large.png"])
def test_no_picture_is_made_of_what_is_too_large(several: Path, name: str) -> None:
    info = metadata.load(str(several))
    by_name = {one.example.filename: one for one in selection.select(str(several), info)}
    assert pictures.thumbnail(by_name[name].example.image, _SMALL.max_pixels) == ""
    with pytest.raises(ValueError, match=f"'{name}' is too large to be shown"):
        gallery.grid([by_name[name]], info.classes, "", _SMALL.max_pixels)
    assert pictures.thumbnail(by_name["small.png"].example.image, _SMALL.max_pixels)


def test_a_picture_without_pixels_is_no_reason_to_have_no_report(several: Path) -> None:
    info = metadata.load(str(several))
    found = page.collect(str(several), info, _SMALL)
    assert sorted(uri != "" for uri in found.thumbnails.values()) == [False] * 4 + [True]


def test_of_a_record_that_is_too_long_the_memory_is_not_taken(several: Path) -> None:
    info = metadata.load(str(several))
    # The other fields have 16 MB.
    short = Limits(max_image_bytes=-15_990_000)
    found = [str(problem) for problem in dataset_checks.verify(str(several), info, limits=short)]
    assert any(re.search(r"at byte \d+: the record has \d+ bytes; up to 10000 are read", line) for line in found)
    assert not any("sha256" in line for line in found)
    with pytest.raises(ValueError, match=r"damaged at byte \d+: the record has"):
        list(selection.select(str(several), info, limits=short))
    with pytest.raises(ValueError, match=r"damaged at byte \d+: the record has"):
        page.make(str(several), info, short)


_USAGE = Usage("program", "A program.", "", (LimitOptions,))


@pytest.mark.parametrize("text", ["0", "-1", "537", "1" + "0" * 30, "1" + "0" * 4000])
def test_a_limit_is_a_number_that_others_take(text: str) -> None:
    with pytest.raises(UserError, match=f"^--max_megapixels must be from 1 to 536. Received: {text[:50]}\n"):
        flags.parse(_USAGE, ["program", f"--max_megapixels={text}"])


@pytest.mark.parametrize("text", ["1" * 5000, "", "x", "1.5", "²"])
def test_a_limit_is_a_whole_number(text: str) -> None:
    with pytest.raises(UserError, match=f"^flag --max_megapixels={text}: must be a whole number\n"):
        flags.parse(_USAGE, ["program", f"--max_megapixels={text}"])


def test_the_flags_give_limits() -> None:
    assert flags.parse(_USAGE, ["program"]).limits == limits.DEFAULT
    given = flags.parse(_USAGE, ["program", "--max_megapixels=3", "--max_image_mb=2"])
    assert given.limits == Limits(3_000_000, 2_000_000)


def test_an_image_that_no_conversion_takes_is_not_drawn(draw: Draw) -> None:
    located = Located("train", "a", 0, Example(b"II*\0" + bytes(10), 1, 1, (1,), "a.tif"))
    with pytest.raises(ValueError, match=r"'a\.tif' cannot be decoded"):
        gallery.grid([located], ("sea",), "")
