"""A batch is the same when it has travelled."""

import pickle
from typing import Any

import pytest

from converter.shards import batches
from converter.shards.matching import Source
from converter.table.row import Row
from multihot.storage import File

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
    batch = batches.Batch(items)
    again = pickle.loads(pickle.dumps(batch))
    assert (type(again), again) == (batches.Batch, items)
    assert list(batches.Packed([batch.packed(), batch.packed()])) == [*items, *items]
    assert list(map(type, again)) == list(map(type, items))
    assert [type(one.file) for one in again if isinstance(one, Source)] == [
        File for one in items if isinstance(one, Source)
    ]


def test_a_batch_is_packed_once_and_again_when_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []
    pack = batches._packed

    def counted(items: list[Any]) -> Any:
        packed.append(len(items))
        return pack(items)

    monkeypatch.setattr(batches, "_packed", counted)
    batch = batches.Batch([1, 2])
    assert pickle.dumps(batch) == pickle.dumps(batch)
    # On the way from one process to the next, without a look at its items.
    again = pickle.loads(pickle.dumps(batch))
    assert pickle.dumps(again) == pickle.dumps(batch)
    assert packed == [2]
    for grown in (batch, again):
        grown.append(3)
        assert pickle.loads(pickle.dumps(grown)) == [1, 2, 3]
    assert packed == [2, 3, 3]
