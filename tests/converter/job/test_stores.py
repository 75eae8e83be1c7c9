"""A dataset in a store is the same as one on this machine, and no other conversion, retry or failure harms it."""

import datetime
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converter.job import claims, commit, gathering, pipeline, publishing
from converter.job.results import ConversionResult
from converter.options import ConvertOptions
from converter.shards import writing
from converter.shards.writing import ShardResult, Source
from converter.table.row import Row
from converter.verify import dataset_checks
from multihot import storage
from multihot.errors import UserError
from multihot.storage import connections
from schemas import metadata
from schemas.metadata import DatasetInfo
from store_server import Fault, Server

Convert = Callable[..., DatasetInfo]
Draw = Callable[..., bytes]

_CLASSES = ("sea", "desert")
_TARGET = "out/scenes/1.0.0/"


def _there(server: Server, folder: str = _TARGET) -> dict[str, bytes]:
    return {
        key.removeprefix(folder): content for key, content in server.objects("bucket").items() if key.startswith(folder)
    }


def _data(files: dict[str, bytes]) -> dict[str, bytes]:
    """Returns the files that do not say when they were made."""
    return {name: data for name, data in files.items() if name != "conversion.json" and "made_from" not in name}


def _in_store(store: str, **given: Any) -> dict[str, Any]:
    return {"csv": f"{store}/labels.csv", "images": f"{store}/images", "output": f"{store}/out", **given}


def test_a_dataset_in_a_store_is_that_of_this_machine(
    scenes_in_store: str, server: Server, convert: Convert, tmp_path: Path
) -> None:
    shards = {"train": 3, "validation": 2}
    convert(num_shards=shards)
    info = convert(num_shards=shards, **_in_store(scenes_in_store))
    here = tmp_path / "out/scenes/1.0.0"
    files = {path.relative_to(here).as_posix(): path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert _there(server).keys() == files.keys()
    assert _data(_there(server)) == _data(files)
    assert not _there(server, "out/scenes/1.0.0.incomplete/")
    directory = f"{scenes_in_store}/out/scenes/1.0.0"
    assert metadata.load(directory) == info
    assert list(dataset_checks.verify(directory, info)) == []
    # And once more: nothing is read but what is needed to see that nothing has changed.
    server.requests()
    assert convert(num_shards=shards, overwrite=True, **_in_store(scenes_in_store)) == info
    assert json.loads(_there(server)["conversion.json"])["shards"] == {"written": 0, "reused": 5}
    with pytest.raises(UserError, match=r"is a dataset already\."):
        convert(**_in_store(scenes_in_store))


def test_an_image_takes_one_request(scenes_in_store: str, server: Server, convert: Convert) -> None:
    few = {name: content for name, content in server.objects("bucket").items() if name.startswith("images/")}
    server.requests()
    convert(num_shards={"": 1}, **_in_store(scenes_in_store))
    first = server.requests()
    rows = "".join(f"{i}.jpg,{i % 2}\n" for i in range(200))
    server.put("bucket", {"many.csv": f"file,sea\n{rows}".encode()})
    server.put("bucket", {f"many/{i}.jpg": few["images/0.jpg"] for i in range(200)})
    given = _in_store(scenes_in_store, csv=f"{scenes_in_store}/many.csv", images=f"{scenes_in_store}/many")
    convert(num_shards={"": 1}, name="many", **given)
    second = server.requests()
    # The others are those of the tables, the commit and the pictures in the report.
    assert 200 <= second["GET"] <= 200 + 60
    assert abs(second["LIST"] - first["LIST"]) <= 2
    assert second["HEAD"] <= first["HEAD"] + 5


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("train/x.tfrecord", b"precious", "exists and is not a dataset of multihot", id="files of others"),
        pytest.param("manifest.json", b'{"a": 1}', "is not a manifest of multihot", id="a manifest of others"),
    ],
)
def test_what_others_have_in_a_store_is_left_alone(
    name: str,
    content: bytes,
    message: str,
    overwrite: bool,
    scenes_in_store: str,
    server: Server,
    convert: Convert,
) -> None:
    server.put("bucket", {f"{_TARGET}{name}": content})
    with pytest.raises(UserError, match=message):
        convert(overwrite=overwrite, **_in_store(scenes_in_store))
    assert _there(server) == {name: content}


def test_names_in_a_store_are_literal(scenes_in_store: str, server: Server, convert: Convert) -> None:
    server.put("bucket", {"exp1/scenes/1.0.0/x": b"x", "exp1/scenes/1.0.0.incomplete/x": b"x"})
    for overwrite in (False, True):
        convert(overwrite=overwrite, **_in_store(scenes_in_store, output=f"{scenes_in_store}/exp[1]"))
    assert _there(server, "exp1/scenes/") == {"1.0.0/x": b"x", "1.0.0.incomplete/x": b"x"}
    assert "manifest.json" in _there(server, "exp[1]/scenes/1.0.0/")


def test_an_object_that_goes_after_the_listing_is_one_reject(
    scenes_in_store: str, server: Server, convert: Convert
) -> None:
    server.fail(Fault(r"^GET /bucket/images/3\.jpg", status=404, times=9))
    info = convert(max_rejects=1, **_in_store(scenes_in_store))
    assert info.rejects == {"missing_file": 1}
    assert b"3.jpg" in _there(server)["rejects.csv"]


def test_a_folder_without_an_image_is_one_sentence_before_any_work(
    scenes_in_store: str, server: Server, convert: Convert
) -> None:
    with pytest.raises(UserError, match=r"^--images: there is no file in \w+://bucket/imgs$"):
        convert(**_in_store(scenes_in_store, images=f"{scenes_in_store}/imgs"))
    assert not _there(server, "out/")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no request be repeated for long."""
    retries = {"max_retries": 2, "backoff": {"init_backoff": datetime.timedelta(milliseconds=1)}}
    monkeypatch.setattr(connections, "_RETRY", {**connections._RETRY, **retries})


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_down_leaves_what_is_finished(scenes_in_store: str, server: Server, convert: Convert) -> None:
    shards = {"train": 4, "validation": 1}
    server.fail(Fault(r"^GET /bucket/images/", skip=12, times=10**6))
    with pytest.raises(UserError) as caught:
        convert(num_shards=shards, **_in_store(scenes_in_store))
    assert "cannot be read: the store does not answer as it should: the request fails as it was told to" in str(
        caught.value
    )
    (said, *_) = caught.value.__notes__
    assert "finished shard" in said
    server.fail()
    convert(num_shards=shards, **_in_store(scenes_in_store))
    assert json.loads(_there(server)["conversion.json"])["shards"]["reused"] >= 1
    assert not _there(server, "out/scenes/1.0.0.incomplete/")


class Job:
    """Parts of conversions of some drawn images into one place of a store."""

    def __init__(self, bucket: str, folder: Path, draw: Draw) -> None:
        self.options = ConvertOptions(
            csv="a.csv", images=str(folder), output=f"{bucket}/out", name="scenes", overwrite=True
        )
        self._folder, self._draw = folder, draw

    def write(self, names: str, label: int = 1, **given: Any) -> ShardResult:
        """Writes a shard of images with these names."""
        sources = []
        for name in names:
            path = self._folder / name
            if not path.exists():
                path.write_bytes(self._draw(ord(name)))
            row = Row("a.csv", ord(name), name, labels=bytes([label, 0]), split="train", group=name)
            sources.append(Source(row, storage.File(name, str(path), path.stat().st_size)))
        where = {"split": "train", "index": 0, "num_shards": 1, **given}
        return writing.write_shard(
            self.options.incomplete,
            published=self.options.dataset,
            sources=sources,
            preparation=pipeline.graph.reading.preparation(self.options),
            num_threads=1,
            **where,
        )

    def commit(self, *results: ShardResult, run: str = "run") -> None:
        """Does the last step of a conversion."""
        num_rows = sum(result.num_rows for result in results)
        commit.commit(
            self.options, _CLASSES, ConversionResult.of(results=results, rejects=[], num_rows=num_rows), {}, run
        )

    def claim(self, run: str) -> None:
        """Claims the place for a run."""
        storage.write(f"{self.options.incomplete}/{claims.FILE}", json.dumps({"run": run}))

    def load(self) -> DatasetInfo:
        """Returns the dataset in its place, every file of which is as it should be."""
        info = metadata.load(self.options.dataset)
        assert list(dataset_checks.verify(self.options.dataset, info)) == []
        return info


@pytest.fixture
def job(bucket: str, tmp_path: Path, draw: Draw) -> Job:
    """Returns conversions into an empty place of a store."""
    return Job(bucket, tmp_path, draw)


def test_a_step_that_is_repeated_after_its_end_changes_nothing(job: Job, server: Server) -> None:
    results = [job.write("ab", index=0, num_shards=2), job.write("cd", index=1, num_shards=2)]
    job.commit(*results)
    before = _there(server)
    job.commit(*results)
    assert _there(server) == before
    assert job.load().num_examples == 4


def test_a_step_that_comes_late_changes_nothing_of_a_later_dataset(job: Job, server: Server) -> None:
    late = [job.write("ab"), job.write("ab")]
    job.commit(late[0])
    job.commit(job.write("ab", label=0), run="another run")
    before = _there(server)
    for result in late:
        with pytest.raises((UserError, OSError), match="files that were written are missing"):
            job.commit(result)
    assert _there(server) == before
    assert job.load().statistics.positives == (0, 0)


@pytest.mark.parametrize("stalls_before", ["begin", "gather", "copy", "finish"])
def test_a_step_that_stalls_while_another_attempt_ends_changes_nothing(
    stalls_before: str, job: Job, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = job.write("abc")
    place: Any = {"gather": gathering.Shards, "copy": publishing}.get(stalls_before, publishing.Place)
    original, after = getattr(place, stalls_before), list[dict[str, bytes]]()

    def stall(*args: Any) -> Any:
        monkeypatch.setattr(place, stalls_before, original)
        # The other attempt ends, and another conversion replaces its dataset.
        job.commit(result)
        job.commit(job.write("abc", label=0), run="another run")
        after.append(_there(server))
        return original(*args)

    monkeypatch.setattr(place, stalls_before, stall)
    with pytest.raises((UserError, OSError), match=r"was written by another|are missing|there is no such object"):
        job.commit(result)
    assert _there(server) == after[0]
    assert job.load().statistics.positives == (0, 0)


def test_shards_of_a_run_that_comes_late_are_not_published(job: Job) -> None:
    results = [job.write("ab", index=0, num_shards=2), job.write("cd", index=1, num_shards=2)]
    # A worker of a cancelled job, in which labels were others.
    late = job.write("ab", label=0, index=0, num_shards=2)
    assert late.shard
    assert results[0].shard
    assert late.shard.file_bytes == results[0].shard.file_bytes
    job.commit(*results)
    assert job.load().statistics.positives == (4, 0)


def test_a_run_that_has_lost_its_claim_publishes_nothing(job: Job, server: Server) -> None:
    job.commit(job.write("ab"))
    before = _there(server)
    result = job.write("ab", label=0)
    job.claim("another")
    with pytest.raises(
        UserError, match=r"was taken over by another conversion \(run another\) while this one \(run run\)"
    ):
        job.commit(result)
    assert _there(server) == before
    job.claim("run")
    job.commit(result)
    assert job.load().statistics.positives == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("replaces", [False, True])
def test_a_step_that_dies_at_any_request_can_be_repeated(replaces: bool, job: Job, server: Server, draw: Draw) -> None:
    names = "abcd"
    # The steps of a commit are those of all stores: of the second one, some moments are enough.
    every = 1 if job.options.output.startswith("s3://") else 12
    for request in range(0, 200, every):
        for key in server.objects("bucket"):
            server.delete("bucket", key)
        if replaces:
            job.commit(*(job.write(name, label=0, index=i, num_shards=4) for i, name in enumerate(names)))
        results = [job.write(name, index=i, num_shards=2) for i, name in enumerate("ab")]
        # Refused: a request that failed otherwise would be repeated.
        server.fail(Fault("^(PUT|POST|DELETE) ", status=403, skip=request, times=10**6))
        try:
            job.commit(*results)
        except OSError:
            died = True
        else:
            died = False
        server.fail()
        try:
            info = metadata.load(job.options.dataset)
        except UserError:  # Not a dataset, and not taken for one.
            pass
        else:
            assert list(dataset_checks.verify(job.options.dataset, info)) == []
        job.commit(*results)
        assert job.load().statistics.positives == (2, 0)
        assert not _there(server, "out/scenes/1.0.0.incomplete/")
        if not died:
            break
    assert 20 < request < 196


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets claims be renewed, and lost, after little time."""
    monkeypatch.setattr(claims, "_RENEWED_SECONDS", 0.1)
    monkeypatch.setattr(claims, "_LOST_SECONDS", 1.0)


@pytest.mark.usefixtures("quick")
def test_of_two_conversions_one_is_told(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        claims.held(job.options.incomplete, "one"),
        pytest.raises(UserError, match=rf"Another conversion is running in .*: process {os.getpid()} on "),
        claims.held(job.options.incomplete, "other"),
    ):
        raise AssertionError
    assert "names another conversion. Waiting 1 s for a sign of it ..." in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "claim",
    [
        pytest.param({"run": "one", "host": "elsewhere", "process": 1}, id="a machine that is gone"),
        pytest.param({"run": "one", "host": socket.gethostname(), "process": 2**22 + 1}, id="a process that is gone"),
        pytest.param({}, id="nonsense"),
    ],
)
def test_the_claim_of_one_that_has_ended_is_taken_over(
    claim: dict[str, Any], job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.write(f"{job.options.incomplete}/{claims.FILE}", json.dumps(claim))
    with claims.held(job.options.incomplete, "other"):
        claims.check(job.options.incomplete, "other")
        with pytest.raises(UserError, match="publishes nothing"):
            claims.check(job.options.incomplete, "one")
    assert ("Waiting" in capsys.readouterr().out) == (claim.get("host") != socket.gethostname())


@pytest.mark.usefixtures("quick")
def test_one_that_was_taken_over_renews_nothing(job: Job) -> None:
    with claims.held(job.options.incomplete, "one"):
        job.claim("other")
        threading.Event().wait(0.5)
        with pytest.raises(UserError, match="was taken over by another conversion"):
            claims.check(job.options.incomplete, "one")


def test_the_next_conversion_of_the_same_process_need_not_wait(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("one", "other"):
        with pytest.raises(ZeroDivisionError), claims.held(job.options.incomplete, run):
            raise ZeroDivisionError
    assert "Waiting" not in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_one_that_was_taken_over_leaves_the_claim_of_the_other(job: Job) -> None:
    with claims.held(job.options.incomplete, "one"):
        job.claim("other")
    claims.check(job.options.incomplete, "other")
    with pytest.raises(UserError, match="was taken over"):
        claims.check(job.options.incomplete, "one")


def test_datasets_near_a_folder_that_is_none_are_named_without_listing_all_of_it(job: Job, server: Server) -> None:
    job.commit(job.write("ab"))
    server.put("bucket", {f"out/images/{i}.jpg": b"" for i in range(5000)})
    root = job.options.output
    server.requests()
    with pytest.raises(UserError) as caught:
        metadata.load(root)
    assert str(caught.value) == f"{root} is not a dataset, but these are: {job.options.dataset}."
    assert server.requests()["LIST"] <= 5


def test_a_dataset_that_is_being_published_is_none(job: Job) -> None:
    job.commit(job.write("ab"))
    place = publishing.Place(job.options.dataset, "manifest.json", "run")
    place.begin()
    with pytest.raises(UserError, match="is being published by a conversion that has not finished"):
        metadata.load(job.options.dataset)
