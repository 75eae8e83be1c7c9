"""Writes an evaluation as lines for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multihot.printable import printable
from trainer.evaluation.contents import SLICE_FIGURES
from trainer.evaluation.figures import HEADLINE

TITLES: Mapping[str, str] = {
    "mean_average_precision": "mean average precision",
    "average_precision_micro": "average precision of all labels",
    "label_ranking_average_precision": "label-ranking average precision",
    "f1_macro": "F1, mean of the classes",
    "f1_micro": "F1 of all labels",
    "f1_samples": "F1, mean of the images",
    "precision_macro": "precision, mean of the classes",
    "precision_micro": "precision of all labels",
    "precision_samples": "precision, mean of the images",
    "recall_macro": "recall, mean of the classes",
    "recall_micro": "recall of all labels",
    "recall_samples": "recall, mean of the images",
    "one_error": "one-error",
    "hamming_loss": "hamming loss",
    "brier": "Brier score",
}
# Classes in the table, those with most positive images. evaluation.json has all.
_MOST_CLASSES = 40
_MOST_PAIRS = 5
_MOST_NAME = 30


def lines(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of an evaluation.

    Args:
        evaluation: the contents of evaluation.json.
    """
    yield from notes(evaluation)
    yield ""
    titles = [(TITLES[name], interval(evaluation["headline"][name])) for name in HEADLINE]
    yield from _table([("", "value (95 % interval)"), *titles])
    yield ""
    yield from _classes(evaluation["classes"])
    for title, found in (
        ("Predicted instead of a missed class:", [instead(one) for one in evaluation["predicted_instead"]]),
        ("Missed together:", [together(one) for one in evaluation["missed_together"]]),
    ):
        if found:
            yield from ("", title, *(f"  {printable(one)}" for one in found[:_MOST_PAIRS]))
    for by, parts in evaluation["slices"].items():
        yield ""
        header = (f"by {by.replace('_', ' ')}", "images", *(TITLES[name] for name in SLICE_FIGURES))
        yield from _table([header, *(_slice(part) for part in parts)])
    if "comparison" in evaluation:
        yield ""
        yield from _comparison(evaluation["comparison"])


def notes(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Yields sentences about the images and the classes, and about whatever limits the figures."""
    classes = evaluation["classes"]
    data = ", ".join(f"{one['name']} {one['version']}" for one in evaluation["datasets"])
    num = f"{evaluation['num_examples']:,}"
    yield printable(f"{num} images of the split {evaluation['split']!r} of {data}, {len(classes):,} classes.")
    lacking = "The data has no" if len(evaluation["datasets"]) == 1 else "Not every dataset has"
    for key, sentence in (
        ("classes_only_in_model", f"{lacking} {{}}: these classes of the model are left out."),
        ("classes_only_in_data", "The model does not know {}: these classes of the data are left out."),
    ):
        if evaluation[key]:
            yield sentence.format(_some(evaluation[key]))
    comparison = evaluation.get("comparison", {})
    if comparison.get("classes_only_in_first_run"):
        names = _some(comparison["classes_only_in_first_run"])
        yield f"{printable(comparison['run'])} does not know {names}: these classes are left out."
    unknown = sum(evaluation.get("unknown_labels", {}).values())
    if unknown:
        labels = evaluation["num_examples"] * len(classes)
        yield f"{unknown:,} of {labels:,} labels are unknown, and have no part in any figure."
    empty = [name for name, one in classes.items() if not one["positive"]]
    if empty:
        yield f"No image has {_some(empty)}: the figures of these classes are undefined, and no part of the means."
    if evaluation["trained_on"]:
        yield (
            f"The model was trained on these images ({_some(evaluation['trained_on'])}): the figures say how well it "
            "remembers them, not how good it is on others."
        )
    if comparison.get("trained_on"):
        yield (
            f"{printable(comparison['run'])} was trained on these images ({_some(comparison['trained_on'])}): the "
            "differences say nothing about others."
        )
    leaks = evaluation["leaks"]
    if leaks["num_examples"]:
        without = leaks["without"]
        told = (
            f"Without them, mean average precision is {interval(without['mean_average_precision'])} and F1 of all "
            f"labels {interval(without['f1_micro'])}."
            if without
            else "There are no others."
        )
        yield (
            f"{leaks['num_examples']:,} of the images are the same as images of other splits, or nearly "
            f"(duplicates.csv): the figures may be too good. {told}"
        )
    plan = evaluation["bootstrap"]
    if plan["images"] < evaluation["num_examples"]:
        yield (
            f"The intervals come from {plan['replicates']} samples of {plan['images']:,} images, and are scaled to "
            "all images."
        )


def interval(one: Mapping[str, float | None]) -> str:
    """Returns a figure with its interval, as `0.972 (0.961 to 0.980)`."""
    if one["value"] is None:
        return "undefined"
    if one["low"] is None:
        return f"{one['value']:.4f}"
    return f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"


def instead(one: Mapping[str, Any]) -> str:
    """Returns a sentence about a class that is predicted instead of another."""
    return f"{one['missed']} missed, {one['predicted']} predicted: {one['images']:,} of {one['of']:,} images"


def together(one: Mapping[str, Any]) -> str:
    """Returns a sentence about classes that are missed together."""
    first, second = one["classes"]
    return f"{first} and {second}: {one['images']:,} of {one['of']:,} images that have both"


def verdict(comparison: Mapping[str, Any], name: str = "mean_average_precision") -> str:
    """Returns a sentence that says whether a second run is better."""
    one = comparison["headline"][name]
    if one["value"] is None:
        return f"{TITLES[name].capitalize()} of {comparison['run']}: undefined."
    side = "higher" if one["value"] >= 0 else "lower"
    size = f"{TITLES[name].capitalize()} of {comparison['run']} is {abs(one['value']):.4f} {side}"
    if one["low"] is None:
        return f"{size}. Too few images have labels to say whether that is noise."
    told = {
        "better": "it is better",
        "worse": "it is worse",
        "noise": "that may be noise: on other images, either run might be better",
    }[one["verdict"]]
    return f"{size} (95 % interval of the difference: {one['low']:+.4f} to {one['high']:+.4f}): {told}."


def _comparison(comparison: Mapping[str, Any]) -> Iterator[str]:
    yield verdict(comparison)
    rows = [("difference", "value (95 % interval)", "")]
    rows += [(TITLES[name], interval(one), one["verdict"]) for name, one in comparison["headline"].items()]
    yield from _table(rows)


def _classes(classes: Mapping[str, Any]) -> Iterator[str]:
    shown = sorted(classes, key=lambda name: -classes[name]["positive"])[:_MOST_CLASSES]
    header = ("class", "images", "average precision", "threshold", "precision", "recall", "F1")
    yield from _table([header, *(_class(name, one) for name, one in classes.items() if name in shown)])
    if len(shown) < len(classes):
        yield f"{len(classes) - len(shown):,} more classes are in evaluation.json."


def _class(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    values = [one[key]["value"] for key in ("precision", "recall", "f1")]
    return (
        _short(name),
        f"{one['positive']:,}",
        interval(one["average_precision"]),
        f"{one['threshold']:.3f}",
        *("undefined" if value is None else f"{value:.3f}" for value in values),
    )


def _slice(part: Mapping[str, Any]) -> tuple[str, ...]:
    return _short(part["name"]), f"{part['num_examples']:,}", *(interval(part[name]) for name in SLICE_FIGURES)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return printable(", ".join(names[:10])) + more


def _short(name: str) -> str:
    name = printable(name)
    # Names that begin alike, as paths do, differ at their end.
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME // 2 - 1]}…{name[-_MOST_NAME // 2 :]}"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, wide[1:], strict=True)]
        yield "  ".join([f"{first:<{wide[0]}}", *cells]).rstrip()
