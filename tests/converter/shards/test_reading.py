"""Images are read several at a time, in order, and never far ahead."""

import errno
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converter.rejects import Reason, Reject
from converter.shards import reading
from converter.shards.matching import Source
from converter.shards.reading import PreparedRow
from converter.table.row import Row
from multihot import storage
from multihot.errors import UserError
from multihot.images import prove
from multihot.images.decoders import DecoderError
from multihot.images.prove import Preparation
from multihot.storage import File, objects

Draw = Callable[..., bytes]


@pytest.mark.parametrize("window", [1, 2, 6])
def test_reads_ahead_but_not_further_than_the_window(window: int) -> None:
    """However slow the one who takes the results is, no more than `window` of them wait in memory."""
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        time.sleep(0.001 * (item % 3))  # So that they do not end in the order in which they start.
        return -item

    taken = 0
    with ThreadPoolExecutor(4) as executor:
        for result in reading._map_in_order(executor, work, list(range(40)), window):
            assert result == -taken
            time.sleep(0.002)
            assert len(started) <= taken + window
            taken += 1
    assert taken == len(started) == 40


def test_large_items_do_not_wait_in_memory() -> None:
    started: list[int] = []
    taken = 0
    with ThreadPoolExecutor(4) as executor:
        results = reading._map_in_order(
            executor, started.append, list(range(20)), window=8, num_bytes=lambda item: reading._AHEAD_BYTES // 2
        )
        for _ in results:
            time.sleep(0.002)
            assert len(started) <= taken + 2 + 1  # One is handed over before the next one is waited for.
            taken += 1
    assert started == list(range(20))


def test_works_on_several_items_at_a_time() -> None:
    """Each of four items waits until all four are at work: one after the other they would never get there."""
    barrier = threading.Barrier(4, timeout=10)
    with ThreadPoolExecutor(4) as executor:
        results = list(
            reading._map_in_order(executor, lambda item: (barrier.wait(), item)[1], list(range(8)), window=8)
        )
    assert results == list(range(8))


def _sources(sizes: list[int]) -> list[Source]:
    return [Source(Row("", 0, f"{i}", b"", "", ""), File(f"{i}", "", size)) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([10] * 70, [32, 32, 6], id="small images"),
        pytest.param([1 << 19] * 5, [2, 2, 1], id="images of half the limit"),
        pytest.param([1 << 30, 1, 1, 1 << 30, 1 << 30], [1, 2, 1, 1], id="images beyond the limit"),
    ],
)
def test_a_batch_holds_few_images_and_few_bytes(sizes: list[int], expected: list[int]) -> None:
    batches = list(reading._batches((source, bytes) for source in _sources(sizes)))
    assert [len(batch) for batch in batches] == expected
    assert [source for batch in batches for source, _ in batch] == _sources(sizes)


def test_a_file_that_has_grown_since_it_was_listed_is_rejected(tmp_path: Path, draw: Callable[..., bytes]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(draw())
    source = Source(Row("a.csv", 2, "a.jpg", b"\1", "", ""), File("a.jpg", str(path), path.stat().st_size))
    preparation = Preparation(max_pixels=10**6, max_bytes=5_000_000)
    assert isinstance(next(reading.read([source], preparation, 1))[0], PreparedRow)
    with path.open("ab") as file:
        file.truncate(40_000_000_000)
    assert list(reading.read([source], preparation, 1)) == [
        [Reject("a.csv", 2, "a.jpg", Reason.TOO_LARGE, "the file has more than the 5 MB that are allowed")]
    ]


def _read(folder: Path, name: str = "a.jpg", num_threads: int = 1) -> PreparedRow | Reject:
    source = Source(Row("a.csv", 2, name, b"\1", "", ""), File(name, f"{folder}/{name}", 1000))
    ((one,),) = reading.read([source], Preparation(max_pixels=10**8), num_threads)
    return one


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Returns the pauses that are made, and lets none of them take time."""
    made: list[float] = []
    monkeypatch.setattr(reading.time, "sleep", made.append)
    return made


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    """Returns a folder with the image a.jpg."""
    (tmp_path / "a.jpg").write_bytes(draw())
    return tmp_path


def test_a_file_that_is_gone_since_the_listing_is_missing(tmp_path: Path, pauses: list[float]) -> None:
    detail = "the file was there when the folder was listed, and is gone"
    assert _read(tmp_path) == Reject("a.csv", 2, "a.jpg", Reason.MISSING_FILE, detail)
    (tmp_path / "b").write_bytes(b"")
    assert _read(tmp_path, "b/a.jpg") == Reject("a.csv", 2, "b/a.jpg", Reason.MISSING_FILE, detail)
    assert pauses == []


def test_what_has_become_of_a_file_is_said(tmp_path: Path, pauses: list[float]) -> None:
    (tmp_path / "a.jpg").mkdir()
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "long.jpg").symlink_to("x" * 300)
    for name, detail in (
        ("a.jpg", "Is a directory"),
        ("circle.jpg", "Too many levels of symbolic links"),
        ("long.jpg", "File name too long"),
    ):
        assert _read(tmp_path, name) == Reject("a.csv", 2, name, Reason.UNREADABLE_FILE, detail)
    assert pauses == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user who may not read the file")
def test_a_file_without_permission_is_unreadable(folder: Path, pauses: list[float]) -> None:
    (folder / "a.jpg").chmod(0)
    result: list[PreparedRow | Reject] = []

    def read_as_nobody() -> None:
        # Of this thread alone, which the wrapper of the C library would not do: setfsuid (x86-64: 122).
        import ctypes

        libc = ctypes.CDLL(None)
        libc.setfsuid(65534)
        try:
            result.append(_read(folder))
        finally:
            libc.setfsuid(0)

    for path in (folder, *folder.parents):
        if path.stat().st_uid == 0 and str(path).startswith("/tmp/"):
            path.chmod(0o755)
    thread = threading.Thread(target=read_as_nobody)
    thread.start()
    thread.join()
    assert result == [Reject("a.csv", 2, "a.jpg", Reason.UNREADABLE_FILE, "Permission denied")]
    assert pauses == []


def _failing(number: int, times: int) -> Callable[..., int]:
    """Returns an `os.open` that fails so many times."""
    left, open_ = [number] * times, os.open

    def fail(path: Any, *args: Any, **kwargs: Any) -> int:
        if left and str(path).endswith("a.jpg"):
            raise OSError(left.pop(), os.strerror(number), path)
        return open_(path, *args, **kwargs)

    return fail


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ETIMEDOUT", "EINTR", "EIO", "EAGAIN"])
def test_what_passes_is_tried_again(
    folder: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(os, "open", _failing(getattr(errno, name), 2))
    assert isinstance(_read(folder), PreparedRow)
    assert pauses == [0.1, 0.5]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("EMFILE", r"Too many open files\. Allow more open files \(ulimit -n\), .*--num_threads=1"),
        ("ENFILE", r"Too many open files in system\. Allow more open files"),
        ("ENOMEM", r"Cannot allocate memory\. There is not enough memory .*--num_threads=1"),
        ("ESTALE", r"Stale file handle\. Look at the disk or the network"),
        ("ENOSPC", r"No space left on device\. Look at the disk or the network"),
    ],
)
def test_what_does_not_pass_fails_the_run_and_rejects_nothing(
    folder: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.setattr(os, "open", _failing(getattr(errno, name), 99))
    with pytest.raises(UserError, match=rf"/a\.jpg cannot be used, in 5 attempts: {sentence}"):
        _read(folder)
    assert pauses == [0.1, 0.5, 2.0, 4.0]


def test_bytes_that_the_disk_cannot_read_are_of_the_file(
    folder: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", _failing(errno.EIO, 99))
    assert _read(folder) == Reject("a.csv", 2, "a.jpg", Reason.UNREADABLE_FILE, "Input/output error")
    assert len(pauses) == 4


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("case 4"), DecoderError("TensorFlow: InternalError: x")])
def test_a_decoder_that_fails_is_not_damage(
    folder: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    prepare, left = prove.prepare, [error] * 2

    def fail(data: bytes, preparation: Preparation) -> prove.Image:
        if left:
            raise left.pop()
        return prepare(data, preparation)

    monkeypatch.setattr(prove, "prepare", fail)
    assert isinstance(_read(folder), PreparedRow)
    left[:] = [error] * 5
    with pytest.raises(UserError, match=r"a\.jpg cannot be used, in 5 attempts: \w+"):
        _read(folder)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_store_that_fails_rejects_no_image(
    num_threads: int, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str, *_: Any) -> bytes:
        raise storage.StoreError(errno.EIO, "the store does not answer as it should: away", path)

    monkeypatch.setattr(objects, "read", fail)
    source = Source(Row("a.csv", 2, "a.jpg", b"\1", "", ""), File("a.jpg", "gs://bucket/a.jpg", 1000))
    with pytest.raises(UserError) as caught:
        next(reading.read([source], Preparation(max_pixels=10**6), num_threads))
    assert str(caught.value) == (
        "gs://bucket/a.jpg cannot be read: the store does not answer as it should: away. It is not rejected, since it "
        "may be sound. Finished shards are kept: the same command continues with the others"
    )
    assert pauses == []


def test_an_object_that_is_gone_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: str, *_: Any) -> bytes:
        raise FileNotFoundError(errno.ENOENT, "there is no such object", path)

    monkeypatch.setattr(objects, "read", gone)
    source = Source(Row("a.csv", 2, "a.jpg", b"\1", "", ""), File("a.jpg", "gs://bucket/a.jpg", 1000))
    assert list(reading.read([source], Preparation(max_pixels=10**6), 1)) == [
        [
            Reject(
                "a.csv",
                2,
                "a.jpg",
                Reason.MISSING_FILE,
                "the file was there when the folder was listed, and is gone",
            )
        ]
    ]


@pytest.fixture
def no_more_files() -> Iterator[list[int]]:
    """Lets this process open no more files, until the descriptors in the list are closed."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, limits[1]))
    taken: list[int] = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE
    yield taken
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_too_many_open_files(folder: Path, no_more_files: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The system itself says it, and the image is read when another thread has closed its file."""
    with monkeypatch.context() as patch:
        patch.setattr(reading.time, "sleep", lambda _: None)
        with pytest.raises(UserError, match="Too many open files"):
            _read(folder)
    timer = threading.Timer(0.3, lambda: os.close(no_more_files.pop()))
    timer.start()
    assert isinstance(_read(folder), PreparedRow)
    timer.join()


_SCARCE = """
import resource, sys
from pathlib import Path
from multihot.images import prove
from converter.shards import reading
from converter.shards.matching import Source
from converter.table.row import Row
from multihot.storage import File, objects
from multihot.errors import UserError
from multihot.quiet import tensorflow

reading._PAUSES = (0.01,)
small, large = sys.argv[1:]
if not small.endswith("plain.jpg"):
    tensorflow()

def read(path):
    source = Source(Row("a.csv", 2, "a", b"\\1", "", ""), File("a", path, 1000))
    try:
        return type(next(reading.read([source], prove.Preparation(max_pixels=10**8), 1))[0]).__name__
    except UserError as error:
        return "not enough memory" if "There is not enough memory" in str(error) else str(error)

assert read(small) == "PreparedRow"
there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
for more in range(0, 300_000_001, 20_000_000):
    resource.setrlimit(resource.RLIMIT_AS, (there + more, resource.RLIM_INFINITY))
    result = read(large)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(result)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("plain.jpg", {}),
        *(
            pytest.param(*each, marks=pytest.mark.extended)
            for each in (("progressive.jpg", {"progressive": True}), ("a.webp", {}), ("a.gif", {}), ("a.bmp", {}))
        ),
        ("a.png", {}),
    ],
)
def test_a_lack_of_memory_is_no_damage(tmp_path: Path, name: str, save: dict[str, Any]) -> None:
    """With any limit of address space, a large image is read, or the run says that memory is missing."""
    noise = np.random.default_rng(0).integers(0, 64, (2200, 2200, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    paths = [str(tmp_path / f"{size}{name}") for size in ("small", "large")]
    image.crop((0, 0, 60, 50)).save(paths[0], **save)
    image.save(paths[1], **save)
    process = subprocess.run(
        [sys.executable, "-c", _SCARCE, *paths], capture_output=True, text=True, check=False, timeout=300
    )
    assert process.stderr == ""
    results = process.stdout.split("\n")[:-1]
    assert set(results) == {"not enough memory", "PreparedRow"}
    assert results[0] == "not enough memory"
    assert results[-1] == "PreparedRow"
