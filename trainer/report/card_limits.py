"""Writes the section of a model card about the limits of a model and of its evaluation."""

from collections.abc import Iterator, Mapping
from typing import Any

from multihot.markdown import escape
from schemas import layout
from trainer import sources
from trainer.sources import Source, Sources

# Below this number of positive or of negative images, the average precision of a class says little.
_FEW = 10


def lines(description: Mapping[str, Any], evaluation: Mapping[str, Any], data: Sources) -> Iterator[str]:
    """Yields the sentences of the section.

    Args:
        description: the contents of config.json.
        evaluation: the contents of evaluation.json.
        data: the datasets of the run.
    """
    split = description["validation_split"]
    yield (
        f"The model was evaluated on the split `{split}` of {escape(dataset_names(data))} alone, and not on images of "
        "other places, times, cameras or kinds, on which it may be much worse."
    )
    yield f"Metrics are those of one training, with seed {description['seed']}; those of other seeds differ."
    if description.get("early_stopping"):
        yield f"The number of epochs was chosen on the split `{split}` (early stopping), which makes metrics too good."
    yield (
        "If settings, or this run among several, were chosen by these metrics, they are better than on new images. The "
        "thresholds of the classes were chosen for a high F1, not for a purpose."
    )
    for source in data.each:
        yield from _duplicates(source, plural=len(data.each) > 1)
    if len(data.each) > 1:
        yield "Nobody has looked for images that are the same in several of the data sets."
    yield from _rare_classes(description, evaluation, data)
    if data.has_unknown:
        counts = " and ".join(
            f"{sum(data.split(name).statistics.unknown):,} in `{name}`" for name in (description["train_split"], split)
        )
        yield (
            f"Some labels are unknown: {counts}. They have no part in training and metrics. If labels of some kinds of "
            "images are known more often, metrics are rather of these images."
        )
    if is_softmax(description):
        yield "Probabilities add up to 1, so that the model cannot say that an image shows several classes, or none."


def _duplicates(source: Source, *, plural: bool) -> Iterator[str]:
    info, where = source.info, f"{escape(source.info.name)}: " if plural else ""
    if info.leaks.get("num_groups"):
        yield (
            f"{where}{info.leaks['num_images']} images that are the same or nearly the same, in "
            f"{info.leaks['num_groups']} groups, are in several splits, so that metrics may be too good. "
            f"`{layout.DUPLICATES}` of the data set lists them."
        )
    elif "num_groups" in info.leaks:
        yield f"{where}No images are known that are the same or nearly the same and in several splits."
    if info.augmented:
        yield (
            f"{where}{info.augmented} images have, by the names of their files, augmented versions in several splits, "
            "so that metrics may be too good."
        )
    if info.damaged:
        yield f"{where}{info.damaged} images are damaged JPEGs that were kept."
    rejected = sum(info.rejects.values())
    if rejected:
        yield f"{where}{rejected} rows of the table of labels were rejected; their images are in no split."


def _rare_classes(description: Mapping[str, Any], evaluation: Mapping[str, Any], data: Sources) -> Iterator[str]:
    """Yields a line about classes without an average precision, and one about classes with few images."""
    statistics = data.split(description["validation_split"]).statistics
    known = sources.num_known(statistics)
    undefined = [name for name in data.classes if evaluation["average_precision"].get(name) is None]
    if undefined:
        yield (
            "The average precision of these classes is undefined, since no image or all images of the split show them: "
            f"{escape(sources.some(undefined))}."
        )
    few = [
        name
        for name, positives, number in zip(data.classes, statistics.positives, known, strict=True)
        if name not in undefined and min(positives, number - positives) < _FEW
    ]
    if few:
        yield (
            f"Fewer than {_FEW} images of the split show these classes, or do not show them, so that their average "
            f"precision is uncertain: {escape(sources.some(few))}."
        )


def dataset_names(data: Sources) -> str:
    """Returns the names and versions of the datasets of a run."""
    return " + ".join(f"{source.info.name} {source.info.version}" for source in data.each)


def is_softmax(description: Mapping[str, Any]) -> bool:
    """Returns whether the probabilities of a model add up to 1."""
    return bool(description["loss"] == "categorical_crossentropy")
