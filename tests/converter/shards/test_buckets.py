"""Everything goes to one bucket, the one of its name, and little is held back."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from converter.shards import buckets
from converter.splits import assignment

_NAMES = st.lists(st.text(max_size=5), max_size=50)


@given(_NAMES, st.integers(1, 7))
def test_every_item_is_in_the_bucket_of_its_name(names: list[str], num_buckets: int) -> None:
    found = defaultdict(list)
    for bucket, batch in buckets.fill(names, str, num_buckets):
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

    next(buckets.fill(items(), str, 3, num_bytes=lambda name: 1 << 23))  # type: ignore[arg-type]
    assert len(taken) == 8
