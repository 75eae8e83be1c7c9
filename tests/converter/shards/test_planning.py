"""No image of a batch is lost on its way to a split and a shard, and each goes where its name says."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from converter.shards import planning
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.splits import assignment
from converter.table.row import Row
from multihot.storage import File
from schemas.example import UNKNOWN


def _source(name: str, split: str = "train", size: int = 10, label: int = 1) -> Source:
    return Source(Row("a.csv", 2, name, bytes([label]), split, name), File(name, f"images/{name}", size))


@given(st.sets(st.text(max_size=5)), st.integers(1, 7))
def test_every_image_is_in_the_shard_of_its_name(names: set[str], number: int) -> None:
    shards = dict(planning.assign(Batch(map(_source, names)), {"train": (number, False)}))
    assert Counter(source.file.name for batch in shards.values() for source in batch) == Counter(names)
    for (split, shard, num_shards, has_unknown), batch in shards.items():
        assert (split, num_shards, has_unknown) == ("train", number, False)
        assert {assignment.shard(assignment.position(source.row.filename), number) for source in batch} == {shard}


def test_each_split_has_its_images_and_their_bytes() -> None:
    batch = Batch([_source("a", size=3), _source("b", "test", 5), _source("c", size=4)])
    assert dict(planning.sizes(batch)) == {"train": (2, 7, 0), "test": (1, 5, 0)}


def test_images_with_unknown_labels_are_counted() -> None:
    batch = Batch([_source("a", label=UNKNOWN), _source("b", label=UNKNOWN), _source("c"), _source("d", "test")])
    assert dict(planning.sizes(batch)) == {"train": (3, 30, 2), "test": (1, 10, 0)}


def test_an_unknown_label_in_one_split_is_told_to_the_shards_of_all() -> None:
    batch = Batch([_source("a"), _source("b", "test")])
    shards = planning.assign(batch, {"train": (1, False), "test": (1, True)})
    assert [(split, has_unknown) for (split, _, _, has_unknown), _ in shards] == [("train", True), ("test", True)]


def test_an_image_takes_the_split_of_its_name_and_keeps_all_else() -> None:
    (taken,) = planning.take_split(Batch([_source("a")]), {"a": "test", "b": "train"})
    assert taken == _source("a", "test")


def test_items_of_one_key_stay_together_in_their_order() -> None:
    groups = planning.grouped([3, 1, 4, 1, 5], lambda number: number % 2)
    assert groups == {1: [3, 1, 1, 5], 0: [4]}
    assert {type(batch) for batch in groups.values()} == {Batch}
