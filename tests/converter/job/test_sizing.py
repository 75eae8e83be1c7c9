"""The numbers of buckets, parts and processes follow from the numbers of rows and files, within limits."""

import pytest

from converter.job import sizing


@pytest.mark.parametrize(
    ("rows", "files", "classes", "expected"),
    [
        pytest.param(0, 0, 5, 1, id="nothing"),
        pytest.param(400, 400, 5, 1, id="few"),
        pytest.param(20_000, 20_000, 5, 40, id="20,000"),
        pytest.param(20_000, 20_000, 1000, 40, id="many classes make no more buckets"),
        pytest.param(10_000, 100_000_000, 5, 4096, id="a small table beside a huge folder"),
        pytest.param(10_000_000, 10_000_000, 5, 4096, id="ten million"),
        pytest.param(1_000_000_000, 1_000_000_000, 5, 7487, id="so many that 4096 buckets would be large"),
        pytest.param(100_000_000, 100_000_000, 10_000, 8195, id="so many classes that 4096 would be large"),
    ],
)
def test_buckets_are_of_some_hundred_rows_and_never_large(rows: int, files: int, classes: int, expected: int) -> None:
    assert sizing.num_buckets(rows, files, classes) == expected


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, 1), (1_999_999, 1), (2_000_000, 2), (10_000_000, 10), (1 << 50, 4096)]
)
def test_parts_are_of_a_million_images_or_more(rows: int, expected: int) -> None:
    assert sizing.num_parts(rows, is_here=False) == expected
    assert sizing.num_parts(rows, is_here=True) == 1


def test_rows_leave_less_memory_for_processes() -> None:
    assert sizing.memory_left(0, 2_000_000_000) == 2_000_000_000
    assert sizing.memory_left(1_000_000, 2_000_000_000) == 900_000_000
    assert sizing.memory_left(10_000_000, 2_000_000_000) == 500_000_000


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
    assert sizing.num_processes(1 << 20, max_processes, memory, in_store=False) == expected


@pytest.mark.parametrize(
    ("rows", "max_processes", "memory", "expected"),
    [
        pytest.param(1 << 20, 2, 1 << 40, 4, id="two cores"),
        pytest.param(1 << 20, 64, 1 << 40, 128, id="many"),
        pytest.param(1 << 20, 8, 3_200_000_000, 4, id="little memory"),
        pytest.param(1 << 20, 1, 1 << 40, 1, id="one thread is asked for"),
        pytest.param(100, 8, 1 << 40, 1, id="few rows"),
    ],
)
def test_stores_have_more_processes_than_cores(rows: int, max_processes: int, memory: int, expected: int) -> None:
    assert sizing.num_processes(rows, max_processes, memory, in_store=True) == expected
