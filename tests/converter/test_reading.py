"""Images are read several at a time, in order, and never far ahead."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from converter import reading


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
