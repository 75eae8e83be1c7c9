"""Images are read several at a time, in order, and never far ahead."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from converter import reading
from converter.images import Preparation
from converter.matching import Source
from converter.reading import Good
from converter.rejects import Reason, Reject
from converter.rows import Row
from converter.storage import File


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
    batches = list(reading._batches(_sources(sizes)))
    assert [len(batch) for batch in batches] == expected
    assert [source for batch in batches for source in batch] == _sources(sizes)


def test_a_file_that_has_grown_since_it_was_listed_is_rejected(tmp_path: Path, draw: Callable[..., bytes]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(draw())
    source = Source(Row("a.csv", 2, "a.jpg", b"\1", "", ""), File("a.jpg", str(path), path.stat().st_size))
    preparation = Preparation(max_pixels=10**6, max_bytes=5_000_000)
    assert isinstance(next(reading.read([source], preparation, 1))[0], Good)
    with path.open("ab") as file:
        file.truncate(40_000_000_000)
    assert list(reading.read([source], preparation, 1)) == [
        [Reject("a.csv", 2, "a.jpg", Reason.TOO_LARGE, "the file has more than the 5 MB that are allowed")]
    ]
