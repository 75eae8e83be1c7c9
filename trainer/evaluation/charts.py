"""Draws the charts of evaluation.html."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from multihot import charts
from multihot.charts import ACCENT, COLOURS, LINE

_SQUARE = 3.0


def average_precisions(classes: Mapping[str, Mapping[str, Any]]) -> str:
    """Draws the average precision of each class, with its interval."""
    names = list(classes)

    def draw(axes: Axes) -> None:
        for row, name in enumerate(names):
            one = classes[name]["average_precision"]
            told = "undefined"
            if one["value"] is not None:
                told = f"{one['value']:.3f}"
                if one["low"] is not None:
                    axes.plot([one["low"], one["high"]], [row + 0.4, row + 0.4], color=ACCENT, linewidth=2.5, alpha=0.5)
                axes.plot([one["value"]], [row + 0.4], "o", color=ACCENT, markersize=5)
            axes.axhline(row + 0.4, color=LINE, linewidth=0.5, zorder=0)
            axes.text(0, row, charts.short(name, 36), va="center", transform=axes.get_yaxis_transform())
            axes.text(1, row, told, va="center", ha="right", transform=axes.get_yaxis_transform())
        axes.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.2, -0.4), yticks=[])
        axes.spines[["left"]].set_visible(False)

    return charts.chart("average_precisions", draw, 0.5 + 0.42 * len(names))


def precision_recall(name: str, one: Mapping[str, Any]) -> str:
    """Draws the precision-recall curve of a class, with a dot where its threshold is.

    Args:
        name: of the class.
        one: its part of evaluation.json.
    """
    curve = one["precision_recall_curve"] or {"recall": [], "precision": []}

    def draw(axes: Axes) -> None:
        axes.plot(curve["recall"], curve["precision"], color=ACCENT, linewidth=1.8)
        if one["precision"]["value"] is not None:
            axes.plot([one["recall"]["value"]], [one["precision"]["value"]], "o", color=COLOURS[1], markersize=7)
        _square(axes, "recall", "precision")

    return charts.chart(f"curve of {name}", draw, _SQUARE)


def calibration(name: str, bins: Sequence[Mapping[str, Any]]) -> str:
    """Draws the share of positives at the scores of each range, which is on the diagonal for a calibrated model.

    Args:
        name: of the class.
        bins: of its calibration.
    """
    most = max((one["number"] for one in bins), default=1)

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        axes.plot([one["mean_score"] for one in bins], [one["positive"] for one in bins], color=ACCENT, linewidth=1)
        for one in bins:
            # The area of a dot grows with the number of scores.
            size = 3 + 9 * (one["number"] / most) ** 0.5
            axes.plot([one["mean_score"]], [one["positive"]], "o", color=ACCENT, markersize=size)
        _square(axes, "score", "share that has the class")

    return charts.chart(f"calibration of {name}", draw, _SQUARE)


def _square(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel=xlabel, ylabel=ylabel)
    axes.grid(linewidth=0.5)
