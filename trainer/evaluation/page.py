"""Builds evaluation.html, one file with everything in it, from the contents of evaluation.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from multihot import pages
from trainer.evaluation import charts, summary
from trainer.evaluation.contents import SLICE_FIGURES
from trainer.evaluation.figures import HEADLINE

# Classes with charts, if there are more than both together: the most frequent ones and the rarest that some image has.
_MOST_FREQUENT, _RAREST = 20, 10
# Rows of a table.
_MOST_ROWS = 1000


def render(evaluation: Mapping[str, Any], pictures: Sequence[tuple[str, str]], *, exact_maps: bool | None) -> str:
    """Returns the page. All names are escaped, so that none of them is markup.

    Args:
        evaluation: the contents of evaluation.json.
        pictures: two data URIs for each of the worst images: the image, and its map or "".
        exact_maps: whether the maps are exact; None without maps.
    """
    shown = {name: evaluation["classes"][name] for name in _shown(evaluation["classes"])}
    drawn = {
        name: (charts.precision_recall(name, one), charts.calibration(name, one["calibration"]["bins"]))
        for name, one in shown.items()
    }
    template = pages.environment("trainer.evaluation").get_template("evaluation.html.jinja")
    return template.render(
        evaluation=evaluation,
        notes=list(summary.notes(evaluation))[1:],
        headline=[(name, summary.TITLES[name], less) for name, less in HEADLINE.items()],
        slice_figures=[(name, summary.TITLES[name]) for name in SLICE_FIGURES],
        verdict=summary.verdict(evaluation["comparison"]) if "comparison" in evaluation else "",
        shown=shown,
        drawn=drawn,
        average_precisions=charts.average_precisions(shown),
        calibration=charts.calibration("all labels", evaluation["calibration"]["bins"]),
        pictures=pictures,
        exact_maps=exact_maps,
        most_rows=_MOST_ROWS,
    )


def _shown(classes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the names of the classes with charts, in the order of the model."""
    if len(classes) <= _MOST_FREQUENT + _RAREST:
        return list(classes)
    ranked = sorted(
        (name for name in classes if classes[name]["positive"]), key=lambda name: -classes[name]["positive"]
    )
    chosen = {*ranked[:_MOST_FREQUENT], *ranked[_MOST_FREQUENT:][-_RAREST:]}
    return [name for name in classes if name in chosen]
