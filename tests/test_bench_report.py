"""How benchmarks report: medians, ratios of the same round, a table, a plot, JSON."""

import json
import os
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import report
from report import Measurement

_OURS = Measurement("ours", "images/s", (300.0, 4000.0, 1000.0), {"peak memory MB": 812.4})
_PEER = Measurement("the plain loop", "images/s", (100.0, 2000.0, 400.0))

_rates = st.lists(st.tuples(*[st.floats(1, 1e6)] * 2), min_size=1, max_size=9)


def test_a_ratio_is_the_median_of_the_ratios_of_each_round_and_not_that_of_the_medians() -> None:
    assert report.ratio(_OURS, _PEER) == 2.5
    other = Measurement("other", "images/s", (1000.0, 300.0, 4000.0))
    assert report.ratio(_OURS, other) == 0.3


@given(_rates)
def test_what_slows_a_whole_round_down_changes_no_ratio(rounds: list[tuple[float, float]]) -> None:
    slowed = [(a / (i + 1), b / (i + 1)) for i, (a, b) in enumerate(rounds)]
    before, after = (
        report.ratio(*(Measurement("it", "images/s", values) for values in zip(*measured, strict=True)))
        for measured in (rounds, slowed)
    )
    assert after == pytest.approx(before)
    assert before == pytest.approx(statistics.median(a / b for a, b in rounds))


def test_a_ratio_is_of_the_same_unit_and_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="ours is in images/s, memory in MB"):
        report.ratio(_OURS, Measurement("memory", "MB", (1.0, 2.0, 3.0)))
    with pytest.raises(ValueError, match="shorter"):
        report.ratio(_OURS, Measurement("fewer", "images/s", (1.0, 2.0)))


def test_there_is_no_measurement_without_a_round() -> None:
    with pytest.raises(ValueError, match="nothing: there must be a value"):
        Measurement("nothing", "s", ())


def test_the_table_has_medians_spread_ratios_and_what_more_there_is() -> None:
    lines = report.table([_OURS, _PEER], reference=["the plain loop"]).splitlines()
    assert [line.split() for line in lines] == [
        ["images/s", "min..max", "/", "the", "plain", "loop", "peak", "memory", "MB"],
        ["ours", "1,000", "300..4,000", "2.50", "812"],
        ["the", "plain", "loop", "400", "100..2,000", "1.00", "-"],
    ]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.0123"), (1.0, "1"), (99.94, "99.9"), (100.4, "100"), (1234567.0, "1,234,567")]
)
def test_figures_have_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert report.number(value) == text


def test_the_plot_has_a_bar_as_long_as_the_median(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    report.plot([_PEER, Measurement("twice", "images/s", (800.0,))], path, "Title")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    bars = (abs(pixels - (0x4C, 0x78, 0xA8)) < 8).all(axis=2)
    # The line of the spread lies on the upper one: its longest row of pixels is that above or below the line.
    rows = bars.sum(axis=1)
    upper, lower = np.array_split(rows[rows > 0], 2)
    assert lower.max() / upper.max() == pytest.approx(2, rel=0.02)


def test_the_json_has_all_that_was_measured_and_on_what(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    report.write_json(path, [_OURS], {"over_plain_loop": 2.5}, report.machine(["numpy", "no-such-package"]))
    written = json.loads(path.read_text())
    assert written["measurements"] == [
        {
            "name": "ours",
            "unit": "images/s",
            "values": [300.0, 4000.0, 1000.0],
            "more": {"peak memory MB": 812.4},
            "median": 1000.0,
        }
    ]
    assert written["ratios"] == {"over_plain_loop": 2.5}
    assert written["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert written["machine"]["cpu"]
    assert set(written["machine"]["versions"]) == {"python", "numpy"}
