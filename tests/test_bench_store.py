"""scripts/bench_store: what is read and counted, the arithmetic, and the whole command on a few images."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import contenders
import made
import store
import store_server
from made import Made
from report import Measurement
from schemas.tfrecord import ShardWriter
from store import Conversion, Further, Reader

_ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, draw: Callable[..., bytes]) -> Made:
    originals = tmp_path_factory.mktemp("originals")
    for i in range(3):
        (originals / f"{i}.jpg").write_bytes(draw(i, width=160, height=120, quality=80))
    return made.make(originals, 20, tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("key", ["local", "ours_s3", "ours_gs"])
def test_our_readers_return_every_image_in_order(key: str, data: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = store.READERS[key]
    contents = {path.name: path.read_bytes() for path in sorted(data.images.iterdir())}
    with store_server.running() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        store.fill(server, data.images)
        objects = [(f"{reader.folder(data.images)}/{name}", len(content)) for name, content in contents.items()]
        assert list(reader.read(objects)) == list(contents.values())
        assert server.requests()["GET"] == (0 if key == "local" else 20)


def test_a_reader_tells_how_many_images_it_read_after_the_first(
    data: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [(str(path), path.stat().st_size) for path in sorted(data.images.iterdir())]
    wrong = (sizes[-1][0], 1)
    (tmp_path / "objects.json").write_text(json.dumps([*sizes[:-1], wrong]))
    store.read_one("local", tmp_path / "objects.json")
    images, seconds, cpu_seconds = contenders.told(capsys.readouterr().out)
    assert images == 18
    assert seconds > 0
    assert cpu_seconds > 0


def test_rows_that_cannot_be_measured_are_named_with_what_is_missing() -> None:
    readers = {
        "there": Reader("ours", str, lambda _: iter(()), ("json",)),
        "missing": Reader("theirs", str, lambda _: iter(()), ("json", "no_such_module")),
    }
    reasons = store.left_out(readers)
    assert reasons["theirs"] == "no_such_module is not installed"
    assert "ours" not in reasons
    assert "JSON" in reasons["gcsfs"]


def test_further_images_are_those_beyond_the_smaller_run() -> None:
    few = Conversion(images=1000, seconds=5.0, cpu_seconds=4.0, store_seconds=0.5, idle_seconds=4.0, gets=1010)
    many = Conversion(images=5000, seconds=9.0, cpu_seconds=9.0, store_seconds=1.5, idle_seconds=5.0, gets=6010)
    found = store.further(few, many, cores=2)
    assert found.cpu_us == pytest.approx(1250)
    assert found.rate == pytest.approx(1000)
    # Of eight seconds of two cores, the store took one; the command took five, others one, and one was idle.
    assert found.busy == pytest.approx(5 / 7)
    assert found.idle == pytest.approx(1 / 8)
    assert found.others == pytest.approx(1 / 8)
    assert found.gets == pytest.approx(1.25)
    assert found.whole_seconds == 9.0


def test_a_larger_run_that_was_faster_by_chance_has_no_shares() -> None:
    few = Conversion(images=1, seconds=5.0, cpu_seconds=4.0, store_seconds=0.5, idle_seconds=4.0, gets=1)
    found = store.further(few, few._replace(images=2, seconds=4.9))
    assert math.isnan(found.busy)
    assert math.isnan(found.idle)
    assert math.isnan(found.others)


def test_the_smaller_run_starts_processes_too_where_it_can() -> None:
    assert [store.few_of(images) for images in (40, 20_000, 100_000)] == [20, 6000, 10_000]


def test_places_are_the_disk_and_the_store_with_and_without_latency() -> None:
    assert [place.key for place in store.places(0.03)] == ["local", "0ms", "30ms"]
    assert [place.key for place in store.places(0.0)] == ["local", "0ms"]


def test_records_of_a_shard_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    with path.open("wb") as file:
        ShardWriter(file).write(b"", b"a", b"record" * 100)
    assert store.count_records(path.read_bytes()) == contenders.count_records(tmp_path) == 3
    assert store.count_records(b"") == 0


def test_the_ratios_have_the_names_and_values_that_the_docs_promise() -> None:
    def read(cpu_us: float) -> Measurement:
        return Measurement("it", "images/s", (1000.0,), {"CPU us/image": cpu_us})

    def converted(*cpu_us: float) -> Measurement:
        return store.converted(
            store.places(0.03)[0], [Further(each, 1000.0, 0.9, 0.1, 0.0, 1.0, 5.0) for each in cpu_us]
        )

    reading = {"local": read(10.0), "ours_s3": read(150.0)}
    converting = {"local": converted(400.0, 300.0, 500.0), "30ms": converted(500.0, 450.0, 500.0)}
    assert store.ratios(reading, converting) == {
        "read_cpu_over_local_ours_s3": 15.0,
        "cpu_over_local_30ms": 1.25,
        "busy_local": 0.9,
        "busy_30ms": 0.9,
    }
    assert store.ratios({}, {}) == {}


@pytest.mark.extended
@pytest.mark.slow
def test_the_whole_benchmark_on_a_few_images(data: Made, tmp_path: Path) -> None:
    flags = ["--images=20", "--objects=10", "--latency=0.001", f"--originals={data.images}"]
    done = subprocess.run(
        [sys.executable, _ROOT / "scripts" / "bench" / "store.py", *flags, f"--json={tmp_path / 'a.json'}"],
        env={**os.environ, "PYTHONPATH": str(_ROOT), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    missing = store.left_out()
    assert all(f"Left out: {name}: {reason}." in done.stdout for name, reason in missing.items())
    measured = json.loads((tmp_path / "a.json").read_text())
    readers = [reader.name for reader in store.READERS.values() if reader.name not in missing]
    places = [place.name for place in store.places(0.001)]
    assert [one["name"] for one in measured["measurements"]] == [*readers, *places]
    assert {"cpu_over_local_0ms", "cpu_over_local_1ms", "read_cpu_over_local_ours_s3"} <= set(measured["ratios"])
    # Images and datasets were removed.
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
