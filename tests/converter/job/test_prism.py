"""The job on Prism, Beam's portable engine: engine and workers are processes of their own, which are killed, too."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import ports
import prism_engine
from converter.job import pipeline
from converter.options import ConvertOptions
from schemas import metadata

pytestmark = pytest.mark.slow

Draw = Callable[..., bytes]
WriteCsv = Callable[..., Path]

_ROOT = Path(__file__).parents[3]
_CLASSES = ("desert", "mountains", "sea", "sunset", "trees")


@pytest.fixture
def many(tmp_path: Path, draw: Draw, write_csv: WriteCsv) -> Path:
    """Returns a folder with 6000 images and their table: some seconds of work."""
    names = [f"{i:05d}.jpg" for i in range(6000)]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / names[0]).write_bytes(draw(width=300, height=200))
    for name in names[1:]:
        os.link(tmp_path / "images" / names[0], tmp_path / "images" / name)
    for table, column in (("labels.csv", 0), ("others.csv", 1)):
        write_csv(tmp_path / table, [("file", "sea", "sun"), *((n, i % 2 ^ column, 1) for i, n in enumerate(names))])
    return tmp_path


def _flags(folder: Path, output: Path, engine: str, *others: str, table: str = "labels.csv") -> list[str]:
    paths = (f"--csv={folder}/{table}", f"--images={folder}/images", f"--output={output}")
    return [*paths, "--runner=PortableRunner", f"--job_endpoint={engine}", *others]


@contextlib.contextmanager
def _start(flags: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Starts a conversion behind a proxy, which knows no engine. A test that fails does not wait for its end."""
    command = [sys.executable, "-m", "converter", *flags]
    silent = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    with subprocess.Popen(command, cwd=_ROOT, env=environment, text=True, **silent) as process:
        try:
            yield process
        finally:
            process.kill()


def _convert(flags: list[str]) -> tuple[int, str]:
    """Converts, and returns the status and what was written to standard error."""
    with _start(flags) as process:
        said = process.communicate(timeout=300)[1]
        return process.returncode, said


def _files(output: Path) -> dict[str, bytes]:
    folder = output / "dataset/1.0.0"
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "conversion.json"}


def _here(folder: Path, output: Path, table: str = "labels.csv", **given: object) -> dict[str, bytes]:
    paths = {"csv": f"{folder}/{table}", "images": f"{folder}/images", "output": str(output)}
    assert pipeline.convert(ConvertOptions(**paths, **given))  # type: ignore[arg-type]
    return _files(output)


def _wait_for_shards(output: Path, process: subprocess.Popen[str]) -> None:
    while not _num_shards(output):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def _num_shards(output: Path) -> int:
    """Returns the number of finished shards of an unfinished dataset."""
    return len({path.parent.name for path in output.rglob("made_from/attempts/*/*.json")})


_KINDS = {
    "plain": {},
    "near duplicates": {"group_near_duplicates": True},
    "stratified": {"split_method": "stratified", "resize_shorter": 30},
}


@pytest.mark.parametrize(
    ("kind", "workers"),
    [
        ("plain", "LOOPBACK"),
        pytest.param("plain", "EXTERNAL", marks=pytest.mark.extended),  # So is the real data set converted, below.
        pytest.param("near duplicates", "EXTERNAL", marks=pytest.mark.extended),
        pytest.param("stratified", "EXTERNAL", marks=pytest.mark.extended),
    ],
)
def test_the_dataset_is_the_same(
    kind: str, workers: str, scenes: Path, engine: str, pool: tuple[str, int], tmp_path: Path
) -> None:
    given = [f"--{name}={value}" for name, value in _KINDS[kind].items()]
    environment = [f"--environment_type={workers}", *([f"--environment_config={pool[0]}"] * (workers == "EXTERNAL"))]
    status, said = _convert(_flags(scenes, tmp_path / "there", engine, *environment, *given))
    assert status == 0, said
    assert _files(tmp_path / "there") == _here(scenes, tmp_path / "here", **_KINDS[kind])


def test_the_real_data_set_is_the_same(miml: Path, engine: str, pool: tuple[str, int], tmp_path: Path) -> None:
    flags = ["--environment_type=EXTERNAL", f"--environment_config={pool[0]}", "--sdk_worker_parallelism=2"]
    status, said = _convert(_flags(miml, tmp_path / "there", engine, *flags, table="miml_labels_1.csv"))
    assert status == 0, said
    assert metadata.load(f"{tmp_path}/there/dataset/1.0.0").num_examples == 2000
    assert _files(tmp_path / "there") == _here(miml, tmp_path / "here", "miml_labels_1.csv")


def _external(pool: tuple[str, int]) -> list[str]:
    return ["--environment_type=EXTERNAL", f"--environment_config={pool[0]}", "--num_shards=30"]


def test_a_worker_that_is_killed_costs_only_its_shard(
    many: Path, engine: str, pool: tuple[str, int], tmp_path: Path
) -> None:
    # Prism waits for ever for a worker that ends between two steps. Then another job is tried.
    for output in (tmp_path / "first", tmp_path / "second", tmp_path / "third"):
        flags = _flags(many, output, engine, *_external(pool))
        with _start(flags) as process:
            _wait_for_shards(output, process)
            for worker in psutil.Process(pool[1]).children():
                worker.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                said = process.communicate(timeout=60)[1]
                break
    assert process.returncode == 1
    first, kept, _ = said.splitlines()
    assert first == "error: A worker has ended during its work: it was killed, or there was no memory left."
    assert re.fullmatch(r"\d+ finished shards? (is|are) kept in .*: the same command continues with the others\.", kept)
    status, said = _convert(flags)
    assert status == 0, said
    notes = json.loads((output / "dataset/1.0.0/conversion.json").read_text())
    assert notes["shards"]["reused"] >= int(kept.split()[0])
    assert _files(output) == _here(many, tmp_path / "here", num_shards={"": 30})


def test_after_its_launcher_was_killed_a_job_ends_well(
    many: Path, engine: str, pool: tuple[str, int], tmp_path: Path
) -> None:
    output = tmp_path / "there"
    with _start(_flags(many, output, engine, *_external(pool))) as process:
        _wait_for_shards(output, process)
        process.kill()
    deadline = time.monotonic() + 60
    while (output / "dataset/1.0.0.incomplete").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert _files(output) == _here(many, tmp_path / "here", num_shards={"": 30})


def test_after_its_launcher_was_killed_a_job_harms_no_later_one(
    many: Path, engine: str, pool: tuple[str, int], tmp_path: Path
) -> None:
    output = tmp_path / "there"
    with _start(_flags(many, output, engine, *_external(pool))) as process:
        _wait_for_shards(output, process)
        (worker,) = psutil.Process(pool[1]).children()
        worker.suspend()
        process.kill()
    status, said = _convert(_flags(many, output, engine, *_external(pool), table="others.csv"))
    assert status == 0, said
    expected = _here(many, tmp_path / "here", "others.csv", num_shards={"": 30})
    assert _files(output) == expected
    worker.resume()
    time.sleep(8)  # For all that the first job still does.
    assert _files(output) == expected
    assert [path.name for path in (output / "dataset").iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
    ("sent", "status", "workers"), [(signal.SIGINT, 130, "EXTERNAL"), (signal.SIGTERM, 143, "LOOPBACK")]
)
def test_a_signal_cancels_the_job(
    sent: int, status: int, workers: str, many: Path, engine: str, pool: tuple[str, int], tmp_path: Path
) -> None:
    output = tmp_path / "there"
    environment = _external(pool) if workers == "EXTERNAL" else [f"--environment_type={workers}", "--num_shards=30"]
    with _start(_flags(many, output, engine, *environment)) as process:
        _wait_for_shards(output, process)
        process.send_signal(sent)
        said = process.communicate(timeout=20)[1].splitlines()
    assert process.returncode == status
    assert said[:2] == ["Interrupted.", "The job was cancelled."]
    assert re.match(r"\d+ finished shards? (is|are) kept in .* This command continues with the others:", said[2])
    time.sleep(4)
    assert [path.name for path in (output / "dataset").iterdir()] == ["1.0.0.incomplete"]


def test_a_job_that_takes_longer_than_it_may_is_cancelled(many: Path, engine: str, tmp_path: Path) -> None:
    output = tmp_path / "there"
    flags = ["--environment_type=LOOPBACK", "--job_server_timeout=1"]
    status, said = _convert(_flags(many, output, engine, *flags))
    assert status == 1
    sentences = ["error: The job has not ended in 1 s (--job_server_timeout).", "The job was cancelled."]
    assert said.splitlines()[:2] == sentences
    status, said = _convert(_flags(many, output, engine, *flags[:1]))
    assert status == 0, said


def test_a_job_that_cannot_be_cancelled_publishes_nothing(
    many: Path, prism: str, pool: tuple[str, int], tmp_path: Path
) -> None:
    output, port = tmp_path / "there", ports.free()
    with prism_engine.serving([prism, f"--job_port={port}", "--serve_http=false"], port) as stopped:
        with _start(_flags(many, output, f"localhost:{port}", *_external(pool))) as process:
            _wait_for_shards(output, process)
            stopped.send_signal(signal.SIGSTOP)
            os.waitpid(stopped.pid, os.WUNTRACED)  # Until then, its threads may answer.
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=20)[1].splitlines()
        stopped.send_signal(signal.SIGCONT)
        assert process.returncode == 143
        assert said[:2] == [
            "Interrupted.",
            f"The job job-001 of localhost:{port} may still run there, and publish the dataset. It can be cancelled "
            "there; if the same command is run again, it publishes nothing.",
        ]
        time.sleep(8)
    assert [path.name for path in (output / "dataset").iterdir()] == ["1.0.0.incomplete"]


def test_an_engine_that_ends_is_one_sentence(many: Path, prism: str, pool: tuple[str, int], tmp_path: Path) -> None:
    output, port = tmp_path / "there", ports.free()
    with (
        prism_engine.serving([prism, f"--job_port={port}", "--serve_http=false"], port) as ended,
        _start(_flags(many, output, f"localhost:{port}", *_external(pool))) as process,
    ):
        _wait_for_shards(output, process)
        ended.kill()
        said = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 1
    assert said[0] == (
        f"error: --job_endpoint=localhost:{port}: the connection to the job server was lost. Has the engine ended?"
    )
    assert "finished shard" in said[2]


def test_what_a_worker_says_of_the_table_is_the_sentence_that_is_said_here(
    many: Path, engine: str, pool: tuple[str, int], tmp_path: Path
) -> None:
    # Behind what is read before the job begins.
    with (many / "labels.csv").open("a") as file:
        file.writelines(f"a/long/name/that/there/is/not/{i:05d}.jpg,1,0\n" for i in range(20_000))
        file.write('"30.jpg,1,0\n')
    sentence = f"error: {many}/labels.csv line 26002: a quoted cell that starts here is never closed."
    for environment in (_external(pool), ["--environment_type=LOOPBACK"]):
        status, said = _convert(_flags(many, tmp_path / "there", engine, *environment))
        assert (status, said.splitlines()[0]) == (1, sentence)
        assert "Traceback" not in said


def test_workers_of_docker_need_docker(scenes: Path, engine: str, tmp_path: Path) -> None:
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        pytest.skip("there is Docker here")
    pytest.importorskip("build", reason="needs the extra `gcp`")
    status, said = _convert(_flags(scenes, tmp_path, engine))
    assert status == 1
    assert re.search(
        r"(?m)^error: The engine starts workers by Docker, and cannot: .* --environment_type=LOOPBACK", said
    )


def test_prism_that_is_started_for_the_job_ends_with_it(prism: str, scenes: Path, many: Path, tmp_path: Path) -> None:
    flags = ["--runner=PrismRunner", f"--prism_location={prism}"]
    paths = [f"--csv={scenes}/labels.csv", f"--images={scenes}/images"]
    status, said = _convert([*paths, f"--output={tmp_path}/there", *flags])
    assert status == 0, said
    assert _files(tmp_path / "there") == _here(scenes, tmp_path / "here")
    paths = [f"--csv={many}/labels.csv", f"--images={many}/images", f"--output={tmp_path}/killed", "--num_shards=30"]
    with _start([*paths, *flags]) as process:
        _wait_for_shards(tmp_path / "killed", process)
        (engine,) = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert said.startswith("Interrupted.\n")
    assert "Traceback" not in said
    psutil.wait_procs([engine], timeout=10)
    assert not engine.is_running()
