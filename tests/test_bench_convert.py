"""scripts/bench_convert: the made images, what each program writes, the ratios, and the whole command."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

import beam_write
import contenders
import convert
import libjpeg
import made
import plain_loop
import process
import program
from contenders import Startup
from made import Made
from program import Job, Stopwatch
from report import Measurement

_ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., bytes]) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    for i, (mode, quality) in enumerate([("RGB", 75), ("RGB", 95), ("L", 60)]):
        (folder / f"{i}.jpg").write_bytes(draw(i, width=160, height=120, mode=mode, quality=quality))
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def data(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made.make(originals, 12, tmp_path_factory.mktemp("made"))


@pytest.fixture
def job(data: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    flags = [f"--csv={data.csv}", f"--images={data.images}", f"--output={tmp_path}", "--threads=2"]
    monkeypatch.setattr(sys, "argv", ["program", *flags])
    return program.parse()


def _read(folder: Path) -> dict[str, tf.train.Example]:
    """Returns the features of all records, by file name."""
    records = tf.data.TFRecordDataset([str(path) for path in folder.glob("*.tfrecord*")])
    found = [tf.train.Example.FromString(record.numpy()).features.feature for record in records]
    return {features["filename"].bytes_list.value[0].decode(): features for features in found}


def test_made_images_are_all_different_and_like_their_originals(data: Made, originals: Path) -> None:
    paths = sorted(data.images.iterdir())
    assert [path.name for path in paths] == [made.name(i) for i in range(12)]
    assert len({path.read_bytes() for path in paths}) == 12
    sizes = set()
    for path in originals.glob("*.jpg"):
        with Image.open(path) as original:
            sizes.add(original.size)
    for path in paths:
        with Image.open(path) as image:
            assert isinstance(image, JpegImageFile)
            assert image.size in sizes


def test_made_images_are_the_same_for_the_same_originals_and_made_once(
    data: Made, originals: Path, tmp_path: Path
) -> None:
    again = made.make(originals, 12, tmp_path)
    assert again.csv.read_bytes() == data.csv.read_bytes()
    assert [path.read_bytes() for path in sorted(again.images.iterdir())] == [
        path.read_bytes() for path in sorted(data.images.iterdir())
    ]
    first = again.images / made.name(0)
    first.write_bytes(b"mark")
    assert made.make(originals, 12, tmp_path) == again
    assert first.read_bytes() == b"mark"


def test_what_was_made_in_part_is_made_again(originals: Path, tmp_path: Path) -> None:
    data = made.make(originals, 3, tmp_path)
    data.csv.unlink()
    (data.images / made.name(1)).write_bytes(b"half")
    made.make(originals, 3, tmp_path)
    with Image.open(data.images / made.name(1)) as image:
        image.load()


def test_a_folder_without_jpegs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no JPEG in .*--images"):
        made.make(tmp_path, 1, tmp_path)


@pytest.mark.parametrize("write", [plain_loop.write, beam_write.write], ids=["plain loop", "Beam"])
def test_every_program_writes_all_images_with_their_labels(write: Callable[[Job], int], job: Job, data: Made) -> None:
    assert write(job) == 12
    assert contenders.count_records(job.output) == 12
    found = _read(job.output)
    for path, labels in job.rows:
        features = found[Path(path).name]
        assert features["image"].bytes_list.value[0] == Path(path).read_bytes()
        assert list(features["labels"].int64_list.value) == labels
        assert features["image/height"].int64_list.value[0] > 0
    assert any(labels != job.rows[0][1] for _, labels in job.rows)


def test_a_damaged_image_stops_the_plain_loop(job: Job, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(Path(job.rows[0][0]).read_bytes()[:300])
    with pytest.raises(tf.errors.InvalidArgumentError):
        plain_loop.write(job._replace(rows=[(str(bad), [0])]))


def test_the_limit_decodes_all_images_and_times_decoding(job: Job) -> None:
    watch = Stopwatch()
    assert libjpeg.decode(job, watch) == 12
    assert watch.seconds > 0


def test_a_stopwatch_adds_up_its_blocks_only() -> None:
    watch = Stopwatch()
    process.time.sleep(0.2)
    with watch:
        process.time.sleep(0.02)
    with watch:
        process.time.sleep(0.02)
    assert 0.04 <= watch.seconds < 0.2


def test_a_process_is_measured_with_those_that_it_starts(tmp_path: Path) -> None:
    child = f"x = b'1' * 300_000_000; sum(range(5_000_000)); open({str(tmp_path / 'seen')!r}, 'w'); print('done')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    # In a process that is small itself: see process.Run.
    program = (
        "import json, pathlib, process, sys; "
        f"wanted = pathlib.Path({str(tmp_path)!r}), 'se*'; "
        f"run = process.run([sys.executable, '-c', {parent!r}], {{}}, wanted); "
        "print(json.dumps(run._asdict()))"
    )
    bench = _ROOT / "scripts" / "bench"
    done = subprocess.run([sys.executable, "-c", program], cwd=bench, capture_output=True, check=True)
    run = process.Run(**json.loads(done.stdout))
    assert run.output == "done\n"
    assert 300 < run.peak_mb < 360
    assert run.cpu_seconds > 0.03
    assert run.seen_seconds is not None
    assert 0 < run.seen_seconds <= run.seconds


def test_a_program_that_fails_ends_the_benchmark_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match=r"(?s)it broke.*error: this failed, see above: .*-c"):
        process.run([sys.executable, "-c", "raise OSError('it broke')"], {})


def test_the_ratios_have_the_names_and_values_that_the_docs_promise() -> None:
    def measurement(*values: float) -> Measurement:
        return Measurement("it", "images/s", values, {"peak MB": 900.0})

    plain, ours = contenders.PLAIN_LOOP, contenders.OURS
    measurements = {
        (20_000, ours.name): measurement(40.0, 60.0, 90.0),
        (20_000, plain.name): measurement(10.0, 30.0, 30.0),
        (100_000, ours.name): measurement(20.0, 60.0, 60.0),
    }
    starts = [Startup(5.0, 5.0, 4.5, 4.0), Startup(9.0, 9.0, 8.0, 6.0), Startup(5.0, 5.0, 4.75, 4.0)]
    assert convert.ratios(measurements, [plain], starts) == {
        "over_plain_loop_20k": 3.0,
        "peak_memory_mb_20k": 900.0,
        "peak_memory_mb_100k": 900.0,
        "growth_100k_over_20k": 2 / 3,
        "startup_seconds_beyond_imports": 0.75,
    }


@pytest.mark.parametrize(("number", "text"), [(2000, "2k"), (100_000, "100k"), (40, "40"), (1500, "1500")])
def test_sizes_have_short_names(number: int, text: str) -> None:
    assert convert.label(number) == text


@pytest.mark.parametrize(
    ("whole", "start", "seconds"),
    [
        pytest.param(25.0, 5.0, 20.0, id="start-up does not count"),
        pytest.param(5.2, 5.0, 5.2, id="no rate comes from noise"),
        pytest.param(4.9, 5.0, 4.9, id="a start-up that was slow by chance"),
    ],
)
def test_the_steady_rate_leaves_start_up_out(whole: float, start: float, seconds: float) -> None:
    assert contenders.beyond(whole, start) == seconds


@pytest.mark.extended
@pytest.mark.slow
def test_the_whole_benchmark_on_forty_images(originals: Path, tmp_path: Path) -> None:
    tfds_python = _ROOT / ".venv-interop-tfds" / "bin" / "python"
    has_tfds = tfds_python.exists() and not (tfds_python.parents[1] / ".reason").exists()
    flags = ["--sizes=40", "--rounds=1", f"--images={originals}", f"--json={tmp_path / 'a.json'}"]
    flags += [f"--plot={tmp_path / 'a.png'}", *([f"--tfds_python={tfds_python}"] if has_tfds else [])]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    program = _ROOT / "scripts" / "bench" / "convert.py"
    done = subprocess.run(
        [sys.executable, program, *flags],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    names = [one.name for one in contenders.contenders(str(tfds_python) if has_tfds else "")]
    rows = done.stdout.split("40 images\n\n")[1].splitlines()[1 : len(names) + 1]
    assert [row.startswith(name) for row, name in zip(rows, names, strict=True)] == [True] * len(names)
    written = json.loads((tmp_path / "a.json").read_text())
    assert [one["name"] for one in written["measurements"]] == [f"40: {name}" for name in names]
    keys = [one.key for one in contenders.contenders("") if one.key] + ["tfds"] * has_tfds
    assert set(written["ratios"]) == {
        *(f"over_{key}_40" for key in keys),
        "peak_memory_mb_40",
        "startup_seconds_beyond_imports",
    }
    # The datasets that the programs wrote, and the images that were made, were removed.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.png"]
