"""A conversion that is killed at any moment leaves what was a dataset one, and nothing half done that could be opened.

A process that has imported everything forks a child for each conversion. The child counts each time that it opens,
makes, renames or deletes a file, and kills itself at the chosen one, as SIGKILL from outside would.
"""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multihot import storage
from multihot.errors import UserError
from schemas import layout, metadata

Draw = Callable[..., bytes]
# How often a conversion touched a file, and the time at which the dataset came into its place; None if it was killed.
Moments = tuple[int, int]
Run = Callable[..., Moments | None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has imported Beam"),
]

_POINTS = 2

_PROGRAM = """
import json, os, signal, sys
from fractions import Fraction
from converter.job import pipeline
from converter.report import charts
from converter.options import ConvertOptions

charts.cardinality([1, 2])  # Slow the first time, so it is done before the fork.
for line in sys.stdin:
    request = json.loads(line)
    result, results = os.pipe()
    child = os.fork()
    if not child:
        count = published = 0
        def hook(event, args):
            global count, published
            if event == "open" or event.startswith(("os.", "shutil.", "ctypes.dlsym")):
                if request["folder"] in str(args) or "renameat2" in str(args):
                    count += 1
                    if "renameat2" in str(args) or event == "os.rename" and str(args[0]).endswith("/assembled"):
                        published = published or count
                    if count == request["kill_at"]:
                        os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        pipeline.convert(ConvertOptions(**request["options"]))
        os.write(results, f"{count} {published}".encode())
        os._exit(0)
    os.close(results)
    os.waitpid(child, 0)
    print(os.read(result, 20).decode() or "killed", flush=True)
    os.close(result)
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Returns the function that converts, and is killed at a moment."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def convert(folder: Path, kill_at: int = 0, **options: Any) -> Moments | None:
            paths = {"csv": f"{folder}/labels.csv", "images": f"{folder}/images", "output": f"{folder}/out"}
            given = {
                **paths,
                "num_shards": {"train": 3, "validation": 2},
                "max_rejects": 40,
                "num_threads": 2,
                **options,
            }
            stdin.write(json.dumps({"folder": str(folder), "kill_at": kill_at, "options": given}) + "\n")
            answer = stdout.readline().strip()
            assert answer, "the process is gone"
            if answer == "killed":
                return None
            count, published = map(int, answer.split())
            return count, published

        yield convert
        stdin.close()


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    """Returns a folder with images, of which one shard will have none that is good."""
    (tmp_path / "images").mkdir()
    for i in range(24):
        (tmp_path / f"images/{i}.jpg").write_bytes(draw(i))
    _label(tmp_path, 0)
    return tmp_path


def _label(folder: Path, sea: int) -> None:
    rows = [f"{i}.jpg,{i % 2},{sea}" for i in range(24)]
    (folder / "labels.csv").write_text("\n".join(["file,trees,sea", *rows]) + "\n")


def _data(dataset: Path) -> dict[str, bytes]:
    files = {path.relative_to(dataset).as_posix(): path for path in dataset.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != layout.CONVERSION}


def _opened(dataset: Path) -> dict[str, bytes] | None:
    """Returns the files of a dataset, or None if it cannot be opened. One that can is whole."""
    try:
        info = metadata.load(str(dataset))
    except UserError:
        return None
    for split in info.splits:
        for shard in split.shards:
            assert storage.sha256(f"{dataset}/{shard.path}") == shard.sha256
            assert (dataset / layout.shard_index(shard.path)).exists()
    return _data(dataset)


def _chosen(moments: Moments | None) -> list[int]:
    """Returns moments that are evenly spread, and each of those around the one that counts."""
    assert moments is not None
    total, published = moments
    assert 100 < published <= total
    return sorted({*range(1, total, total // _POINTS), *range(published - 2, min(published + 3, total) + 1)})


def test_killed_while_it_converts(folder: Path, run: Run) -> None:
    moments = run(folder, output=f"{folder}/expected")
    expected = _data(folder / "expected/dataset/1.0.0")
    killed = 0
    for moment in _chosen(moments):
        output = folder / f"out{moment}"
        if run(folder, kill_at=moment, output=str(output)) is None:
            killed += 1
            for path in output.glob("dataset/*"):
                assert _opened(path) in (None, expected), moment
            if _opened(output / "dataset/1.0.0") is None:
                # Of attempts, and of shards that have been brought to their place.
                found = itertools.chain(output.glob("dataset/*/made_from/*/*"), output.glob("*/*/*/made_from/*/*"))
                notes = {path.name.removesuffix(".json") for path in found} - {"attempts"}
                assert run(folder, output=str(output)) is not None
                shards = json.loads((output / "dataset/1.0.0/conversion.json").read_text())["shards"]
                assert shards["reused"] >= len(notes) - 1, moment
        assert _opened(output / "dataset/1.0.0") == expected, moment
        # Killed after the dataset came into its place, it leaves files that the next conversion deletes.
        assert {path.name for path in output.glob("dataset/*")} <= {"1.0.0", "1.0.0.incomplete"}, moment
        shutil.rmtree(output)
    assert killed > _POINTS


def test_killed_while_it_overwrites(folder: Path, run: Run) -> None:
    assert run(folder) is not None
    old = _opened(folder / "out/dataset/1.0.0")
    assert old
    shutil.copytree(folder / "out", folder / "old")
    _label(folder, 1)
    assert run(folder, output=f"{folder}/expected")
    new = _data(folder / "expected/dataset/1.0.0")
    moments = run(folder, overwrite=True)
    killed = 0
    for moment in _chosen(moments):
        shutil.rmtree(folder / "out")
        shutil.copytree(folder / "old", folder / "out")
        if run(folder, kill_at=moment, overwrite=True) is None:
            killed += 1
            assert _opened(folder / "out/dataset/1.0.0") in (old, new), moment
            for path in folder.glob("out/dataset/*"):
                assert _opened(path) in (None, old, new), moment
            assert run(folder, overwrite=True) is not None
        assert _opened(folder / "out/dataset/1.0.0") == new, moment
        assert [path.name for path in folder.glob("out/dataset/*")] == ["1.0.0"], moment
    assert killed > _POINTS
