"""Objects are read ahead of their use: by libcurl, and by the client of their store where libcurl fails or may not."""

import functools
import gc
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import buckets
from buckets import Bucket
from multihot import storage
from multihot.storage import File, StoreError, ahead, objects, signing, transfers
from store_server import Fault


def _read_ahead(
    bucket: Bucket, names: list[str], max_bytes: int = 1000, sizes: int = 5
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield from ahead.read(names, lambda name: File(name, f"{bucket.url}/{name}", sizes), max_bytes)


@pytest.fixture(params=["libcurl", "client"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lets libcurl read objects, or the client of their store."""
    transfers._driver.cache_clear()
    if request.param == "client":
        monkeypatch.setattr(ahead, "_transfers", lambda: None)
    return str(request.param)


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every read fail that libcurl does not do."""

    def read(path: str, max_bytes: int) -> bytes:
        raise AssertionError(path)

    transfers._driver.cache_clear()
    monkeypatch.setattr(objects, "read", read)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> ahead._Window:
    window = ahead._Window()
    monkeypatch.setattr(ahead, "_window", window)
    return window


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 300])
@pytest.mark.usefixtures("window", "way")
def test_reads_every_item_once_and_in_order(bucket: Bucket, count: int) -> None:
    content = {f"a/{number}": f"{number}".encode() for number in range(count)}
    bucket.server.put(bucket.name, content)
    bucket.server.requests()
    assert [(name, load()) for name, load in _read_ahead(bucket, list(content))] == list(content.items())
    assert bucket.server.requests()["GET"] == count


@pytest.mark.usefixtures("way")
def test_more_requests_are_under_way_if_a_store_takes_longer(bucket: Bucket, window: ahead._Window) -> None:
    names = [f"a/{number}" for number in range(800)]
    bucket.put(*names)
    bucket.server.set_latency(0.05)
    begin = time.monotonic()
    assert all(load() == b"image" for _, load in _read_ahead(bucket, names))
    # One after another they take 40 seconds, and eight at a time 5 seconds.
    assert time.monotonic() - begin < 4
    assert window.size > 16


@pytest.mark.usefixtures("way")
def test_no_more_requests_are_under_way_if_nobody_waits(bucket: Bucket, window: ahead._Window) -> None:
    names = [f"a/{number}" for number in range(12)]
    bucket.put(*names)
    # Only the first of a sequence are waited for, since they have just been asked for.
    for _ in range(3):
        for _, load in _read_ahead(bucket, names):
            assert load() == b"image"
            time.sleep(0.02)
    assert window.size == 8


@pytest.mark.usefixtures("window")
def test_large_files_are_read_a_few_at_a_time(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_HELD_BYTES", 35)
    under_way: list[str] = []

    def begin(paths: list[str], max_bytes: int) -> list[Future[bytes]]:
        under_way.extend(paths)
        contents: list[Future[bytes]] = [Future() for _ in paths]
        for content in contents:
            content.set_result(b"0123456789")
        return contents

    monkeypatch.setattr(ahead, "_begin", begin)
    names = [f"a/{number}" for number in range(20)]
    for number, (_, load) in enumerate(_read_ahead(bucket, names, sizes=10)):
        assert load() == b"0123456789"
        assert len(under_way) <= number + 4
    # A file that is larger than everything is read alone.
    assert [load() for _, load in _read_ahead(bucket, names[:3], sizes=1000)] == [b"0123456789"] * 3


@pytest.mark.usefixtures("window", "way")
def test_an_error_is_that_of_its_item(bucket: Bucket) -> None:
    bucket.put(*(f"a/{number}" for number in range(20)))
    bucket.put("a/5", content=bytes(2000))
    bucket.server.delete(bucket.name, "a/6")
    bucket.server.fail(Fault(r"/a/7($|\?)", status=403, times=10))
    found: dict[str, object] = {}
    for name, load in _read_ahead(bucket, [f"a/{number}" for number in range(20)]):
        try:
            found[name] = load()
        except OSError as error:
            found[name] = type(error)
    assert found == {f"a/{number}": b"image" for number in range(20)} | {
        "a/5": storage.FileTooLargeError,
        "a/6": FileNotFoundError,
        "a/7": StoreError,
    }


@pytest.mark.usefixtures("window")
def test_nothing_more_is_read_when_nobody_asks_for_it(
    bucket: Bucket, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "MOST", 2)
    monkeypatch.setattr(ahead, "_threads", functools.cache(lambda: ThreadPoolExecutor(2)))
    names = [f"a/{number}" for number in range(100)]
    bucket.put(*names)
    bucket.server.requests()
    bucket.server.set_latency(0.1)
    reading = _read_ahead(bucket, names)
    name, load = next(reading)
    assert (name, load()) == ("a/0", b"image")
    begin = time.monotonic()
    reading.close()  # type: ignore[attr-defined]
    # The two that are under way, and not the six that wait for a thread.
    assert time.monotonic() - begin < 0.25
    ahead._threads().shutdown()
    assert bucket.server.requests()["GET"] <= 4


@pytest.mark.parametrize("way", ["client"], indirect=True)
@pytest.mark.usefixtures("window", "way")
def test_threads_are_not_started_for_each_sequence(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"a/{number}" for number in range(20)]
    bucket.put(*names)
    bucket.server.set_latency(0.02)
    monkeypatch.setattr(ahead._Window, "grow", lambda self: None)
    started: list[str] = []
    start = threading.Thread.start

    def noted(self: threading.Thread) -> None:
        started.append(self.name)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", noted)
    for _ in range(5):
        assert all(load() == b"image" for _, load in _read_ahead(bucket, names))
    # Eight requests are under way at a time. A thread may not be seen to be idle in the moment after its request.
    assert sum(name.startswith("read-ahead") for name in started) <= 16


@pytest.mark.usefixtures("window", "no_client")
def test_libcurl_reads_all_that_is_there(bucket: Bucket) -> None:
    """Whatever the names. TensorFlow, which has a libcurl of its own, is in this process too (conftest.py)."""
    assert "tensorflow" in sys.modules
    content = {name: name.encode() for name in (*buckets.NAMES, *(f"a/{number}" for number in range(300)))}
    bucket.server.put(bucket.name, {**content, "empty": b"", "large": bytes(1_000_000)})
    bucket.server.requests()
    assert [(name, load()) for name, load in _read_ahead(bucket, list(content))] == list(content.items())
    read = [load() for _, load in _read_ahead(bucket, ["empty", "large"], max_bytes=1_000_000)]
    assert read == [b"", bytes(1_000_000)]
    assert bucket.server.requests()["GET"] == len(content) + 2


@pytest.mark.slow
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_tensorflow_may_be_imported_later(bucket: Bucket) -> None:
    """It shows its own libcurl to the whole process. Here it is imported first, and in this test last."""
    bucket.put("a/1")
    code = f"""
import multihot.storage.transfers, tensorflow
from multihot.storage import File, ahead, objects
objects.read = None
(content,) = [load() for _, load in ahead.read([File("1", "{bucket.url}/a/1", 5)], lambda file: file, 10)]
assert content == b"image"
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", buckets.KINDS)
@pytest.mark.usefixtures("window", "impatient")
def test_the_client_reads_what_libcurl_does_not_get(bucket: Bucket, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transfers._driver.cache_clear()
    monkeypatch.setattr(transfers, "_STALLED_SECONDS", 1)
    names = [f"a/{number}" for number in range(20)]
    bucket.put(*names)
    bucket.server.fail(Fault("/a/[37]$|/a/[37][?]", kind, times=2))
    assert all(load() == b"image" for _, load in _read_ahead(bucket, names))
    assert transfers.work()


@pytest.mark.parametrize("url", ["http://ü", "http://a\0b", "nothing://a", "http://127.0.0.1:1/a", ""])
def test_what_libcurl_does_not_take_is_handed_on(url: str) -> None:
    """A content that nobody sets would be waited for without end."""
    transfers._driver.cache_clear()
    content: Future[bytes] = Future()
    transfers.begin([transfers.Transfer(signing.Request(url), lambda it: it.set_result(b"other"), content)], 10)
    assert content.result(timeout=60) == b"other"


def test_idle_handles_keep_no_content(bucket: Bucket) -> None:
    transfers._driver.cache_clear()
    bucket.put("a", content=bytes(1_000_000))
    tracemalloc.start()
    assert [len(load()) for _, load in _read_ahead(bucket, ["a"] * 8, max_bytes=1_000_000)] == [1_000_000] * 8
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
@pytest.mark.usefixtures("window", "impatient")
def test_libcurl_is_left_for_a_while_by_a_store_that_refuses_it(bucket: Bucket) -> None:
    """A store may want signatures in headers, and not in URLs."""
    transfers._driver.cache_clear()
    names = [f"a/{number}" for number in range(200)]
    bucket.put(*names)
    bucket.server.fail(Fault("X-Amz-Signature", status=403, times=10_000))
    bucket.server.requests()
    assert all(load() == b"image" for _, load in _read_ahead(bucket, names))
    assert not transfers.work()
    # Those that were under way when it was seen, besides the 200.
    assert bucket.server.requests()["GET"] < 300
    bucket.server.fail()
    transfers._driver().resumes = 0.0
    assert transfers.work()


# Requests without the client.

_URLS = ["s3://bucket/a/1", "s3://bucket/a/2"]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Leaves nothing of stores in the environment."""
    buckets.leave_out(monkeypatch)
    return monkeypatch


@pytest.mark.parametrize(
    "url, variables",
    [
        ("s3://bucket/a", {"AWS_SKIP_SIGNATURE": "true"}),
        # Nothing says that there are credentials, and here is no machine of a cloud.
        ("s3://bucket/a", {}),
        ("s3://bucket/a//b", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}),
        ("gs://bucket/a", {"GOOGLE_SERVICE_ACCOUNT": "/nowhere.json"}),
        ("gs://bucket/a", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}),
        ("az://container/a", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_CLIENT_ID": "b"}),
    ],
)
def test_some_objects_are_for_the_client_alone(plain: pytest.MonkeyPatch, url: str, variables: dict[str, str]) -> None:
    # An address that is for documentation, and that nobody has.
    plain.setattr("multihot.storage.connections._METADATA", ("192.0.2.1", 80))
    plain.setattr("multihot.storage.connections._METADATA_SECONDS", 0.1)
    plain.setattr("multihot.storage.connections._has_boto3", lambda: False)
    for name, value in variables.items():
        plain.setenv(name, value)
    assert signing.requests([url]) is None


def test_objects_of_two_buckets_are_for_the_client(plain: pytest.MonkeyPatch) -> None:
    plain.setenv("AWS_ACCESS_KEY_ID", "a")
    plain.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert signing.requests([*_URLS, "s3://bucket2/a"]) is None
    requests = signing.requests(_URLS)
    assert requests
    assert [request.url.split("?")[0].rpartition("/a/")[2] for request in requests] == ["1", "2"]
    assert all("X-Amz-Signature=" in request.url for request in requests)


def test_objects_of_google_have_the_token_of_its_libraries(plain: pytest.MonkeyPatch) -> None:
    auth = pytest.importorskip("google.oauth2.credentials", reason="google-auth is not installed")
    plain.setattr(signing, "_google_credentials", lambda: auth.Credentials("secret"))
    plain.setenv("GOOGLE_APPLICATION_CREDENTIALS", "somewhere.json")
    (request,) = signing.requests(["gs://bucket/a b/ü.jpg"]) or []
    assert request.url == "https://storage.googleapis.com/bucket/a%20b/%C3%BC.jpg"
    assert request.headers == ("Authorization: Bearer secret",)


def test_a_public_bucket_of_google_needs_no_token(plain: pytest.MonkeyPatch) -> None:
    plain.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    assert signing.requests(["gs://bucket/a"]) == [signing.Request("https://storage.googleapis.com/bucket/a")]


def test_a_container_of_azure_is_read_with_its_key(plain: pytest.MonkeyPatch) -> None:
    plain.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    plain.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    (request,) = signing.requests(["az://container/a/1"]) or []
    assert request.url.startswith("https://account.blob.core.windows.net/container/a/1?")
    assert "sig=" in request.url
