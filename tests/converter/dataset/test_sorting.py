"""Items are in their order, however few of them are in memory."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.dataset.sorting import Sorted


@given(st.lists(st.tuples(st.text(max_size=3), st.integers())), st.integers(1, 9))
def test_is_the_sorted_list(items: list[tuple[str, int]], held: int) -> None:
    found = Sorted(iter(items), held)
    assert (list(found), len(found), bool(found)) == (sorted(items), len(items), bool(items))
    # At the same time, and again.
    assert list(zip(found, found, strict=True)) == [(item, item) for item in sorted(items)]
    assert all(item in found for item in items)
    assert ("none", 0) not in found


def test_holds_few_items_in_memory() -> None:
    class Item(int):
        alive = most = 0

        def __init__(self, _: int) -> None:
            Item.alive += 1
            Item.most = max(Item.most, Item.alive)

        def __del__(self) -> None:
            Item.alive -= 1

        def __reduce__(self) -> tuple[type[int], tuple[int]]:
            return int, (int(self),)

    found = Sorted((Item(-i) for i in range(1000)), 50)
    assert Item.most <= 101
    assert list(found) == list(range(-999, 1))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="files that are open are listed by Linux alone")
def test_its_file_goes_with_it() -> None:
    before = len(os.listdir("/proc/self/fd"))
    few = Sorted(range(100), 100)
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(few) == 100
    found = Sorted(range(100), 10)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del found
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
