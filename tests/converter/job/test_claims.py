"""On this machine, too, a folder is that of one run: what an earlier one still does harms nothing."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from converter.job import claims, commit, gathering, publishing
from converter.job.results import ConversionResult
from converter.options import ConvertOptions
from converter.shards import writing
from converter.shards.writing import ShardResult, Source
from converter.table.row import Row
from converter.verify import dataset_checks
from multihot import storage
from multihot.errors import UserError
from multihot.images import prove
from schemas import metadata

Draw = Callable[..., bytes]


class Job:
    """Parts of conversions of some drawn images into one folder."""

    def __init__(self, folder: Path, draw: Draw) -> None:
        images = folder / "images"
        images.mkdir()
        self.options = ConvertOptions(csv="a.csv", images=str(images), output=f"{folder}/out", overwrite=True)
        for name in "abcd":
            (images / name).write_bytes(draw(ord(name)))

    def write(self, label: int = 1) -> list[ShardResult]:
        """Writes two shards."""
        results = []
        for index, names in enumerate(("ab", "cd")):
            rows = [Row("a.csv", ord(n), n, labels=bytes([label, 0]), split="train", group=n) for n in names]
            files = [Path(self.options.images, name) for name in names]
            sources = [
                Source(row, storage.File(row.filename, str(file), file.stat().st_size))
                for row, file in zip(rows, files, strict=True)
            ]
            where: dict[str, Any] = {"split": "train", "index": index, "num_shards": 2, "sources": sources}
            where |= {"published": self.options.dataset, "preparation": prove.Preparation(max_pixels=10**6)}
            results.append(writing.write_shard(self.options.incomplete, num_threads=1, **where))
        return results

    def commit(self, results: list[ShardResult], run: str) -> None:
        commit.commit(
            self.options, ("sea", "sun"), ConversionResult.of(results=results, rejects=[], num_rows=4), {}, run
        )

    def convert(self, label: int, run: str) -> None:
        """Runs a whole conversion."""
        with claims.held(self.options.incomplete, run):
            self.commit(self.write(label), run)

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the dataset, and of an unfinished one beside it."""
        folder = Path(self.options.output)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    @property
    def positives(self) -> tuple[int, ...]:
        """Of the dataset, which is complete."""
        info = metadata.load(self.options.dataset)
        assert list(dataset_checks.verify(self.options.dataset, info)) == []
        return info.statistics.positives


@pytest.fixture
def job(tmp_path: Path, draw: Draw) -> Job:
    return Job(tmp_path, draw)


def test_an_attempt_that_comes_after_the_end_changes_nothing(job: Job) -> None:
    with claims.held(job.options.incomplete, "one"):
        results = job.write()
        job.commit(results, "one")
    before = job.files
    assert {name.split("/")[1] for name in before} == {"1.0.0"}
    job.commit(results, "one")
    assert job.files == before


def test_an_attempt_that_comes_after_a_later_conversion_changes_nothing(job: Job) -> None:
    with claims.held(job.options.incomplete, "one"):
        results = job.write()
    job.convert(0, "two")
    before = job.files
    with pytest.raises(UserError, match=r"was deleted, or its dataset published, while this conversion was under way"):
        job.commit(results, "one")
    assert job.files == before
    assert job.positives == (0, 0)


@pytest.mark.parametrize("published", [False, True])
def test_an_attempt_that_comes_while_a_later_conversion_is_at_work_changes_nothing(published: bool, job: Job) -> None:
    with claims.held(job.options.incomplete, "one"):
        results = job.write()
        if published:
            job.commit(results, "one")
    with claims.held(job.options.incomplete, "two"):
        others = job.write(0)
        before = job.files
        if published:
            job.commit(results, "one")
        else:
            with pytest.raises(UserError, match=r"was taken over by another conversion \(run two\)"):
                job.commit(results, "one")
        assert job.files == before
        job.commit(others, "two")
    assert job.positives == (0, 0)


@pytest.mark.parametrize("at", [(gathering.Shards, "check"), (gathering.Shards, "gather"), (publishing, "publish")])
def test_attempts_at_once_publish_one_dataset(at: tuple[Any, str], job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    original, stalled, others = getattr(*at), threading.Event(), threading.Event()

    def stall(*args: Any, **kwargs: Any) -> Any:
        stalled.set()
        others.wait(0.3)
        return original(*args, **kwargs)

    monkeypatch.setattr(*at, stall)
    with claims.held(job.options.incomplete, "one"), ThreadPoolExecutor(3) as executor:
        results = job.write()
        begun = [executor.submit(job.commit, results, "one") for _ in range(3)]
        assert stalled.wait(10)
        for attempt in begun:
            attempt.result()
    assert job.positives == (4, 0)
    assert {name.split("/")[1] for name in job.files} == {"1.0.0"}


def test_a_conversion_waits_for_the_last_step_of_an_earlier_one(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    original, stalled, claimed = publishing.publish, threading.Event(), threading.Event()

    def stall(*args: Any, **kwargs: Any) -> Any:
        stalled.set()
        assert not claimed.wait(0.3)
        return original(*args, **kwargs)

    def convert_again() -> None:
        with claims.held(job.options.incomplete, "two"):
            claimed.set()
            job.commit(job.write(0), "two")

    with claims.held(job.options.incomplete, "one"):
        results = job.write()
    monkeypatch.setattr(publishing, "publish", stall)
    with ThreadPoolExecutor(2) as executor:
        earlier = executor.submit(job.commit, results, "one")
        assert stalled.wait(10)
        monkeypatch.setattr(publishing, "publish", original)
        later = executor.submit(convert_again)
        earlier.result()
        later.result()
    assert job.positives == (0, 0)


def test_without_locks_an_attempt_publishes_no_part(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with claims.held(job.options.incomplete, "one"):
        results = job.write()
        job.commit(results, "one")
        before = job.files
        # One that stalled before it wrote the manifest, in a folder that another one has published meanwhile.
        folder = f"{job.options.incomplete}/assembled"
        storage.write(f"{folder}/manifest.json", before["dataset/1.0.0/manifest.json"])
        with pytest.raises(OSError, match=r"files that were written are missing: .*train-00000-of-00002.tfrecord"):
            gathering.check_complete(folder, [name.removeprefix("dataset/1.0.0/") for name in before])


def test_a_run_that_was_interrupted_publishes_nothing(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt), claims.held(job.options.incomplete, "one"):
        results = job.write()
        raise KeyboardInterrupt
    with pytest.raises(UserError, match=r"^This conversion \(run one\) was interrupted. It publishes nothing.$"):
        job.commit(results, "one")
    job.convert(0, "two")
    assert job.positives == (0, 0)
