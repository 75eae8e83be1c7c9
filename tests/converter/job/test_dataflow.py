"""A job for Dataflow: described, staged, and what was staged run in a place where there is no checkout.

Google Cloud Storage is two emulators on this machine: one for what Beam stages, by the JSON protocol of Google,
and one for what we read and write. The job is written to a template file instead of being submitted.
"""

import http.server
import json
import logging
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from schemas import metadata
from store_server import Server

pytest.importorskip("google.cloud.storage", reason="needs the extra `gcp`")
pytestmark = pytest.mark.slow

_CHECKOUT = Path(__file__).parents[3]
_BUCKET = "bucket-name"

# Runs a staged pipeline in this process, as a worker that has only what was staged.
_REPLAY = """
import sys
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

proto = beam_runner_api_pb2.Pipeline.FromString(open(sys.argv[1], "rb").read())
for environment in proto.components.environments.values():
    environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
FnApiRunner().run_via_runner_api(proto, PipelineOptions([]))
import converter
print(converter.__file__)
"""


class _Tokens(http.server.BaseHTTPRequestHandler):
    """Gives anyone a token: the emulator takes all of them."""

    def do_POST(self) -> None:
        body = json.dumps({"access_token": "token", "token_type": "Bearer", "expires_in": 3600}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Mapping[str, str]]:
    """The environment variables with which Google's clients talk to this machine."""
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    tokens = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    threading.Thread(target=tokens.serve_forever, daemon=True).start()
    storage = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=_BUCKET)
    storage.start()
    port = storage._api._httpd.server_port
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = tmp_path_factory.mktemp("account") / "account.json"
    account.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "project-1234",
                "private_key_id": "1",
                "private_key": key.decode(),
                "client_email": "account@project-1234.iam.gserviceaccount.com",
                "token_uri": f"http://127.0.0.1:{tokens.server_port}/token",
            }
        )
    )
    yield {
        **os.environ,
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "GOOGLE_BASE_URL": f"http://127.0.0.1:{server.port}",
        "GOOGLE_APPLICATION_CREDENTIALS": str(account),
    }
    storage.stop()
    storage._api._httpd.server_close()
    tokens.shutdown()
    tokens.server_close()


def _run(args: list[str], env: Mapping[str, str], cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *args], env=env, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _describe(scenes: Path, output: str, template: Path, env: Mapping[str, str], cwd: Path) -> None:
    flags = [
        f"--csv={scenes}/labels.csv",
        f"--images={scenes}/images",
        f"--output={output}",
        f"--template_location={template}",
    ]
    dataflow = ["--runner=DataflowRunner", "--project=project-1234", "--region=us-central1"]
    stdout = _run(["-m", "converter", *flags, *dataflow, f"--temp_location=gs://{_BUCKET}/{template.stem}"], env, cwd)
    assert "no dataset yet" in stdout


def _staged(folder: str, target: Path, env: Mapping[str, str]) -> list[Path]:
    """Downloads what a job staged."""
    script = (
        "import sys, pathlib\n"
        "from apache_beam.io.filesystems import FileSystems\n"
        f"for file in FileSystems.match(['gs://{_BUCKET}/{folder}/**'])[0].metadata_list:\n"
        "    data = FileSystems.open(file.path, compression_type='uncompressed').read()\n"
        "    (pathlib.Path(sys.argv[1]) / file.path.rsplit('/', 1)[1]).write_bytes(data)\n"
    )
    target.mkdir()
    _run(["-c", script, str(target)], env, target)
    return sorted(target.iterdir())


def test_what_a_checkout_stages_converts_where_there_is_no_checkout(
    cloud: Mapping[str, str], scenes: Path, tmp_path: Path
) -> None:
    template = tmp_path / "checkout.json"
    _describe(scenes, str(tmp_path / "out"), template, cloud, _CHECKOUT)
    job = json.loads(template.read_text())
    assert {package["name"] for package in job["environment"]["workerPools"][0]["packages"]} >= {"workflow.tar.gz"}
    staged = _staged("checkout", tmp_path / "staged", cloud)
    package = next(path for path in staged if path.name == "workflow.tar.gz")
    worker = tmp_path / "worker"
    _run(
        ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", f"--target={worker}", str(package)],
        os.environ,
        tmp_path,
    )
    replayed = _run(
        ["-c", _REPLAY, str(tmp_path / "staged" / "pipeline.pb")],
        {**os.environ, "PYTHONPATH": str(worker)},
        tmp_path,
    )
    assert replayed.strip() == str(worker / "converter" / "__init__.py")
    assert metadata.load(str(tmp_path / "out" / "dataset" / "1.0.0")).num_examples > 0


def test_an_installed_package_stages_itself_as_a_wheel(cloud: Mapping[str, str], scenes: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    _run(
        ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", f"--target={installed}", str(_CHECKOUT)],
        os.environ,
        tmp_path,
    )
    env = {**cloud, "PYTHONPATH": str(installed)}
    _describe(scenes, str(tmp_path / "out"), tmp_path / "installed.json", env, tmp_path)
    staged = _staged("installed", tmp_path / "staged", cloud)
    wheel = next(path for path in staged if path.suffix == ".whl")
    assert wheel.name.startswith("multihot-")
    needed = {"converter/job/pipeline.py", "converter/report/templates/report.html.jinja", "schemas/example.py"}
    assert needed <= set(zipfile.ZipFile(wheel).namelist())
    # pip takes it for a wheel, and for this distribution.
    _run(
        ["-m", "pip", "install", "-q", "--no-deps", f"--target={tmp_path / 'again'}", str(wheel)], os.environ, tmp_path
    )
    assert (tmp_path / "again" / "converter" / "job/pipeline.py").exists()


def test_a_dataset_in_an_object_store_is_complete(
    cloud: Mapping[str, str], server: Server, scenes: Path, tmp_path: Path
) -> None:
    flags = [f"--csv={scenes}/labels.csv", f"--images={scenes}/images", "--project=project-1234"]
    _run(["-m", "converter", *flags, f"--output={tmp_path}"], cloud, _CHECKOUT)
    for overwrite in ("--nooverwrite", "--overwrite"):
        _run(["-m", "converter", *flags, f"--output=gs://{_BUCKET}/out", overwrite], cloud, _CHECKOUT)
    folder = tmp_path / "dataset/1.0.0"
    here = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    prefix = "out/dataset/1.0.0/"
    objects = server.objects(_BUCKET)
    there = {key.removeprefix(prefix): content for key, content in objects.items() if key.startswith("out/")}
    assert there.keys() == here.keys()
    for name, path in here.items():
        if name != "conversion.json":
            assert there[name] == path.read_bytes(), name


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


def test_parts_of_a_csv_and_parquet_are_read_from_a_bucket(cloud: Mapping[str, str]) -> None:
    folder = f"gs://{_BUCKET}/parts"
    lines = _run(["-c", _READ_PARTS, folder], cloud, _CHECKOUT).splitlines()
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
def test_an_example_in_a_bucket_is_found_by_its_name(filename: str, dataset: Path, cloud: Mapping[str, str]) -> None:
    found = _run(["-c", _FIND, str(dataset), filename], cloud, _CHECKOUT)
    assert found == ("" if filename == "none.jpg" else filename) + "\n"
