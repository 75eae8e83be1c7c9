"""Writes MODEL_CARD.md: what a model is, what it was trained and evaluated on, and where its limits are.

The sections are those of Mitchell et al., "Model Cards for Model Reporting" (2019); the metadata at the top are as the
Hugging Face Hub reads them. All facts come from config.json, the evaluation and the manifests of a run. What only its
author knows (licence, purpose, people) is left to be completed, and marked so.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multihot import markdown
from multihot.markdown import escape
from schemas.statistics import Moments, Statistics
from trainer import run_folder, sources
from trainer.report import card_limits, card_training
from trainer.sources import Sources

FILE = "MODEL_CARD.md"
# Classes in the tables, the most frequent ones. evaluation.json and the manifests have all of them.
_MOST_CLASSES = 200
_METRICS = {
    "mean_average_precision": "mean average precision",
    "label_ranking_average_precision": "label-ranking average precision",
    "one_error": "one-error",
    "coverage": "coverage",
    "ranking_loss": "ranking loss",
    "f1": "F1",
    "hamming_loss": "hamming loss",
}
_LESS_IS_BETTER = ("one_error", "coverage", "ranking_loss", "hamming_loss")
_TO_COMPLETE = "*To be completed by the author.*"


def write(folder: Path, evaluation: Mapping[str, Any], data: Sources) -> None:
    """Writes the card into the folder of a run.

    Args:
        folder: of the run, with its config.json.
        evaluation: the contents of evaluation.json.
        data: the datasets of the run.
    """
    description = json.loads((folder / run_folder.CONFIG).read_text(encoding="utf-8"))
    run_folder.write_text(folder / FILE, text(folder.resolve().name, description, evaluation, data))


def text(name: str, description: Mapping[str, Any], evaluation: Mapping[str, Any], data: Sources) -> str:
    """Returns the card.

    Args:
        name: of the model.
        description: the contents of config.json.
        evaluation: the contents of evaluation.json.
        data: the datasets of the run.
    """
    sections = {
        "Model details": _details(description, data),
        "How to use it": _use(description, data),
        "Intended use": [f"What the model is for, and what it must not be used for: {_TO_COMPLETE}"],
        "Training data": _training_data(description, data),
        "Training": card_training.paragraphs(description),
        "Evaluation": _evaluation(description, evaluation, data),
        "Limits": [_bullets(card_limits.lines(description, evaluation, data))],
        "Ethical considerations": [f"People and groups whom the images, or wrong predictions, concern: {_TO_COMPLETE}"],
        "Environment": _environment(description),
    }
    parts = [_metadata(name, description, evaluation, data), f"# {escape(name)}", _summary(data)]
    for title, paragraphs in sections.items():
        parts += [f"## {title}", *paragraphs]
    return "\n\n".join(parts) + "\n"


def _metadata(name: str, description: Mapping[str, Any], evaluation: Mapping[str, Any], data: Sources) -> str:
    """Returns the front matter in YAML, of which JSON is a part: texts and numbers are written as JSON."""
    lines = [
        "---",
        "license:  # to be completed; images, labels and weights that training started from have licences of their own",
        "library_name: keras",
        "pipeline_tag: image-classification",
        "tags:",
        "- multi-label",
        "- multihot",
        "model-index:",
        f"- name: {json.dumps(name)}",
        "  results:",
        "  - task:",
        "      type: image-classification",
        "      name: multi-label image classification",
        "    dataset:",
        f"      type: {json.dumps(' + '.join(source.info.name for source in data.each))}",
        f"      name: {json.dumps(card_limits.dataset_names(data))}",
        f"      split: {json.dumps(description['validation_split'])}",
        "    metrics:",
    ]
    for key, title in _METRICS.items():
        if evaluation[key] is not None:
            lines += [f"    - type: {key}", f"      name: {title}", f"      value: {evaluation[key]:.4f}"]
    return "\n".join([*lines, "---"])


def _summary(data: Sources) -> str:
    classes = [escape(name) for name in data.classes]
    return (
        f"A model that predicts which of {len(classes)} classes an image shows: "
        f"{', '.join(classes[:20])}{f' and {len(classes) - 20} more' if len(classes) > 20 else ''}. An image may show "
        "several of them, or none."
    )


def _details(description: Mapping[str, Any], data: Sources) -> list[str]:
    size, weights = description["image_size"], description["weights"]
    count = description.get("num_weights")
    start = {"none": "random", "imagenet": "those of ImageNet"}.get(weights, f"those of {escape(str(weights))}")
    resizing = {
        "stretch": "the whole image is resized to a square; the ratio of its sides changes",
        "crop": "the largest square in the middle of the image is cut out and resized",
        "pad": "the whole image is resized, and black is added to make it a square",
    }[description.get("resize", "stretch")]
    outputs = (
        "one probability for each class; they add up to 1 (softmax)"
        if card_limits.is_softmax(description)
        else "one probability for each class, on its own (sigmoid); a label counts as predicted from its threshold on"
    )
    rows = {
        "architecture": escape(description["model"]) + (f", {count['total']:,} weights" if count else ""),
        "weights at the start": start,
        "input": f"RGB images [batch, {size}, {size}, 3], values from 0 to 255, whole or float; the model contains its "
        "own preprocessing",
        "way to this size": f"{resizing}; with antialiasing",
        "output": f"float32 [batch, {len(data.classes)}]: {outputs}",
        "order of the outputs": _list(data.classes),
        "made with": f"multihot {escape(description.get('versions', {}).get('multihot', ''))}"
        + "".join(f", begun {one['started'][:10]}" for one in description.get("commands", [])[:1]),
        "licence": _TO_COMPLETE,
        "authors and contact": _TO_COMPLETE,
    }
    return [markdown.table(["", ""], [[key, value] for key, value in rows.items()], align="left")]


def _list(names: Sequence[str]) -> str:
    """Returns all names, as the outputs have them; the first ones of very many."""
    shown = ", ".join(escape(name) for name in names[:_MOST_CLASSES])
    more = len(names) - _MOST_CLASSES
    return shown + (f" and {more} more: `classes_used` in config.json" if more > 0 else "")


def _use(description: Mapping[str, Any], data: Sources) -> list[str]:
    size = description["image_size"]
    options = {"stretch": "", "crop": ", keep_aspect_ratio=True"}.get(description.get("resize", "stretch"))
    if options is None:
        load = (
            'image = keras.utils.img_to_array(keras.utils.load_img("photo.jpg"))\n'
            f"image = keras.ops.image.resize(image, ({size}, {size}), antialias=True, pad_to_aspect_ratio=True)"
        )
    else:
        options = f'target_size=({size}, {size}), interpolation="bilinear"{options}'
        load = f'image = keras.utils.img_to_array(keras.utils.load_img("photo.jpg", {options}))'
    scores = "scores = model.predict(image[None])[0]"
    if description.get("test_time_flip"):
        scores = "scores = (model.predict(image[None]) + model.predict(image[None, :, ::-1]))[0] / 2"
    lines = [
        "```python",
        "import keras",
        "",
        f'model = keras.saving.load_model("{run_folder.MODEL}", compile=False)',
        load,
        scores,
        "```",
    ]
    notes = ["`scores` has a probability for each class, in the order above."]
    if description.get("test_time_flip"):
        notes.append("It is the mean for the image and its mirror image, as in the evaluation below.")
    # The background of the first dataset which has one, as `model.keras` notes it.
    background = next((source.info.background for source in data.each if source.info.background), "white")
    notes.append(f"Images that EXIF rotates must be turned upright before, and transparent ones laid on {background}.")
    if ":" in description["model"]:
        notes.append("If the model has layers of your own, their module must be imported before the model is loaded.")
    return ["\n".join(lines), " ".join(notes)]


def _training_data(description: Mapping[str, Any], data: Sources) -> list[str]:
    splits = (description["train_split"], description["validation_split"])
    rows = [
        [
            escape(f"{source.info.name} {source.info.version}"),
            f"`{source.info.fingerprint[:16]}`",
            *(f"{source.split(split).num_examples:,}" for split in splits),
        ]
        for source in data.each
    ]
    header = ["data set", "fingerprint", *(f"images in `{split}`" for split in splits)]
    train, validation = (data.split(split).statistics for split in splits)
    paragraphs = [markdown.table(header, rows), _sizes(train)]
    weights = description.get("data_weights")
    if weights:
        paragraphs.append(
            f"Images of the data sets were drawn with weights {', '.join(f'{one:g}' for one in weights)}."
        )
    unknown = any(train.unknown) or any(validation.unknown)
    chosen = _most_frequent(train)
    header = ["class", f"images in `{splits[0]}`", "share", f"images in `{splits[1]}`", "share"]
    if unknown:
        header += [f"unknown in `{split}`" for split in splits]
    table = markdown.table(
        header,
        [
            [
                escape(data.classes[i]),
                *_count_and_share(train, i),
                *_count_and_share(validation, i),
                *([_unknown(statistics, i) for statistics in (train, validation)] if unknown else []),
            ]
            for i in chosen
        ],
    )
    paragraphs.append("Images that are known to show each class, and their share of those of which it is known:")
    paragraphs.append(table + _more(len(data.classes), "the manifest of the data set"))
    return paragraphs


def _sizes(statistics: Statistics) -> str:
    def extent(moments: Moments) -> str:
        return f"{moments.mean:.0f} ({moments.minimum} to {moments.maximum})"

    return (
        f"Training images are {extent(statistics.width)} pixels wide and {extent(statistics.height)} pixels high on "
        "average (from the smallest to the largest). Where images and labels come from, and who labelled them: "
        f"{_TO_COMPLETE}"
    )


def _most_frequent(statistics: Statistics) -> list[int]:
    """Returns the classes of the tables, in the order of the outputs."""
    order = sorted(range(len(statistics.positives)), key=lambda i: -statistics.positives[i])
    return sorted(order[:_MOST_CLASSES])


def _more(num_classes: int, place: str) -> str:
    if num_classes <= _MOST_CLASSES:
        return ""
    return f"\n\nThe {_MOST_CLASSES} most frequent of {num_classes:,} classes; {place} has all of them."


def _count_and_share(statistics: Statistics, i: int) -> tuple[str, str]:
    known = sources.num_known(statistics)[i]
    return f"{statistics.positives[i]:,}", f"{statistics.positives[i] / known:.1%}" if known else "unknown"


def _unknown(statistics: Statistics, i: int) -> str:
    return f"{statistics.unknown[i]:,}" if statistics.unknown else "0"


def _evaluation(description: Mapping[str, Any], evaluation: Mapping[str, Any], data: Sources) -> list[str]:
    split = description["validation_split"]
    statistics = data.split(split).statistics
    flipped = " Scores are the means for each image and its mirror image." if description.get("test_time_flip") else ""
    rows = [
        [title, _number(evaluation[key]), "less" if key in _LESS_IS_BETTER else "more"]
        for key, title in _METRICS.items()
    ]
    known = sources.num_known(statistics)
    classes = [
        [
            escape(data.classes[i]),
            _number(evaluation["average_precision"].get(data.classes[i])),
            f"{statistics.positives[i]:,}",
            f"{statistics.positives[i] / known[i]:.4f}" if known[i] else "unknown",
        ]
        for i in _most_frequent(data.split(description["train_split"]).statistics)
    ]
    return [
        f"Metrics of all {evaluation['num_examples']:,} images of the split `{split}` together.{flipped}",
        markdown.table(["metric", "value", "better"], rows),
        "Average precision, label-ranking average precision, coverage and ranking loss are as scikit-learn defines "
        "them. One-error is the share of images whose highest score is of a class that they do not show, hamming loss "
        "that of wrong labels. It and F1, the mean over the classes, are at the thresholds of the classes "
        f"(`{run_folder.MODEL}` has them in its entry `multihot.json`).",
        "Average precision of each class; random scores reach about its share of the images:",
        markdown.table(["class", "average precision", "positive images", "share"], classes)
        + _more(len(data.classes), "evaluation.json"),
    ]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _bullets(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _environment(description: Mapping[str, Any]) -> list[str]:
    environment = description.get("environment", {})
    rows = {
        "device": environment.get("device"),
        "processor": environment.get("processor"),
        "cores, memory": f"{environment['cores']}, {environment['memory_gb']} GB" if "cores" in environment else None,
        "system": environment.get("system"),
        "versions": ", ".join(f"{name} {version}" for name, version in description.get("versions", {}).items()),
        **{
            f"revision of {name.replace('_', ' ')}": one["commit"] + (" and changes" if one.get("modified") else "")
            for name, one in description.get("revisions", {}).items()
        },
    }
    return [markdown.table(["", ""], [[key, escape(str(value))] for key, value in rows.items() if value], align="left")]
