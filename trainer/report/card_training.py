"""Writes the section of a model card about the training: its commands, its phases and its settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from multihot import markdown
from multihot.markdown import escape

# Settings that decide what is learned, as they stand in the card. Those with a value of the right column say nothing.
_SETTINGS: Mapping[str, Any] = {
    "epochs": None,
    "learning_rate": None,
    "freeze_backbone": False,
    "unfreeze_epochs": 0,
    "unfreeze_from": None,
    "unfreeze_learning_rate": None,
    "schedule": None,
    "early_stopping": 0,
    "batch_size": None,
    "accumulate": 1,
    "weight_decay": None,
    "clip_norm": 0.0,
    "ema": 0.0,
    "loss": None,
    "positive_weights": "none",
    "label_smoothing": 0.0,
    "augment": None,
    "mixup": 0.0,
    "mixup_until": 1.0,
    "min_crop_area": None,
    "train_sizes": None,
    "preprocessing": "auto",
    "precision": None,
    "deterministic": False,
    "seed": None,
}


def paragraphs(description: Mapping[str, Any]) -> list[str]:
    """Returns the paragraphs of the section.

    Args:
        description: the contents of config.json.
    """
    commands = description.get("commands", [])
    found = []
    if commands:
        lines = "\n".join(one["command"] for one in commands)
        # A fence that is longer than any in the commands.
        fence = "`" * max(3, 1 + max((len(run) for run in _runs_of(lines, "`")), default=0))
        several = " (the training was interrupted, and went on)" if len(commands) > 1 else ""
        found += [f"Made by{several}:", f"{fence}\n{lines}\n{fence}"]
    found.append(_phases(description))
    settings = [
        (name, description[name])
        for name, default in _SETTINGS.items()
        if name in description and description[name] != default and (name, description[name]) not in _mute(description)
    ]
    trained = description.get("num_weights", {}).get("trained")
    rows = [[f"`{name}`", escape(_value(value))] for name, value in settings]
    found.append(markdown.table(["setting", "value"], rows, align="left"))
    found.append(
        "[config.json](config.json) has all settings."
        + (f" {trained:,} of the weights were trained." if trained is not None else "")
    )
    return found


def _phases(description: Mapping[str, Any]) -> str:
    """Returns which weights were trained, one after the other, and on images of which sizes."""
    unfrozen, sizes = description.get("unfreeze_epochs"), [size for size, _ in description.get("train_sizes") or ()]
    if unfrozen:
        start = description["unfreeze_from"]
        part = f"from the layer {escape(start)} on"
        if start.replace(".", "").isdecimal():
            part = f"above the first {float(start):.0%} of its layers"
        words = (
            f"The head was trained for {description['epochs']} epochs, with the backbone frozen; then the backbone "
            f"{part} with it, for {unfrozen} epochs."
        )
    elif description.get("freeze_backbone"):
        words = "The head was trained, with the backbone frozen."
    else:
        words = "All weights were trained."
    if not sizes or set(sizes) == {description["image_size"]}:
        return words
    in_turn, evaluated = ", ".join(map(str, sizes)), description["image_size"]
    return f"{words} Training images had {in_turn} pixels, those of the evaluation {evaluated}."


def _mute(description: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Returns the settings that have no effect in this run, with their values."""
    names: list[str] = [] if description.get("train_sizes") else ["train_sizes"]
    if not description.get("unfreeze_epochs"):
        names += ["unfreeze_from", "unfreeze_learning_rate"]
    if description.get("augment") not in ("crop", "full"):
        names.append("min_crop_area")
    if description.get("augment") != "full":
        names.append("mixup")
    if description.get("augment") != "full" or not description.get("mixup"):
        names.append("mixup_until")
    return [(name, description.get(name)) for name in names]


def _runs_of(line: str, character: str) -> Iterator[str]:
    """Yields the stretches of a text that are made of one character."""
    found = ""
    for one in [*line, ""]:
        if one == character:
            found += one
        elif found:
            yield found
            found = ""


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(
            "x".join(f"{one:g}" for one in part) if isinstance(part, list | tuple) else str(part) for part in value
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
