"""Shared by the tests of stores: buckets of a store in a process of its own (tests/conftest.py)."""

import datetime
from collections.abc import Iterator

import pytest

import buckets
from buckets import Bucket
from multihot.storage import connections, objects
from store_server import Server


@pytest.fixture(params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Returns an empty bucket, which clients find."""
    buckets.use(server, monkeypatch)
    scheme = request.param
    found = Bucket(f"{scheme}://{scheme}-bucket", f"{scheme}-bucket", server)
    yield found
    server.fail()
    server.set_latency(0)
    found.clear()
    buckets.forget()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets requests stall for a moment and fail after few attempts."""
    monkeypatch.setattr(connections, "_CLIENT", {**connections._CLIENT, "read_timeout": "0.3s", "timeout": "20s"})
    moment = datetime.timedelta(milliseconds=10)
    backoff = {"init_backoff": moment, "max_backoff": moment, "base": 2}
    monkeypatch.setattr(connections, "_RETRY", {**connections._RETRY, "max_retries": 2, "backoff": backoff})
    monkeypatch.setattr(objects, "_PAUSES", (0.01, 0.01))
    buckets.forget()
