"""scripts/bench_input: the same images in all forms, what its readers give, those that fail, its ratios."""

import contextlib
import csv
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import input_rows
import pixels
import rounds
import same_images
from converter.job import pipeline
from converter.options import ConvertOptions
from converter.parsing import parse_splits
from input_rows import CACHED, FIRST_32, FIRST_224, ROWS, Row
from multihot.errors import UserError
from reader_process import ReaderError, ReaderProcess
from report import Measurement
from same_images import SameImages

_ROOT = Path(__file__).parents[1]
_NUM_IMAGES = 60
# Those that run in the environment of the tests.
_HERE = [row for row in ROWS if not row.environment]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., bytes]) -> Path:
    """Returns the folder of a dataset of JPEGs of mixed sizes, some in folders, in one split."""
    folder = tmp_path_factory.mktemp("same")
    with open(folder / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "desert", "sea", "trees"])
        for i in range(_NUM_IMAGES):
            path = folder / "images" / f"{i % 3}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw(i, width=70 + i, height=90 - i))
            table.writerow([path.relative_to(folder / "images"), int(i % 2 == 0), int(i % 5 == 0), 1])
    options = ConvertOptions(
        csv=str(folder / "labels.csv"),
        images=str(folder / "images"),
        output=str(folder / "data"),
        splits=parse_splits("train=1"),
    )
    assert pipeline.convert(options)
    return Path(options.dataset)


@pytest.fixture(scope="module")
def images(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> SameImages:
    return same_images.unpack(str(photographs), tmp_path_factory.mktemp("forms"))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ReaderProcess]:
    """Returns the function that runs some lines of Python as a reader."""
    monkeypatch.setattr("reader_process._FOLDER", tmp_path)

    def run(lines: str) -> ReaderProcess:
        (tmp_path / "reader.py").write_text(lines)
        return ReaderProcess("reader", sys.executable)

    return run


def test_every_form_has_every_image_once_with_its_labels(images: SameImages, photographs: Path) -> None:
    assert images.num_images == _NUM_IMAGES
    assert images.positives == (30, 12, 60)
    with open(Path(images.folder, "labels.csv"), newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["Filenames", "desert", "sea", "trees"]
    files = {path.name: path.read_bytes() for path in Path(images.folder, "images", "train").iterdir()}
    assert [name for name, *_ in rows] == sorted(files)
    originals = {path.read_bytes() for path in (photographs.parents[2] / "images").rglob("*.jpg")}
    assert set(files.values()) == originals
    in_tars = {}
    for path in Path(images.folder, "tars").iterdir():
        with tarfile.open(path) as tar:
            in_tars |= {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    assert {name: data for name, data in in_tars.items() if name.endswith(".jpg")} == files
    for name, *labels in rows:
        assert json.loads(in_tars[f"{Path(name).stem}.json"]) == [int(label) for label in labels]


def test_images_that_only_some_decode_are_refused(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(UserError, match="images that are not JPEG"):
        same_images.unpack(str(dataset), tmp_path / "forms")


@pytest.mark.slow
def test_a_reader_that_does_not_answer_is_killed_with_what_it_started(
    program: Callable[[str], ReaderProcess], tmp_path: Path
) -> None:
    started = tmp_path / "started"
    reader = program(
        "import pathlib, subprocess\n"
        "process = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(started)!r}).write_text(str(process.pid))\n"
        "process.wait()\n"
    )
    with pytest.raises(ReaderError, match=r"no answer within 3 s"):
        reader.ask({}, timeout_seconds=3)
    # A killed process is there for a moment, and as a zombie for as long as nobody asks for it.
    deadline = time.monotonic() + 30
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(int(started.read_text())).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_reader_that_ends_says_why(program: Callable[[str], ReaderProcess]) -> None:
    with pytest.raises(ReaderError, match="it ended: no such library"):
        program("import sys\nsys.exit('no such library')\n").ask({}, timeout_seconds=60)


def _measure(row: Row, images: SameImages) -> dict[str, Measurement]:
    return rounds.measure([row], images, rounds=1, seconds=1, timeout_seconds=60)


def test_a_reader_that_leaves_images_out_is_not_measured(
    program: Callable[[str], ReaderProcess], images: SameImages, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"images": 59, "positives": [30, 12, 59]}
    program(f"print('{json.dumps(answer)}', flush=True)\ninput()\ninput()\n").kill()
    assert _measure(Row(FIRST_32, "careless", "reader"), images) == {}
    assert "careless: it gave 59 images with labels [30, 12, 59], not 60 with [30, 12, 60]" in capsys.readouterr().out


def test_a_reader_without_its_environment_is_not_measured(
    images: SameImages, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _measure(Row(FIRST_32, "peer", "reader", "nowhere"), images) == {}
    assert "scripts/interop_venvs nowhere" in capsys.readouterr().out


def _measured(**rates: float) -> dict[str, Measurement]:
    """Returns measurements of rows of first epochs at 32 pixels: `_` stands for a space."""
    names = {name: f"{FIRST_32}: {name.replace('_', ' ')}" for name in rates}
    return {names[name]: Measurement(names[name], "images/s", (rate, 2 * rate)) for name, rate in rates.items()}


def test_the_best_peer_is_the_fastest_that_ran() -> None:
    measured = _measured(ours=600, limit=800, TFDS=200, DALI=300)
    assert input_rows.best_peers(measured)["first_epoch_32_over_best_peer"].name == f"{FIRST_32}: DALI"
    assert input_rows.ratios(measured) == {
        "first_epoch_32_over_limit": 0.75,
        "first_epoch_32_over_best_peer": 2.0,
        "first_epoch_32_over_tfds": 3.0,
    }


def test_names_of_rows_are_different_and_ratios_are_of_rows() -> None:
    names = [row.full_name for row in ROWS]
    assert len(set(names)) == len(names)
    every = {name: Measurement(name, "images/s", (1.0,)) for name in names}
    assert set(input_rows.ratios(every)) >= {
        "first_epoch_32_over_limit",
        "first_epoch_32_over_tutorial",
        "first_epoch_32_over_best_peer",
        "first_epoch_224_over_limit",
        "first_epoch_224_over_best_peer",
        "cached_over_tutorial_batch_4",
        "cached_over_frozen_batches_32",
    }


def test_every_reader_is_a_program_and_every_environment_has_requirements() -> None:
    for row in ROWS:
        assert (_ROOT / "scripts" / "bench" / "readers" / f"{row.reader}.py").exists()
        folders = (_ROOT / "tests" / "interop", _ROOT / "scripts" / "bench" / "requirements")
        assert not row.environment or any((folder / f"{row.environment}.txt").exists() for folder in folders)


def test_the_docs_name_every_ratio() -> None:
    page = (_ROOT / "docs" / "benchmarks.md").read_text()
    every = {row.full_name: Measurement(row.full_name, "images/s", (1.0,)) for row in ROWS}
    for ratio in [*input_rows.ratios(every), "frozen_backbone_over_tutorial"]:
        assert f"`{ratio.removesuffix('_whole_epochs')}`" in page


def test_scaled_pixels_are_compared_with_exact_ones(photographs: Path) -> None:
    for size in (16, 96):
        differences = pixels.compare(str(photographs), "train", size)
        assert differences.shape == (_NUM_IMAGES,)
        # Made smaller they differ, by some levels; made larger hardly.
        assert 0 <= differences.min() <= differences.max() < 20
        assert (differences.mean() > 0.05) == (size == 16)


@pytest.mark.extended
@pytest.mark.slow
def test_readers_give_every_image_and_the_command_writes_its_ratios(photographs: Path, tmp_path: Path) -> None:
    command = [sys.executable, _ROOT / "scripts" / "bench" / "input.py", f"--data={photographs}"]
    flags = ["--rounds=1", "--seconds=0.1", f"--json={tmp_path / 'out.json'}", f"--plot={tmp_path / 'out.png'}"]
    only = ",".join(row.full_name for row in _HERE)
    done = subprocess.run(
        [*command, *flags, f"--only={only}"],
        env=same_images.environment(), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not measured" not in done.stdout
    found = json.loads((tmp_path / "out.json").read_text())
    assert {one["name"] for one in found["measurements"]} == {row.full_name for row in _HERE}
    assert all(len(one["values"]) == 1 and one["median"] > 0 for one in found["measurements"])
    assert found["ratios"].keys() >= {
        "first_epoch_32_over_tutorial",
        "first_epoch_32_over_plain",
        "first_epoch_224_over_plain",
        "cached_over_tutorial_batch_4",
        "cached_over_frozen_batches_32",
    }
    assert {path.name for path in tmp_path.glob("*.png")} == {
        f"out-{table.replace(' ', '-')}.png" for table in (FIRST_32, CACHED, FIRST_224)
    }


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.parametrize("row", [row for row in ROWS if row.environment], ids=lambda row: row.full_name)
def test_readers_in_environments_of_their_own_give_every_image(row: Row, images: SameImages) -> None:
    if not (_ROOT / f".venv-interop-{row.environment}" / ".installed").exists():
        pytest.skip(f"run scripts/interop_venvs {row.environment} first")
    with rounds.readers(timeout_seconds=200) as readers:
        answer = readers.ask(row, images, epochs=1, check=True)
        rounds.check(row, answer, images)
        assert answer["shape"][1:] == [row.request["size"], row.request["size"], 3]
        timed = readers.ask(row, images, epochs=3)
    assert timed["images"] == 3 * _NUM_IMAGES
    assert 0 < timed["steady_images"] < timed["images"]
