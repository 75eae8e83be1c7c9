"""Draws the charts of the report as SVG that takes the colours and fonts of the page.

Names of classes are text in the SVG, in any script, and never markup.
"""

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from multihot import charts

# Largest number of classes for which the numbers fit into the cells of the heat map.
_MAX_NUMBERS = 12
# Largest number of different image sizes in the chart, the most frequent ones. Each takes 100 bytes of the page.
_MAX_SIZES = 500


def positives(names: Sequence[str], counts: Sequence[Sequence[int]], num_examples: int) -> str:
    """Draws a bar for each class, with a section for each split.

    Args:
        names: of the classes, from top to bottom.
        counts: for each class, the number of its examples in each split.
        num_examples: in all splits.
    """

    def draw(axes: Axes) -> None:
        rows = np.arange(len(names))
        ends = np.cumsum(np.array(counts, np.int64).reshape(len(names), -1), axis=1)
        for i in range(ends.shape[1]):
            before = ends[:, i - 1] if i else 0
            axes.barh(
                rows + 0.4, ends[:, i] - before, height=0.28, left=before, color=charts.COLOURS[i % charts.NUM_COLOURS]
            )
        for row, name in enumerate(names):
            total = int(ends[row, -1])
            axes.text(0, row, charts.short(name, 36), va="center")
            told = f"{total:,} · {total / max(1, num_examples):.1%}"
            axes.text(1, row, told, va="center", ha="right", transform=axes.get_yaxis_transform())
        axes.set(xlim=(0, max(1, ends[:, -1].max(initial=0))), ylim=(len(names) - 0.35, -0.35))
        axes.set_axis_off()

    return charts.chart("positives", draw, 0.1 + 0.42 * len(names))


def cooccurrence(names: Sequence[str], shares: NDArray[np.float64]) -> str:
    """Draws a cell for each pair of classes.

    Args:
        names: of k classes.
        shares: float64 [k, k]: the share of the examples with the class of the row that have the class of the column.
    """
    size = len(names)
    few = size <= _MAX_NUMBERS
    short = [charts.short(name, 14) for name in names]
    # Inches for the longest name, if all letters are as wide as a W.
    room = 0.3 + 0.13 * max(map(len, short), default=0)

    def draw(axes: Axes) -> None:
        red_green_blue = to_rgb(charts.ACCENT)
        fading = LinearSegmentedColormap.from_list("fading", [(*red_green_blue, 0.0), (*red_green_blue, 0.6)])
        axes.pcolormesh(np.ma.array(shares, mask=np.eye(size) + (shares == 0)), cmap=fading, vmin=0, vmax=1)
        axes.set(xlim=(0, size), ylim=(size, 0))
        middle = np.arange(size) + 0.5
        axes.set_yticks(middle, short)
        axes.set_xticks(middle, short, rotation=90)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelsize=9.5 if few else 7.5)
        axes.spines[:].set_visible(False)
        if few:
            for row, column in np.argwhere(~np.eye(size, dtype=bool)):
                number = f"{shares[row, column]:.0%}"
                axes.text(column + 0.5, row + 0.5, number, ha="center", va="center")

    if few:
        return charts.chart("cooccurrence", draw, room + 0.3 * size)
    return charts.chart("cooccurrence", draw, 1.1 + 0.18 * size, 1.1 + 0.18 * max(size, 24))


def cardinality(numbers: Sequence[int]) -> str:
    """Draws a histogram of the number of labels of an example."""

    def draw(axes: Axes) -> None:
        most = max(numbers, default=0)
        step = most // 20 + 1
        axes.hist(numbers, [edge - 0.5 for edge in range(0, most + step + 1, step)], color=charts.ACCENT, rwidth=0.9)
        axes.set(xlabel="labels of an image")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _count_images(axes)

    return charts.chart("cardinality", draw)


def sizes(widths: Sequence[int], heights: Sequence[int]) -> str:
    """Draws a dot for each size of images in pixels: ten times as many images make a larger dot."""

    def draw(axes: Axes) -> None:
        common = Counter(zip(widths, heights, strict=True)).most_common(_MAX_SIZES)
        for digits, group in itertools.groupby(common, key=lambda item: len(str(item[1]))):
            x, y = zip(*(size for size, _ in group), strict=True)
            axes.plot(x, y, ".", color=charts.ACCENT, alpha=0.5, markersize=3 + 4 * digits, markeredgewidth=0)
        axes.set(xlabel="width, pixels", ylabel="height, pixels", xlim=(0, None), ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(linewidth=0.5)

    return charts.chart("sizes", draw)


def aspect_ratios(widths: Sequence[int], heights: Sequence[int]) -> str:
    """Draws a histogram of the ratio of width to height."""

    def draw(axes: Axes) -> None:
        ratios = np.log2(np.array(widths, float) / np.array(heights, float))
        # The last bars at both ends have all ratios from 8:1 on.
        axes.hist(np.clip(ratios, -3, 3), np.linspace(-3.125, 3.125, 26).tolist(), color=charts.ACCENT, rwidth=0.9)
        ticks = {-3: "≤ 1:8", -2: "1:4", -1: "1:2", 0: "1:1", 1: "2:1", 2: "4:1", 3: "≥ 8:1"}
        axes.set_xticks(list(ticks), list(ticks.values()))
        narrowest, widest = min(-1, ratios.min(initial=0)), max(1, ratios.max(initial=0))
        axes.set(xlabel="width : height", xlim=(max(-3, narrowest) - 0.25, min(3, widest) + 0.25))
        _count_images(axes)

    return charts.chart("aspect_ratios", draw)


def _count_images(axes: Axes) -> None:
    axes.set(ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y", linewidth=0.5)
