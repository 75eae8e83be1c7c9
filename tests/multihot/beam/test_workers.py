"""The checks on a worker before its work: its code, and its rights to read and write."""

import shutil
from pathlib import Path

import pytest

import schemas
from multihot.beam import workers
from multihot.errors import UserError
from store_server import Fault, Server

_PACKAGE = Path(schemas.__file__).parent


def test_a_worker_with_other_code_is_one_sentence(tmp_path: Path) -> None:
    workers.check(str(tmp_path), workers.version("converter"), "converter")
    with pytest.raises(UserError, match=r"^The workers have multihot .* and the job was submitted by multihot 0\.1 "):
        workers.check(str(tmp_path), "multihot 0.1 (0123) on Beam 2.0", "converter")


def test_the_digest_of_the_code_is_the_same_wherever_it_is_installed(tmp_path: Path) -> None:
    here = workers.digest(_PACKAGE)
    copied = tmp_path / "schemas"
    shutil.copytree(_PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    # These are not installed.
    (copied / "notes").mkdir()
    (copied / "notes" / "x.py").write_text("x = 1")
    (copied / "notes.txt").write_text("x")
    assert workers.digest(copied) == here
    with (copied / "layout.py").open("a") as file:
        file.write("\n")
    assert workers.digest(copied) != here


def test_a_worker_that_may_not_read_images_is_one_sentence(bucket: str, server: Server) -> None:
    server.put("bucket", {"images/a.jpg": b"image", "images/empty.jpg": b""})
    for name in ("a.jpg", "empty.jpg", "gone.jpg"):
        workers.check_readable(f"{bucket}/images/{name}")
    server.fail(Fault(r"^GET /bucket/images/a\.jpg", status=403, times=9))
    with pytest.raises(UserError, match=f"^A worker cannot read {bucket}/images/a.jpg: the store refuses access"):
        workers.check_readable(f"{bucket}/images/a.jpg")


def test_a_worker_that_may_not_write_or_not_delete_is_one_sentence(bucket: str, server: Server) -> None:
    folder = f"{bucket}/out"
    workers.check(folder, workers.version())
    assert not server.objects("bucket")
    for method in ("PUT", "POST|DELETE"):
        server.fail(Fault(rf"^({method}) /bucket", status=403, times=9))
        with pytest.raises(UserError, match=f"^A worker cannot write files to {folder} and delete them: the store"):
            workers.check(folder, workers.version())
