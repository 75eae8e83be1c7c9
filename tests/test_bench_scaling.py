"""docs/scaling.md: its tables are what the formula gives for the inputs that it names, and how these are measured."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import costs
import scaling
from scaling import Costs, Place

_PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
_HERE = Place("here", 0, 2)
_DATAFLOW = Place("Dataflow", 100, 2)

# Round figures, to be added up by hand.
_COSTS = Costs(
    cores=2,
    image_bytes=10_000,
    csv_row_bytes=25,
    start_s=5,
    csv_row_us=4,
    list_file_us=3,
    group_row_us=50,
    read_image_us=10,
    read_byte_ns=1,
    prove_image_us=200,
    prove_byte_ns=20,
    write_image_us=50,
    write_byte_ns=5,
    copies_image_us=60,
    copies_share=0.01,
    copies_pair_ns=2,
    shard_ms=10,
    row_memory_bytes=6000,
    check_images=1000,
    check_s=6,
)


def test_the_tables_of_the_page_are_those_of_its_inputs() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    assert scaling.renewed(page, Costs.parse(page)) == page


def test_the_page_explains_every_step_and_names_every_input_of_its_formula() -> None:
    formula = _PAGE.read_text(encoding="utf-8").split("## The formula")[1].split("<!-- begin")[0]
    steps = re.findall(r"^\| ([\w: -]+?) \|", formula, re.MULTILINE)
    assert steps == ["step", *scaling.steps(_COSTS, 1, _HERE)]
    not_of_steps = {"cores", "image_bytes", "csv_row_bytes", "row_memory_bytes", "check_images", "check_s"}
    assert (
        set(re.findall(r"`(\w+_(?:s|us|ns|ms|share))`", formula))
        == {field.name for field in dataclasses.fields(Costs)} - not_of_steps
    )


def test_a_million_images_on_one_machine() -> None:
    assert scaling.steps(_COSTS, 10**6, _HERE) == pytest.approx(
        {
            "start-up": 5,
            "parsing the CSV": 4,
            "listing the folder": 3,
            "joining and grouping": 50,
            "waiting for the store": 0,
            "reading": 10,
            "proving": 200,
            "writing": 50,
            "duplicates: grouping": 60,
            "duplicates: comparing": 5,
            "finishing shards": 0.79,
        }
    )


def test_a_million_images_on_workers() -> None:
    assert scaling.steps(_COSTS, 10**6, _DATAFLOW) == pytest.approx(
        {
            "start-up": 300,
            "parsing the CSV": 4,
            "listing the folder": 200,
            "joining and grouping": 0.25,
            "waiting for the store": 125,
            "reading": 0.1,
            "proving": 2,
            "writing": 0.5,
            "duplicates: grouping": 0.3,
            # Two parts of seven bands: fourteen tasks.
            "duplicates: comparing": 10 / 14,
            "finishing shards": 0.79,
        }
    )


@given(st.integers(1, 10**9), st.integers(1, 1000), st.integers(1, 64))
def test_more_workers_and_more_threads_never_take_longer(number: int, workers: int, threads: int) -> None:
    before = scaling.steps(_COSTS, number, Place("a", workers, threads))
    for place in (Place("b", workers + 1, threads), Place("c", workers, threads + 1)):
        after = scaling.steps(_COSTS, number, place)
        assert all(after[name] <= before[name] for name in before)


@given(st.integers(1000, 10**8))
def test_of_ten_times_the_images_only_comparing_takes_more_than_ten_times_as_long(number: int) -> None:
    few, many = (scaling.steps(_COSTS, count, _HERE) for count in (number, 10 * number))
    assert {name for name in few if many[name] > 10.001 * few[name]} == {"duplicates: comparing"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.084, "0.084 s"), (42.0, "42 s"), (119.0, "119 s"), (120.0, "2 min"), (7200.0, "2 h"), (10 * 86_400, "10 days")],
)
def test_times_are_in_the_unit_that_a_person_would_choose(seconds: float, text: str) -> None:
    assert scaling.text(seconds) == text


def test_inputs_survive_being_written_to_the_page() -> None:
    assert Costs.parse(_COSTS.table()) == _COSTS


def test_the_longest_step_is_in_bold() -> None:
    table = scaling.render(_COSTS)
    assert "| proving | **3.33 min, 52%** |" in table
    assert re.search(r"\| duplicates: comparing \|.*\| \*\*57.9 days, \d+%\*\* \|", table)


def test_a_line_goes_through_two_points() -> None:
    assert costs.line([(100.0, 7.0), (300.0, 11.0)]) == pytest.approx((5.0, 0.02))


def test_cpu_time_is_that_of_work_and_not_of_waiting() -> None:
    assert costs.cpu_seconds(lambda: costs.time.sleep(0.05)) < 0.02
    assert costs.cpu_seconds(lambda: sum(range(2_000_000))) > 0.005


def test_the_jobs_that_are_measured_run() -> None:
    costs.group(50)
    costs.copies(50)


@pytest.mark.slow
def test_all_costs_are_measured_anew(
    tmp_path: Path, draw: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, fewer in (("_FEW_ROWS", 1000), ("_MANY_ROWS", 20_000), ("_PART", 20_000)):
        monkeypatch.setattr(costs, name, fewer)
    for i in range(4):
        (tmp_path / f"{i}.jpg").write_bytes(draw(i, width=100 + 200 * (i % 2), height=200))
    measured = costs.measure(tmp_path, tmp_path / "made", 40)
    assert Costs.parse(scaling.render(measured)) == Costs.parse(measured.table())
    # What Beam does with a row costs more than parsing it, and decoding more than reading.
    assert 0 < measured.csv_row_us < measured.group_row_us
    read = measured.read_image_us + 10_000 * measured.read_byte_ns / 1000
    assert 0 < read < measured.prove_image_us + 10_000 * measured.prove_byte_ns / 1000
    assert 7 * 2**-10 < measured.copies_share <= 7
    assert 0 < measured.start_s < measured.check_s + 2


@pytest.mark.parametrize(
    ("number", "parts", "buckets"), [(10**4, 1, 15), (10**6, 2, 1525), (10**8, 298, 4096), (10**9, 512, 4096)]
)
def test_a_band_has_no_more_parts_than_values(number: int, parts: int, buckets: int) -> None:
    assert (scaling.parts(_COSTS, number), scaling.buckets(_COSTS, number)) == (parts, buckets)


def test_made_fingerprints_share_bands_as_often_as_is_reckoned() -> None:
    bands = costs.neighbours.bands(list(costs._fingerprints(0, 5000)), 1 << 32)
    shared = sum(len(same.names) * (len(same.names) - 1) / 2 for _, same in bands)
    assert shared == pytest.approx(costs._pairs(5000), rel=0.02)
