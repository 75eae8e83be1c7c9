"""An engine that does to the job all that Beam's model allows to gets the dataset that there is without it."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image

from converter.job import pipeline, sizing
from converter.options import ConvertOptions
from converter.verify import dataset_checks
from hostile import Engine
from multihot.beam import runners
from schemas import metadata
from schemas.metadata import DatasetInfo

pytestmark = pytest.mark.slow

Draw = Callable[..., bytes]
WriteCsv = Callable[..., Path]

_SHARDS = {"train": 3, "validation": 2}
_KINDS: dict[str, dict[str, Any]] = {
    "rows that agree": {},
    "merged rows": {"merge_rows": True},
    "stratified": {"merge_rows": True, "split_method": "stratified", "group_pattern": r"(.*)_jpg\.rf\."},
    "near duplicates": {"group_near_duplicates": True},
    "resized": {"resize_shorter": 24},
}
# Each conversion takes about ten seconds: scripts/test makes some of them, and -m extended the others.
_SEEDS = [0, pytest.param(1, marks=pytest.mark.extended)]
_REPEATED = [
    kind if kind in ("merged rows", "near duplicates") else pytest.param(kind, marks=pytest.mark.extended)
    for kind in _KINDS
]

_RUNNER = runners.runner


class Rows(NamedTuple):
    """A table with all kinds of rows, in two files, and their images."""

    folder: Path
    num_rows: int


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, draw: Draw, write_csv: WriteCsv) -> Rows:
    folder = tmp_path_factory.mktemp("rows")
    images = folder / "images"
    images.mkdir()
    table: list[tuple[object, ...]] = []
    for i in range(24):
        data = draw(i, width=40 + i, height=36)
        named = {f"{i}.jpg": data}
        if i % 4 == 0:  # A copy of the same bytes, one of other bytes, and another version.
            again = io.BytesIO()
            Image.open(io.BytesIO(data)).save(again, "JPEG", quality=70)
            named |= {f"same{i}.jpg": data, f"{i}_jpg.rf.{i:032x}.jpg": again.getvalue()}
            named[f"{i}_jpg.rf.{i + 99:032x}.jpg"] = draw(i + 99)
        for j, (name, content) in enumerate(named.items()):
            (images / name).write_bytes(content)
            table.append((name, (i + j) % 2, int(i % 3 == 0)))
        if i % 5 == 0:
            table.append(table[-1])
    # Of more, the conversion would say that the table has a row for each label.
    table += [("1.jpg", 0, 1), ("2.jpg", 1, 1)]
    bad = {"broken.jpg": b"text", "cut.jpg": draw(7)[:-200], "17.png": draw(9, file_format="PNG")}
    for name, content in {**bad, "unlisted.jpg": draw(8)}.items():
        (images / name).write_bytes(content)
    table += [*((name, 1, 0) for name in bad), ("missing.jpg", 0, 1), ("3.jpg", "maybe", 0)]
    for i in range(2):
        write_csv(folder / f"{i}.csv", [("file", "sea", "sun"), *table[i::2]])
    return Rows(folder, len(table))


def _options(rows: Rows, output: Path, **given: Any) -> ConvertOptions:
    paths = {"csv": f"{rows.folder}/*.csv", "images": f"{rows.folder}/images", "output": str(output)}
    return ConvertOptions(**paths, num_shards=_SHARDS, max_rejects=40, num_threads=1, **given)


def _files(folder: str | Path) -> dict[str, bytes]:
    """Returns all files but the one that says when they were made."""
    found = {path.relative_to(folder).as_posix(): path for path in Path(folder).rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "conversion.json"}


@pytest.fixture(scope="module")
def expected(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """Returns the function from a kind of conversion to the files of the dataset without the engine."""
    made: dict[str, dict[str, bytes]] = {}

    def convert(kind: str) -> dict[str, bytes]:
        if kind not in made:
            options = _options(rows, tmp_path_factory.mktemp("expected"), **_KINDS[kind])
            with pytest.MonkeyPatch.context() as patch:  # A test may have put its engine in its place.
                patch.setattr(runners, "runner", _RUNNER)
                assert pipeline.convert(options)
            made[kind] = _files(options.dataset)
        return made[kind]

    return convert


@pytest.fixture
def run_on(monkeypatch: pytest.MonkeyPatch) -> Callable[[FnApiRunner, ConvertOptions], DatasetInfo]:
    """Returns the function that converts on an engine, with several buckets and parts."""
    monkeypatch.setattr(sizing, "num_buckets", lambda *_: 5)
    monkeypatch.setattr(sizing, "num_parts", lambda *_, **__: 3)

    def convert(engine: FnApiRunner, options: ConvertOptions) -> DatasetInfo:
        monkeypatch.setattr(runners, "runner", lambda _: engine)
        info = pipeline.convert(options)
        assert info
        return info

    return convert


@pytest.mark.parametrize("kind", _REPEATED)
def test_bundles_that_are_repeated_change_nothing(
    kind: str, rows: Rows, expected: Any, run_on: Any, tmp_path: Path
) -> None:
    options = _options(rows, tmp_path, **_KINDS[kind])
    run_on(FnApiRunner(bundle_repeat=2), options)
    assert _files(options.dataset) == expected(kind)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        pytest.param(kind, seed, marks=pytest.mark.extended if seed or kind in ("rows that agree", "resized") else ())
        for kind in _KINDS
        for seed in (0, 1)
    ],
)
def test_the_dataset_is_the_same(kind: str, seed: int, rows: Rows, expected: Any, run_on: Any, tmp_path: Path) -> None:
    engine = Engine(seed, str(tmp_path))
    options = _options(rows, tmp_path, **_KINDS[kind])
    info = run_on(engine, options)
    assert info.num_examples + sum(info.rejects.values()) + info.merged_rows == rows.num_rows
    assert _files(options.dataset) == expected(kind)
    engine.wake()
    assert _files(options.dataset) == expected(kind), engine.errors
    assert list(dataset_checks.verify(options.dataset, metadata.load(options.dataset))) == []
    assert engine.counts["died"] + engine.counts["late"]


@pytest.mark.parametrize("seed", _SEEDS)
def test_attempts_of_an_earlier_conversion_harm_no_later_one(
    seed: int, rows: Rows, expected: Any, run_on: Any, tmp_path: Path
) -> None:
    first, second = Engine(seed, str(tmp_path), patience_seconds=6), Engine(100 + seed, str(tmp_path))
    options = _options(rows, tmp_path, overwrite=True, **_KINDS["resized"])
    run_on(first, _options(rows, tmp_path, **_KINDS["merged rows"]))
    threading.Timer(second.random.uniform(0, 4), first.ended.set).start()
    run_on(second, options)
    assert _files(options.dataset) == expected("resized")
    for engine in (first, second):
        engine.wake()
        assert _files(options.dataset) == expected("resized"), engine.errors
