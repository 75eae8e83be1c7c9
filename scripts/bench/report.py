"""Writes the results of the benchmarks: measurements of alternating rounds as a table, as a plot and as JSON.

A benchmark runs everything that it compares in each round, one after the other, and a ratio is that of the same round:
what else the machine did in the meantime was the same for both.
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The measurements of one row.

    Attributes:
        name: of the thing.
        unit: of the values, e.g. `images/s`.
        values: one for each round, at least one.
        more: other figures, one for all rounds, by the heading of their column in the table, which names the unit,
            e.g. `{"first batch s": 0.4, "peak memory MB": 812}`.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    more: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.name}: there must be a value for at least one round.")

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return min(self.values), max(self.values)


def ratio(a: Measurement, b: Measurement) -> float:
    """Returns how many times `b` is in `a`: the median over the rounds of the ratio in that round.

    Args:
        a: measured in the same rounds as `b`.
        b: what it is compared with; no value of it is 0.

    Raises:
        ValueError: units or rounds are not the same.
    """
    if a.unit != b.unit:
        raise ValueError(f"{a.name} is in {a.unit}, {b.name} in {b.unit}.")
    return statistics.median(x / y for x, y in zip(a.values, b.values, strict=True))


def table(measurements: Sequence[Measurement], reference: Iterable[str] = ()) -> str:
    """Returns a table for the terminal: a row for each measurement, with its median, its spread and its ratios.

    Args:
        measurements: all of one unit, with different names.
        reference: names of measurements; each gives a column, how many times it every row is.
    """
    named = {one.name: one for one in measurements}
    rows = []
    for one in measurements:
        low, high = one.spread
        row = {"": one.name, one.unit: number(one.median), "min..max": f"{number(low)}..{number(high)}"}
        row |= {f"/ {name}": f"{ratio(one, named[name]):.2f}" for name in reference}
        rows.append(row | {heading: number(value) for heading, value in one.more.items()})
    frame = pd.DataFrame(rows).fillna("-")
    left = f"<{frame[''].str.len().max()}"
    return str(frame.to_string(index=False, formatters={"": lambda name: format(name, left)}))


def number(value: float) -> str:
    """Returns a figure as people read it: three digits, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plot(measurements: Sequence[Measurement], path: str | os.PathLike[str], title: str) -> None:
    """Draws medians as horizontal bars, with a line from the lowest to the highest round.

    Args:
        measurements: all of one unit, from top to bottom.
        path: of the picture; its ending says the format, e.g. `.png` or `.svg`.
        title: above the picture.
    """
    figure = Figure(figsize=(9, 1.2 + 0.42 * len(measurements)), dpi=120, layout="constrained")
    axes = figure.subplots()
    names, medians = [one.name for one in measurements], [one.median for one in measurements]
    below = [one.median - one.spread[0] for one in measurements]
    above = [one.spread[1] - one.median for one in measurements]
    bars = axes.barh(names, medians, xerr=(below, above), color="#4c78a8", ecolor="#333333", capsize=3)
    axes.bar_label(bars, labels=[number(median) for median in medians], padding=6)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(measurements[0].unit)
    figure.suptitle(title)
    figure.savefig(path)


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Describes where the benchmark runs.

    Args:
        packages: distributions whose versions matter; those that are not installed are left out.
    """
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform(), "versions": versions}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_json(
    path: str | os.PathLike[str],
    measurements: Sequence[Measurement],
    ratios: Mapping[str, float],
    machine: Mapping[str, Any],
) -> None:
    """Writes all that was measured.

    Args:
        path: of the file.
        measurements: every one with its values, its median, and what more there is.
        ratios: by the names that the benchmark documents.
        machine: see the function of that name.
    """
    measured = [{**dataclasses.asdict(one), "median": one.median} for one in measurements]
    document = {"machine": machine, "ratios": ratios, "measurements": measured}
    Path(path).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
