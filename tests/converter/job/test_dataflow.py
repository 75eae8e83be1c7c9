"""A job for Dataflow: checked, staged, submitted, and run by workers that have only what was staged.

Google Cloud is three servers on this machine: an emulator of Cloud Storage for what Beam stages, by the JSON protocol
of Google; a stand-in for what we read and write; and a stand-in for the service, which runs the staged job with Beam's
local runner. Beam's validator takes the service for Google's, since its address is not `localhost`.
"""

import dataclasses
import http.server
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from store_server import Fault, Server
from trainer import predict, train
from trainer.config import TrainConfig

pytest.importorskip("google.cloud.storage", reason="needs the extra `gcp`")
pytest.importorskip("build", reason="needs the extra `gcp`")
pytest.importorskip("gcp_storage_emulator.server", reason="needs gcp-storage-emulator")
pytestmark = pytest.mark.slow

_CHECKOUT = Path(__file__).parents[3]
_BUCKET = "bucket-name"
# The client speaks REST to a host with this word in its name, and another protocol to all others.
_HOST = "dataflow.sandbox"
# How often the service starts a job again that fails. Google's repeats parts of it, four times.
_ATTEMPTS = 2

# Runs a staged pipeline in this process, as a worker that has only what was staged. No other path is searched for
# modules: `-S` leaves the checkout out, which a file in site-packages names.
_WORKER = """
import collections, json, sys
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

file, package = sys.argv[1:]
proto = beam_runner_api_pb2.Pipeline.FromString(open(file, "rb").read())
for environment in proto.components.environments.values():
    environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
result = FnApiRunner().run_via_runner_api(proto, PipelineOptions([]))
result.wait_until_finish()
found = result.metrics().query()["counters"]
sums = collections.Counter()
for each in found:
    sums[each.key.metric.name] += each.committed
print(json.dumps([*sums.items()]))
import multihot, schemas
assert "converter" in sys.modules or "trainer" in sys.modules
for module in (multihot, schemas, sys.modules.get("converter", multihot), sys.modules.get("trainer", multihot)):
    assert module.__file__.startswith(package), module.__file__
"""

# The first lines of a launcher. The address of the service leads to this machine: Beam's validator takes no port in it.
# There are shorter pauses: Beam asks for the state of a job every five seconds, and we for its counters every 30.
_LAUNCHER = """
import socket, threading, time
_find = socket.getaddrinfo
def _found(host, port, *args, **kwargs):
    return _find(*(("127.0.0.1", {port}) if host == "{host}" else (host, port)), *args, **kwargs)
socket.getaddrinfo = _found
_sleep, _wait = time.sleep, threading.Event.wait
time.sleep = lambda seconds: _sleep(min(seconds, 0.3))
threading.Event.wait = lambda self, timeout=None: _wait(self, 0.3 if timeout == 30.0 else timeout)
"""


@dataclasses.dataclass
class _Service:
    """The state of the service.

    Attributes:
        folder: for what workers install.
        env: environment variables of the workers.
        jobs: submitted jobs by id.
        states: their states.
        messages: what the service says of failed ones.
        attempts: how often workers ran each.
        metrics: what the service says of their counters.
        refusal: status and message for every request; status 0: none is refused.
        runs: whether jobs are run.
    """

    folder: Path
    env: dict[str, str]
    jobs: dict[str, Any] = dataclasses.field(default_factory=dict)
    states: dict[str, str] = dataclasses.field(default_factory=dict)
    messages: dict[str, str] = dataclasses.field(default_factory=dict)
    attempts: dict[str, int] = dataclasses.field(default_factory=dict)
    metrics: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    refusal: tuple[int, str] = (0, "")
    runs: bool = True

    @property
    def last(self) -> str:
        """The id of the last job."""
        return list(self.jobs)[-1]

    def fetch(self, url: str) -> bytes:
        """Returns an object that was staged."""
        path = re.sub("^(gs://|storage.googleapis.com/)", "", url)
        with urllib.request.urlopen(f"{self.env['STORAGE_EMULATOR_HOST']}/{path}") as answer:
            return bytes(answer.read())

    def staged(self, job: str) -> dict[str, bytes]:
        """Returns the packages that a job staged, by name."""
        packages = self.jobs[job]["environment"]["workerPools"][0].get("packages", [])
        return {package["name"]: self.fetch(package["location"]) for package in packages}

    def run(self, job: str) -> None:
        """Runs a job as workers would that install what it staged."""
        folder = self.folder / job
        folder.mkdir()
        packages = self.staged(job)
        (package,) = (name for name in packages if name.endswith((".tar.gz", ".whl")))
        (folder / package).write_bytes(packages[package])
        installed = self.folder / package.split(".")[0]
        if not installed.exists():
            _run(
                ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", f"--target={installed}", package],
                dict(os.environ),
                folder,
            )
        options = self.jobs[job]["environment"]["sdkPipelineOptions"]["options"]
        (folder / "pipeline.pb").write_bytes(self.fetch(options["pipelineUrl"]))
        paths = [str(installed), *(path for path in sys.path if path.endswith("site-packages"))]
        env = {**self.env, "PYTHONPATH": os.pathsep.join(paths)}
        for _ in range(_ATTEMPTS):
            self.attempts[job] = self.attempts.get(job, 0) + 1
            done = subprocess.run(
                [sys.executable, "-S", "-c", _WORKER, "pipeline.pb", str(installed)],
                env=env, cwd=folder, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                self.metrics[job] = [
                    {
                        "name": {"origin": "user", "name": name, "context": {**tentative, "namespace": "multihot"}},
                        "scalar": n,
                    }
                    for name, n in json.loads(done.stdout)
                    for tentative in ({}, {"tentative": "true"})
                ]
                time.sleep(1)  # The launcher can see the counters of a job that runs.
                self.states[job] = "JOB_STATE_DONE"
                return
        self.messages[job] = done.stderr
        self.states[job] = "JOB_STATE_FAILED"


class _Handler(http.server.BaseHTTPRequestHandler):
    """The service by its REST protocol, and a server of tokens that gives one to anyone."""

    service: _Service

    def _answer(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        service, path = self.service, self.path.partition("?")[0]
        if service.refusal[0]:
            self._answer({"error": {"message": service.refusal[1]}}, service.refusal[0])
        elif path.endswith("/jobs"):
            self._answer({})
        elif path.endswith("/messages"):
            job = path.split("/")[-2]
            text = service.messages.get(job)
            message = {
                "id": "1",
                "time": "2026-01-01T00:00:00Z",
                "messageText": text,
                "messageImportance": "JOB_MESSAGE_ERROR",
            }
            self._answer({"jobMessages": [message] if text else []})
        elif path.endswith("/metrics"):
            self._answer({"metrics": service.metrics.get(path.split("/")[-2], [])})
        else:
            job = path.split("/")[-1]
            self._answer({"id": job, "currentState": service.states[job]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/token":
            self._answer({"access_token": "token", "token_type": "Bearer", "expires_in": 3600})
            return
        service, job = self.service, f"job-{len(self.service.jobs)}"
        service.jobs[job], service.states[job] = json.loads(body), "JOB_STATE_RUNNING"
        if service.runs:
            threading.Thread(target=service.run, args=(job,), daemon=True).start()
        sent = service.jobs[job]
        self._answer({"id": job, "name": sent["name"], "clientRequestId": sent["clientRequestId"]})

    def log_message(self, *args: object) -> None:
        pass


@dataclasses.dataclass
class _Cloud:
    """The environment and the flags of a launcher, and the stand-ins that it talks to.

    Attributes:
        env: environment variables with which Google's clients talk to this machine.
        flags: for the converter, those of Beam among them.
        of_beam: flags of Beam.
        service: the service.
        store: the bucket with the images.
    """

    env: Mapping[str, str]
    flags: list[str]
    of_beam: list[str]
    service: _Service
    store: Server

    def convert(self, *flags: str, status: int = 0, cwd: Path = _CHECKOUT) -> tuple[str, str]:
        """Runs the converter for Dataflow. Returns its output."""
        return self.run("converter", *self.flags, *flags, status=status, cwd=cwd)

    def run(self, module: str, *words: str, status: int = 0, cwd: Path = _CHECKOUT) -> tuple[str, str]:
        """Runs a program. Returns its output."""
        command = [sys.executable, "-m", module, *words]
        done = subprocess.run(command, env=self.env, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout, done.stderr

    def files(self, folder: str) -> dict[str, bytes]:
        """Returns the objects below a folder of the bucket."""
        start = f"{folder}/"
        return {
            key.removeprefix(start): data for key, data in self.store.objects(_BUCKET).items() if key.startswith(start)
        }


@pytest.fixture(scope="module")
def whole_cloud(tmp_path_factory: pytest.TempPathFactory, server: Server, scenes: Path) -> Iterator[_Cloud]:
    import gcp_storage_emulator.server as emulator

    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    storage = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=_BUCKET)
    storage.start()
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder = tmp_path_factory.mktemp("cloud")
    (folder / "account.json").write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "project-1234",
                "private_key_id": "1",
                "private_key": key.decode(),
                "client_email": "account@project-1234.iam.gserviceaccount.com",
                "token_uri": f"http://127.0.0.1:{web.server_port}/token",
            }
        )
    )
    env = {
        **os.environ,
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage._api._httpd.server_port}",
        "GOOGLE_BASE_URL": f"http://127.0.0.1:{server.port}",
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "account.json"),
    }
    _Handler.service = _Service(folder, dict(env))
    (folder / "launcher").mkdir()
    (folder / "launcher" / "sitecustomize.py").write_text(_LAUNCHER.format(host=_HOST, port=web.server_port))
    flags = [
        f"--csv=gs://{_BUCKET}/labels.csv",
        f"--images=gs://{_BUCKET}/images",
        "--name=scenes",
        "--num_shards=train=3,validation=1",
    ]
    of_beam = [
        "--runner=DataflowRunner",
        "--project=project-1234",
        "--region=us-central1",
        f"--temp_location=gs://{_BUCKET}/tmp",
        f"--dataflow_endpoint=http://{_HOST}",
    ]
    files = {path.relative_to(scenes).as_posix(): path.read_bytes() for path in scenes.rglob("*") if path.is_file()}
    server.put(_BUCKET, files)
    yield _Cloud({**env, "PYTHONPATH": str(folder / "launcher")}, [*flags, *of_beam], of_beam, _Handler.service, server)
    storage.stop()
    storage._api._httpd.server_close()
    web.shutdown()
    web.server_close()


@pytest.fixture
def cloud(whole_cloud: _Cloud) -> Iterator[_Cloud]:
    """A cloud in which nothing fails, and every job is run."""
    yield whole_cloud
    whole_cloud.store.fail()
    whole_cloud.service.refusal, whole_cloud.service.runs = (0, ""), True


def _run(args: list[str], env: Mapping[str, str], cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *args], env=env, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _report(stdout: str, output: str) -> list[str]:
    """Returns the lines of the end report, without the folder of the dataset."""
    lines = stdout.replace(output, "OUTPUT").splitlines()
    return lines[next(i for i, line in enumerate(lines) if "OUTPUT" in line) :]


def test_a_job_gives_the_bytes_and_the_report_of_a_conversion_on_this_machine(
    cloud: _Cloud, scenes: Path, tmp_path: Path
) -> None:
    flags = [f"--csv={scenes}/labels.csv", f"--images={scenes}/images", f"--output={tmp_path}/out", "--name=scenes"]
    local = _run(["-m", "converter", *flags, "--num_shards=train=3,validation=1"], cloud.env, _CHECKOUT)
    stdout, _ = cloud.convert(f"--output=gs://{_BUCKET}/out")
    job = cloud.service.last
    assert cloud.service.attempts[job] == 1
    address = f"https://console.cloud.google.com/dataflow/jobs/us-central1/{job}?project=project-1234"
    cancel = f"gcloud dataflow jobs cancel {job} --project=project-1234 --region=us-central1"
    assert address in stdout
    assert cancel in stdout
    assert "24 of 24 images, 0 rows rejected" in stdout
    assert _report(stdout, f"gs://{_BUCKET}/out") == _report(local, f"{tmp_path}/out")
    folder = tmp_path / "out/scenes/1.0.0"
    here = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    there = cloud.files("out/scenes/1.0.0")
    assert there.keys() == here.keys()
    # The time of an image is another one in the bucket.
    same = {name for name in here if name != "conversion.json" and not name.startswith("made_from/")}
    assert {name: there[name] for name in same} == {name: here[name] for name in same}
    assert not cloud.files("out/scenes/1.0.0.incomplete")


@pytest.mark.extended
def test_predictions_of_a_job_are_those_of_this_machine(
    cloud: _Cloud, dataset: Path, scenes: Path, tmp_path: Path
) -> None:
    config = TrainConfig(data=(str(dataset),), output=str(tmp_path / "run"), image_size=16, epochs=1, batch_size=8)
    train.train_and_evaluate(config)
    run = f"--run={tmp_path}/run"
    predict.main(*predict._parse(["predict", run, f"--output={tmp_path}/here.csv", f"{scenes}/images"]))
    words = [run, f"--output={tmp_path}/there.csv", f"gs://{_BUCKET}/images", *cloud.of_beam]
    said, _ = cloud.run("trainer.predict", *words)
    assert cloud.service.attempts[cloud.service.last] == 1
    assert "In its graph, WriteRows counts finished parts." in said
    expected = (tmp_path / "here.csv").read_bytes().replace(bytes(scenes / "images"), f"gs://{_BUCKET}/images".encode())
    assert (tmp_path / "there.csv").read_bytes() == expected
    # The parts were in the folder for temporary files, since workers cannot write to this machine.
    assert not [key for key in cloud.store.objects(_BUCKET) if "there.csv" in key]


def test_a_mistake_in_the_table_is_one_sentence_and_is_not_tried_again(cloud: _Cloud) -> None:
    # Behind the rows that the launcher reads.
    before = len(cloud.service.jobs)
    content = b"file,sea,desert\n" + b"0.jpg,1,0\n" * 2000 + b'1.jpg,1,0\n"2.jpg,0,1\n'
    cloud.store.put(_BUCKET, {"broken.csv": content})
    flags = [f"--csv=gs://{_BUCKET}/broken.csv", f"--output=gs://{_BUCKET}/broken"]
    _, stderr = cloud.convert(*flags, status=1)
    assert len(cloud.service.jobs) == before + 1
    assert cloud.service.attempts[cloud.service.last] == 1
    assert f"error: gs://{_BUCKET}/broken.csv line 2003: a quoted cell that starts here is never closed." in stderr
    assert "Traceback" not in stderr
    assert not [name for name in cloud.files("broken") if name.endswith(".tfrecord")]


@pytest.mark.extended
def test_a_store_that_does_not_answer_is_asked_again_by_another_attempt(cloud: _Cloud) -> None:
    # A status that no client takes for one that passes. Both attempts of the job meet it, by libcurl and by obstore.
    cloud.store.fail(Fault(rf"^GET /{_BUCKET}/images/3\.jpg", status=418, times=2 * _ATTEMPTS))
    _, stderr = cloud.convert(f"--output=gs://{_BUCKET}/down", status=1)
    assert cloud.service.attempts[cloud.service.last] == _ATTEMPTS
    (said,) = (line for line in stderr.splitlines() if line.startswith("error: "))
    assert said.startswith(f"error: gs://{_BUCKET}/images/3.jpg cannot be read: the store does not answer as it should")
    assert "Traceback" not in stderr


def test_with_an_image_nothing_is_staged_but_the_job(cloud: _Cloud) -> None:
    cloud.service.runs = False
    image = "europe-docker.pkg.dev/project-1234/images/multihot:1"
    flags = [f"--output=gs://{_BUCKET}/image", f"--sdk_container_image={image}", "--no_wait_until_finish"]
    cloud.store.put(_BUCKET, {"image/scenes/1.0.0.incomplete/failure.json": b"of an earlier job"})
    stdout, _ = cloud.convert(*flags)
    assert not cloud.files("image/scenes/1.0.0.incomplete")
    job = cloud.service.jobs[cloud.service.last]
    pool = job["environment"]["workerPools"][0]
    assert not [name for name in cloud.service.staged(cloud.service.last) if name.endswith((".gz", ".whl"))]
    assert [each["containerImage"] for each in pool["sdkHarnessContainerImages"]] == [image]
    assert "there is no dataset yet" in stdout


def test_an_installed_package_stages_itself_as_a_wheel(cloud: _Cloud, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    _run(
        ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", f"--target={installed}", str(_CHECKOUT)],
        os.environ,
        tmp_path,
    )
    cloud = dataclasses.replace(
        cloud, env={**cloud.env, "PYTHONPATH": f"{cloud.env['PYTHONPATH']}{os.pathsep}{installed}"}
    )
    cloud.service.runs = False
    cloud.convert(f"--output=gs://{_BUCKET}/wheel", "--no_wait_until_finish", cwd=tmp_path)
    staged = cloud.service.staged(cloud.service.last)
    (name,) = (name for name in staged if name.endswith(".whl"))
    assert name.startswith("multihot-")
    (tmp_path / name).write_bytes(staged[name])
    needed = {"converter/job/pipeline.py", "converter/report/templates/report.html.jinja", "schemas/example.py"}
    assert needed <= set(zipfile.ZipFile(tmp_path / name).namelist())
    # pip takes it for a wheel, and for this distribution.
    _run(["-m", "pip", "install", "-q", "--no-deps", f"--target={tmp_path / 'again'}", name], os.environ, tmp_path)
    assert (tmp_path / "again" / "converter" / "job/pipeline.py").exists()


@pytest.mark.parametrize(
    ("fault", "refusal", "flags", "sentence"),
    [
        pytest.param(
            Fault(rf"^PUT /{_BUCKET}/tmp/", status=403),
            (0, ""),
            [],
            f"--temp_location: this account cannot write files to gs://{_BUCKET}/tmp and delete them: the store",
            id="the bucket refuses",
        ),
        pytest.param(
            None,
            (403, "Dataflow API has not been used in project project-1234 before or it is disabled."),
            [],
            "Dataflow refuses access to the jobs of --project=project-1234 in --region=us-central1: Dataflow API",
            id="the service refuses",
        ),
        pytest.param(
            None,
            (0, ""),
            ["--dataflow_endpoint=http://nowhere.invalid"],
            "Dataflow cannot be reached at http://nowhere.invalid: Failed to resolve 'nowhere.invalid'",
            id="no service",
        ),
        pytest.param(
            None,
            (0, ""),
            ["--num_workers=5", "--max_num_workers=2"],
            "Flags of Beam: Pipeline has validations errors: num_workers (5) cannot exceed max_num_workers (2)",
            id="flags of Beam",
        ),
    ],
)
def test_a_job_that_cannot_run_is_one_sentence_before_it_is_submitted(
    cloud: _Cloud, fault: Fault | None, refusal: tuple[int, str], flags: list[str], sentence: str
) -> None:
    before = len(cloud.service.jobs)
    cloud.store.fail(*filter(None, [fault]))
    cloud.service.refusal = refusal
    _, stderr = cloud.convert(f"--output=gs://{_BUCKET}/checked", *flags, status=1)
    (said,) = (line for line in stderr.splitlines() if line.startswith("error: "))
    assert said.startswith(f"error: {sentence}")
    assert "Traceback" not in stderr
    assert len(cloud.service.jobs) == before


_READ_PARTS = """
import io, sys
import pyarrow as pa
import pyarrow.parquet as pq
from multihot import storage
from converter.table import header, rows, tables
from converter.options import ConvertOptions

folder = sys.argv[1]
for i in range(2):
    storage.write(f"{folder}/{i}.csv", f"file,sea\\n{i}.jpg,1\\n")
    file = io.BytesIO()
    pq.write_table(pa.table({"file": [f"{i}.jpg"], "sea": [1]}), file)
    storage.write(f"{folder}/{i}.parquet", file.getvalue())
for ending in ("csv", "parquet"):
    options = ConvertOptions(csv=f"{folder}/*.{ending}", images="images", output="data")
    for one in tables.read_tables(options):
        print(*(f"{row.csv}:{row.line}:{row.filename}" for row in rows.read_rows(options, one)))
"""


def test_parts_of_a_csv_and_parquet_are_read_from_a_bucket(cloud: _Cloud) -> None:
    folder = f"gs://{_BUCKET}/parts"
    lines = _run(["-c", _READ_PARTS, folder], cloud.env, _CHECKOUT).splitlines()
    assert lines == [
        f"{folder}/0.csv:2:0.jpg",
        f"{folder}/1.csv:2:1.jpg",
        f"{folder}/0.parquet:1:0.jpg",
        f"{folder}/1.parquet:1:1.jpg",
    ]


_FIND = f"""
import pathlib, sys
from converter.dataset import examples
from multihot import storage
from schemas import metadata
folder, filename = sys.argv[1:]
for file in storage.list_files(folder):
    storage.write("gs://{_BUCKET}/find/" + file.name, pathlib.Path(file.path).read_bytes())
info = metadata.load(folder)
assert list(examples.find("gs://{_BUCKET}/find", info, filename)) == list(examples.find(folder, info, filename))
print(*(one.example.filename for one in examples.find("gs://{_BUCKET}/find", info, filename)))
"""


@pytest.mark.parametrize("filename", ["바다.jpg", "none.jpg"])
def test_an_example_in_a_bucket_is_found_by_its_name(filename: str, dataset: Path, cloud: _Cloud) -> None:
    found = _run(["-c", _FIND, str(dataset), filename], cloud.env, _CHECKOUT)
    assert found == ("" if filename == "none.jpg" else filename) + "\n"
