"""Emulators that others have written agree with what the storage does: moto for s3://, and Azurite for az://."""

import base64
import contextlib
import errno
import hashlib
import hmac
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

import pytest

import ports
from multihot import storage
from multihot.storage import StoreError, connections, listing, objects

pytestmark = pytest.mark.slow

# The account of Azurite and its key, which are the same everywhere.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class _Emulator(NamedTuple):
    """How an emulator is installed, started and found.

    Attributes:
        scheme: of its URLs.
        install: the command that installs it.
        command: that starts it, from a port and a folder.
        environment: with which clients find it, from its address.
        make: makes a bucket, from its address and the name.
    """

    scheme: str
    install: str
    command: Callable[[int, Path], list[str]]
    environment: Callable[[str], Mapping[str, str]]
    make: Callable[[str, str], None]


def _make_bucket(address: str, name: str) -> None:
    _put(f"{address}/{name}", {})


def _make_container(address: str, name: str) -> None:
    stated = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = ["PUT", *[""] * 11, *(f"{key}:{value}" for key, value in stated.items())]
    lines += [f"/{_ACCOUNT}/{_ACCOUNT}/{name}", "restype:container"]
    digest = hmac.digest(base64.b64decode(_KEY), "\n".join(lines).encode(), hashlib.sha256)
    signature = base64.b64encode(digest).decode()
    authorization = f"SharedKey {_ACCOUNT}:{signature}"
    _put(f"{address}/{_ACCOUNT}/{name}?restype=container", {**stated, "Authorization": authorization})


def _put(url: str, headers: Mapping[str, str]) -> None:
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=dict(headers))).close()


_EMULATORS = {
    "moto": _Emulator(
        "s3",
        "pip install 'moto[server]'",
        lambda port, folder: ["moto_server", "-H", "127.0.0.1", "-p", str(port)],
        lambda address: {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        },
        _make_bucket,
    ),
    "azurite": _Emulator(
        "az",
        "npm install --global azurite",
        lambda port, folder: ["azurite-blob", "--blobPort", str(port), "--location", str(folder), "--silent"],
        lambda address: {
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
            "AZURITE_BLOB_STORAGE_URL": address,
        },
        _make_container,
    ),
}


@pytest.fixture(scope="module", params=_EMULATORS)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Starts an emulator, and returns its name and its address."""
    emulator = _EMULATORS[request.param]
    port = ports.free()
    command = emulator.command(port, tmp_path_factory.mktemp("emulator"))
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not there; {emulator.install}")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(process, port)
            yield request.param, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    pytest.fail(f"{process.args!r} does not start")


@pytest.fixture
def bucket(address: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Returns the URL of a new bucket."""
    name, url = address
    emulator = _EMULATORS[name]
    for variable in os.environ:
        if variable.startswith(("AWS_", "AZURE_")):
            monkeypatch.delenv(variable)
    for variable, value in emulator.environment(url).items():
        monkeypatch.setenv(variable, value)
    _forget()
    new = f"b{uuid.uuid4().hex}"
    emulator.make(url, new)
    yield f"{emulator.scheme}://{new}"
    _forget()


def _forget() -> None:
    connections.bucket.cache_clear()
    connections.check_credentials.cache_clear()


def _names(folder: str) -> list[str]:
    return [file.name for file in storage.list_files(folder)]


@pytest.mark.parametrize(
    "name",
    [
        "with space.jpg",
        "[1]*?.jpg",
        "바다.jpg",
        "e\u0301te\u0301.jpg",
        "%20",
        "a+b&c=d",
        "#~!$(x),;@:",
        "'a' \"b\"",
        "<a>&amp;",
    ],
)
def test_names_of_all_kinds(bucket: str, name: str) -> None:
    storage.write(f"{bucket}/a/{name}", b"image")
    (file,) = storage.list_files(f"{bucket}/a")
    assert (file.name, file.path, file.size) == (name, f"{bucket}/a/{name}", 5)
    assert storage.read(file.path) == b"image"
    assert storage.size(file.path) == 5
    storage.move(file.path, f"{bucket}/b/{name}")
    assert _names(bucket) == [f"b/{name}"]
    storage.delete(f"{bucket}/b/{name}")
    assert _names(bucket) == []


def test_listings(bucket: str) -> None:
    before = time.time_ns()
    storage.write(f"{bucket}/a/1.jpg", b"1")
    storage.write(f"{bucket}/a/b/2.jpg", b"22")
    storage.write(f"{bucket}/a/empty", b"")
    storage.write(f"{bucket}/ab/3.jpg", b"333")
    found = sorted(storage.list_files(f"{bucket}/a"))
    assert [(file.name, file.size) for file in found] == [("1.jpg", 1), ("b/2.jpg", 2), ("empty", 0)]
    # Some stores say seconds.
    assert all(before - 1_000_000_000 <= file.modified <= time.time_ns() + 1_000_000_000 for file in found)
    assert listing.list_folders(bucket) == ["a", "ab"]
    assert storage.match(f"{bucket}/**/*.jpg") == [f"{bucket}/{name}" for name in ("a/1.jpg", "a/b/2.jpg", "ab/3.jpg")]
    assert [storage.exists(f"{bucket}/{name}") for name in ("a/1.jpg", "a/empty", "a", "c")] == [
        True,
        True,
        False,
        False,
    ]


def test_many_objects(bucket: str) -> None:
    names = [f"a/{number:04}" for number in range(1100)]
    with storage.in_parallel(bucket) as executor:
        list(executor.map(lambda name: storage.write(f"{bucket}/{name}", b""), names))
    assert _names(bucket) == names
    storage.keep_only(f"{bucket}/a", ["0500"])
    assert _names(bucket) == ["a/0500"]
    storage.delete(f"{bucket}/a")
    assert _names(bucket) == []


@pytest.mark.parametrize("size", [0, 1, 20_000_001])
def test_writing_and_reading(bucket: str, size: int) -> None:
    content = random.Random(size).randbytes(size)
    with storage.create(f"{bucket}/a") as file:
        for start in range(0, size, 3_000_000):
            file.write(content[start : start + 3_000_000])
        assert not storage.exists(f"{bucket}/a")
    assert storage.read(f"{bucket}/a") == content
    with storage.open_binary(f"{bucket}/a") as file:
        assert file.read() == content
        for start in (size // 2, 0, max(0, size - 100)):
            file.seek(start)
            assert file.read(70_000) == content[start : start + 70_000]
    with pytest.raises(ZeroDivisionError), storage.create(f"{bucket}/b") as file:
        file.write(content)
        _ = 1 / 0
    assert _names(bucket) == ["a"]


def test_reading_what_is_too_large_missing_or_replaced(bucket: str) -> None:
    content = bytes(200_000)
    storage.write(f"{bucket}/a", content)
    with pytest.raises(storage.FileTooLargeError):
        storage.read(f"{bucket}/a", 199_999)
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        storage.read(f"{bucket}/b")
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        storage.open_binary(f"{bucket}/b")
    with storage.open_binary(f"{bucket}/a") as file:
        assert file.read(1) == b"\0"
        storage.write(f"{bucket}/a", content + b"more")
        with pytest.raises(StoreError, match="the object was replaced while it was read") as caught:
            file.read()
    assert caught.value.errno == errno.ESTALE


def test_copies_and_deletions_are_of_literal_names(bucket: str) -> None:
    storage.write(f"{bucket}/exp[1]/a", b"1")
    storage.write(f"{bucket}/exp1/a", b"2")
    storage.link([(f"{bucket}/exp[1]/a", f"{bucket}/exp[1]/b"), (f"{bucket}/exp1/a", f"{bucket}/c d")])
    assert (storage.read(f"{bucket}/exp[1]/b"), storage.read(f"{bucket}/c d")) == (b"1", b"2")
    storage.delete(f"{bucket}/exp[1]")
    storage.delete(f"{bucket}/nothing")
    objects.delete([f"{bucket}/gone", f"{bucket}/c d", f"{bucket}/gone too"])
    assert _names(bucket) == ["exp1/a"]
    with pytest.raises(FileNotFoundError):
        storage.link([(f"{bucket}/missing", f"{bucket}/x")])


def test_a_version_is_replaced_by_the_one_who_knows_it(bucket: str) -> None:
    path = f"{bucket}/claim"
    assert objects.read_version(path) is None
    first = objects.replace_version(path, b"1", None)
    assert first
    assert objects.read_version(path) == (b"1", first)
    assert objects.replace_version(path, b"2", None) is None
    second = objects.replace_version(path, b"2", first)
    assert second
    assert objects.replace_version(path, b"3", first) is None
    assert storage.read(path) == b"2"
    storage.delete(path)
    assert objects.replace_version(path, b"3", second) is None
    assert _names(bucket) == []


def test_a_bucket_that_is_missing_is_a_sentence(bucket: str) -> None:
    missing = f"{bucket}missing"
    calls: list[Callable[[], object]] = [
        lambda: storage.read(f"{missing}/a"),
        lambda: list(storage.list_files(f"{missing}/a")),
        lambda: listing.list_folders(missing),
        lambda: storage.write(f"{missing}/a", b"1"),
        lambda: storage.link([(f"{missing}/a", f"{missing}/b")]),
        lambda: objects.replace_version(f"{missing}/a", b"1", None),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="there is no such bucket: ") as caught:
            call()
        assert "\n" not in str(caught.value)
        assert "Generic" not in str(caught.value)
