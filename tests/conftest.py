"""Shared by all tests: images that are drawn here, a small data set of them, and conversions in this process."""

import csv
import functools
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from PIL import Image

import prism_engine
import store_server
from converter.job import commit, pipeline
from converter.options import ConvertOptions
from multihot.quiet import quiet
from multihot.storage import connections
from schemas import example
from schemas.metadata import DatasetInfo
from store_server import Server

# pytest holds back what is printed while this file is imported, and prints it below its closing line.
with pytest.MonkeyPatch.context() as patch, quiet():
    # The programs that the tests start inherit the environment, and have to choose this level themselves.
    patch.setenv("TF_CPP_MIN_LOG_LEVEL", os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0"))
    import tensorflow as tf

# A busy machine is no reason to fail, and the first example pays for what is imported lazily.
hypothesis.settings.register_profile("multihot", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("multihot")

CLASSES = ("desert", "mountains", "sea", "sunset", "trees")

_LONGEST = (
    "test_miml.py",
    "test_prism.py",
    "test_hostile.py",
    "test_dataflow.py",
    "test_killed.py",
    "test_resuming.py",
)

Draw = Callable[..., bytes]
Convert = Callable[..., DatasetInfo]
WriteCsv = Callable[..., Path]


class Stored(NamedTuple):
    """An example as a reader gets it back."""

    image: bytes
    height: int
    width: int
    labels: tuple[int, ...]
    filename: str


def _draw(
    seed: int = 0, *, width: int = 48, height: int = 32, mode: str = "RGB", file_format: str = "JPEG", **save: Any
) -> bytes:
    random = np.random.default_rng(seed)
    slopes = np.linspace(0, 160, width)[None, :, None] * random.random(3) + np.linspace(0, 80, height)[:, None, None]
    pixels = np.clip(slopes + random.integers(0, 16, (height, width, 3)), 0, 255).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    image.save(file, file_format, **save)
    return file.getvalue()


# A browser that asks for nothing on its own.
_BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# Of a module: playwright runs an event loop in this thread, and a second one cannot begin before the first has ended.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Returns a browser without a window; without one the tests are skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="install playwright to look at pages in a browser")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if not executable:
        pytest.skip("install chromium to look at pages in a browser")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_BROWSER_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Returns a store in a process of its own."""
    with store_server.running() as running:
        yield running


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Returns the URL of an empty bucket."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    connections.bucket.cache_clear()
    server.fail()
    server.set_latency(0)
    for key in server.objects("bucket"):
        server.delete("bucket", key)
    yield f"{request.param}://bucket"
    connections.bucket.cache_clear()
    server.fail()


@pytest.fixture(scope="session")
def prism() -> str:
    """Returns the path of Beam's engine Prism; without it, the tests are skipped."""
    return prism_engine.binary()


@pytest.fixture
def engine(prism: str) -> Iterator[str]:
    """Returns the end point of the job server of an engine in a process of its own."""
    with prism_engine.job_server(prism) as end_point:
        yield end_point


@pytest.fixture
def pool() -> Iterator[tuple[str, int]]:
    """Returns the address of a pool of workers for an engine, and the id of its process."""
    with prism_engine.pool() as address:
        yield address


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Returns the function that draws an image, a gradient with noise, and encodes it: same seed, same bytes."""
    return _draw


def _write_csv(path: Path, rows: Sequence[Sequence[object]], **dialect: Any) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **{"lineterminator": "\n", **dialect}).writerows(rows)
    return path


@pytest.fixture(scope="session")
def write_csv() -> WriteCsv:
    """Returns the function from a path and rows, of which the first is the header, to the path of a CSV."""
    return _write_csv


@pytest.fixture(scope="session")
def labels_of() -> dict[str, tuple[int, ...]]:
    """Returns the names of the images in `scenes`, with their labels."""
    names = [f"{i}.jpg" for i in range(16)]
    names += ["16.png", "17.PNG", "18.gif", "19.bmp", "20.webp", "deep/down/21.jpg", "바다.jpg", "été à la mer.jpg"]
    return {name: tuple(int(i % 31 + 1 >> bit & 1) for bit in range(len(CLASSES))) for i, name in enumerate(names)}


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, labels_of: Mapping[str, tuple[int, ...]]) -> Path:
    """Returns a folder to read, never to change.

    images/       24 images of all supported formats, of mixed sizes, some in folders, some with non-ASCII names
    labels.csv    their labels, with a column of 0 and 1 for each class
    names.csv     the same labels, with a column `labels` such as "desert,sea"
    """
    folder = tmp_path_factory.mktemp("scenes")
    for i, name in enumerate(labels_of):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        file_format = path.suffix[1:].upper().replace("JPG", "JPEG")
        path.write_bytes(_draw(i, width=24 + 3 * i, height=64 - i, file_format=file_format))
    _write_csv(folder / "labels.csv", [("file", *CLASSES), *((name, *labels) for name, labels in labels_of.items())])
    names = [
        (name, ",".join(c for c, label in zip(CLASSES, labels, strict=True) if label))
        for name, labels in labels_of.items()
    ]
    _write_csv(folder / "names.csv", [("file", "labels"), *names])
    return folder


def _convert(scenes: Path, output: Path, **options: Any) -> DatasetInfo:
    paths = {"csv": scenes / "labels.csv", "images": scenes / "images", "output": output}
    given: dict[str, Any] = {"name": "scenes", **paths, **options}
    given |= {key: str(given[key]) for key in paths}
    conversion = ConvertOptions(**given)
    info = pipeline.convert(conversion)
    assert info is not None
    assert not commit.report_failure(conversion)
    return info


@pytest.fixture(scope="session")
def convert_to(scenes: Path) -> Convert:
    """Returns the function that converts in this process, with the runner that is the default.

    It takes the folder of the output, and fields of ConvertOptions. Without any it converts `scenes`.
    """
    return functools.partial(_convert, scenes)


@pytest.fixture
def convert(convert_to: Convert, tmp_path: Path) -> Convert:
    """Returns `convert_to` with an output of its own: without any field it makes `<tmp_path>/out/scenes/1.0.0`."""
    return lambda **options: convert_to(options.pop("output", tmp_path / "out"), **options)


@pytest.fixture(scope="session")
def dataset(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a finished dataset to read: `scenes`, in three shards for training and one to validate."""
    output = tmp_path_factory.mktemp("datasets")
    _convert(scenes, output, num_shards={"train": 3, "validation": 1})
    return output / "scenes" / "1.0.0"


@pytest.fixture(scope="session")
def read_shards() -> Callable[[Path, DatasetInfo, str], list[Stored]]:
    """Returns the function that reads a split of a dataset as TensorFlow does: its examples in order."""

    def read(folder: Path, info: DatasetInfo, split: str) -> list[Stored]:
        paths = [str(folder / shard.path) for shard in info.split(split).shards]
        spec = example.parse_spec(len(info.classes))
        parsed = (tf.io.parse_single_example(record, spec) for record in tf.data.TFRecordDataset(paths))
        return [
            Stored(
                image=one[example.IMAGE].numpy(),
                height=int(one[example.HEIGHT]),
                width=int(one[example.WIDTH]),
                labels=tuple(one[example.LABELS].numpy().tolist()),
                filename=one[example.FILENAME].numpy().decode(),
            )
            for one in parsed
        ]

    return read


@pytest.fixture(scope="session")
def miml() -> Path:
    """Returns the folder of the real data set: `images`, `miml_labels_1.csv` and `miml_labels_2.csv`."""
    folder = os.environ.get("MIML_DATASET", "")
    if not folder:
        pytest.skip("set MIML_DATASET to the folder of the real data set")
    return Path(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take minutes first: at the end, one of two processes would wait for the other."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says which readers of tests/interop ran, which did not, and why."""
    said: dict[str, str] = {}
    for outcome in ("passed", "skipped", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            reader = dict(report.user_properties).get("interop")
            if outcome == "skipped" and reader:
                said[reader] = f"skipped: {report.longrepr[2].removeprefix('Skipped: ')}"
            elif reader:
                said[reader] = "ran" if outcome == "passed" else "FAILED"
    if said:
        ran = ", ".join(reader for reader, outcome in sorted(said.items()) if outcome == "ran")
        terminalreporter.section("interop")
        terminalreporter.line(f"interop: {ran or 'nothing'} ran")
        for reader, outcome in sorted(said.items()):
            if outcome != "ran":
                terminalreporter.line(f"interop: {reader} {outcome}")
