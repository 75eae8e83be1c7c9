"""Shared by the tests of jobs."""

from pathlib import Path

import pytest

from store_server import Server


@pytest.fixture
def scenes_in_store(bucket: str, server: Server, scenes: Path) -> str:
    """Returns the URL of a bucket that holds `scenes`."""
    files = (path for path in scenes.rglob("*") if path.is_file())
    server.put("bucket", {path.relative_to(scenes).as_posix(): path.read_bytes() for path in files})
    return bucket
