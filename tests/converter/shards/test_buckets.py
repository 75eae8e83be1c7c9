"""Everything goes to one bucket, the one of its name, and little is held back."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from converter.shards.buckets import Buckets
from converter.splits import assignment

_NAMES = st.lists(st.text(max_size=5), max_size=50)


@given(_NAMES, st.integers(1, 7), st.integers(0, 1 << 26))
def test_every_item_is_in_the_bucket_of_its_name(names: list[str], num_buckets: int, num_bytes: int) -> None:
    buckets, found = Buckets(str, num_buckets, lambda _: num_bytes), defaultdict(list)
    taken = [list(buckets.take()) for name in names if buckets.add(name)] + [list(buckets.take())]
    for bucket, batch in (each for some in taken for each in some):
        found[bucket] += batch
    assert sorted(name for batch in found.values() for name in batch) == sorted(names)
    for bucket, batch in found.items():
        assert {assignment.position(name) * num_buckets >> 64 for name in batch} == {bucket}
    assert not list(buckets.take())


def test_large_items_are_not_held_back() -> None:
    buckets = Buckets(str, 3, num_bytes=lambda _: 1 << 23)
    assert [buckets.add(str(i)) for i in range(8)] == [False] * 7 + [True]
