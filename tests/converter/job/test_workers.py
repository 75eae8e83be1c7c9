"""A worker that may not write files ends a job before it reads images."""

from collections.abc import Callable

import pytest

from multihot.errors import UserError
from store_server import Fault, Server


def test_what_a_worker_may_not_do_ends_a_job_before_it_reads_images(
    scenes_in_store: str, server: Server, convert: Callable[..., object]
) -> None:
    paths = {"csv": f"{scenes_in_store}/labels.csv", "images": f"{scenes_in_store}/images"}
    server.fail(Fault(r"^PUT /bucket/out/.*/check-", status=403, times=9))
    server.requests()
    with pytest.raises(
        UserError, match=r"^A worker cannot write files to \w+://bucket/out/scenes/1\.0\.0\.incomplete and"
    ):
        convert(output=f"{scenes_in_store}/out", **paths)
    assert server.requests()["GET"] < 24  # As many as there are images.
    assert not [key for key in server.objects("bucket") if key.endswith(".tfrecord")]
