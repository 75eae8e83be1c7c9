"""Everything goes to one bucket, the one of its name, and little is held back."""

import pickle
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.shards import batches
from converter.shards.matching import Source
from converter.splits import assignment
from converter.system.storage import File
from converter.table.row import Row

_NAMES = st.lists(st.text(max_size=5), max_size=50)


@given(_NAMES, st.integers(1, 7))
def test_every_item_is_in_the_bucket_of_its_name(names: list[str], num_buckets: int) -> None:
    found = defaultdict(list)
    for bucket, batch in batches.fill(names, str, num_buckets):
        found[bucket] += batch
    assert sorted(name for batch in found.values() for name in batch) == sorted(names)
    for bucket, batch in found.items():
        assert {assignment.position(name) * num_buckets >> 64 for name in batch} == {bucket}


def test_large_items_are_not_held_back() -> None:
    taken = []

    def items() -> object:
        for i in range(1000):
            taken.append(i)
            yield str(i)

    next(batches.fill(items(), str, 3, num_bytes=lambda name: 1 << 23))  # type: ignore[arg-type]
    assert len(taken) == 8


@pytest.mark.parametrize(
    ("csv_bytes", "buckets", "parts"),
    [(0, 1, 1), (20_000, 1, 1), (400_000, 24, 1), (20_000_000, 1220, 2), (25_000_000_000, 4096, 2980)],
)
def test_the_number_of_buckets_and_parts(csv_bytes: int, buckets: int, parts: int) -> None:
    assert (batches.num_buckets(csv_bytes), batches.num_parts(csv_bytes)) == (buckets, parts)


@pytest.mark.parametrize(
    ("most", "memory", "expected"),
    [
        (8, 1 << 40, 8),
        (8, 3_200_000_000, 4),
        (200, 16_000_000_000, 20),
        (8, 700_000_000, 1),
        (8, 0, 1),
        (1, 1 << 40, 1),
    ],
)
def test_processes_take_half_of_the_memory_at_most(most: int, memory: int, expected: int) -> None:
    assert batches.num_processes(1 << 20, most, memory) == expected


def test_items_of_one_key_stay_together_in_their_order() -> None:
    groups = batches.grouped([3, 1, 4, 1, 5], lambda number: number % 2)
    assert groups == {1: [3, 1, 1, 5], 0: [4]}
    assert {type(batch) for batch in groups.values()} == {batches.Batch}


_ROW = Row("a.csv", 2, "1.jpg", b"\0\1", "train", "1.jpg")
_FILE = File("1.jpg", "images/1.jpg", 10, 20)


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([], id="nothing"),
        pytest.param([1, 2], id="numbers"),
        pytest.param([("a", "b"), ("a", "c")], id="pairs"),
        pytest.param([_ROW, _ROW._replace(line=3)], id="rows"),
        pytest.param([Source(_ROW, _FILE), Source(_ROW, _FILE)], id="tuples in tuples"),
        pytest.param([_ROW, _FILE, 1], id="of several types"),
    ],
)
def test_a_batch_is_the_same_when_it_is_unpickled(items: list[Any]) -> None:
    again = pickle.loads(pickle.dumps(batches.Batch(items)))
    assert (type(again), again) == (batches.Batch, items)
    assert list(map(type, again)) == list(map(type, items))
    assert [type(one.file) for one in again if isinstance(one, Source)] == [
        File for one in items if isinstance(one, Source)
    ]
