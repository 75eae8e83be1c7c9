"""A bucket is one element, of however many elements its items come."""

from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.pvalue import AsSingleton, TaggedOutput
from apache_beam.testing.util import assert_that, equal_to

from converter.job.bucketing import IntoBuckets
from converter.shards.batches import Batch
from converter.splits import assignment

_NUM_BUCKETS = 3
_NAMES = [[f"{part}/{i}.jpg" for i in range(20)] for part in range(30)]


def _numbered(names: Batch[str], ends: str) -> Iterator[object]:
    yield from (name + ends for name in names)
    yield TaggedOutput("number", len(names))


@pytest.mark.parametrize(("num_bytes", "num_elements"), [(0, _NUM_BUCKETS), (1 << 26, 600)])
def test_the_items_of_many_elements_make_one_element_of_each_bucket(num_bytes: int, num_elements: int) -> None:
    expected: list[list[str]] = [[] for _ in range(_NUM_BUCKETS)]
    for name in sorted(f"{name}!" for names in _NAMES for name in names):
        expected[assignment.shard(assignment.position(name), _NUM_BUCKETS)].append(name)
    step = IntoBuckets(_numbered, str, "!", num_bytes=lambda _: num_bytes)
    with beam.Pipeline() as pipeline:
        number = AsSingleton(pipeline | "Number" >> beam.Create([_NUM_BUCKETS]))
        batches = pipeline | "Names" >> beam.Create(list(map(Batch, _NAMES)))
        found = batches | "IntoBuckets" >> beam.ParDo(step, number).with_outputs("number", main="buckets")
        assert_that(found.number, equal_to([20] * 30), "numbers")
        assert_that(found.buckets | beam.combiners.Count.Globally(), equal_to([num_elements]), "elements")
        grouped = (
            found.buckets
            | beam.GroupByKey()
            | beam.MapTuple(lambda bucket, some: (bucket, sorted(name for batch in some for name in batch)))
        )
        assert_that(grouped, equal_to(list(enumerate(expected))), "items")
