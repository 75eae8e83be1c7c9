"""The numbers of buckets, parts and processes follow from the size of the CSV, within limits."""

import pytest

from converter.job import sizing


@pytest.mark.parametrize(
    ("csv_bytes", "buckets", "parts"),
    [(0, 1, 1), (20_000, 1, 1), (400_000, 24, 1), (20_000_000, 1220, 2), (25_000_000_000, 4096, 2980)],
)
def test_the_number_of_buckets_and_parts(csv_bytes: int, buckets: int, parts: int) -> None:
    assert (sizing.num_buckets(csv_bytes), sizing.num_parts(csv_bytes)) == (buckets, parts)


@pytest.mark.parametrize(
    ("max_processes", "memory", "expected"),
    [
        (8, 1 << 40, 8),
        (8, 3_200_000_000, 4),
        (200, 16_000_000_000, 20),
        (8, 700_000_000, 1),
        (8, 0, 1),
        (1, 1 << 40, 1),
    ],
)
def test_processes_take_half_of_the_memory_at_most(max_processes: int, memory: int, expected: int) -> None:
    assert sizing.num_processes(1 << 20, max_processes, memory) == expected
