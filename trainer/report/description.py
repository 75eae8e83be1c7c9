"""Describes a run in its config.json: settings, datasets, environment, and the commands that have worked on it."""

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import keras

from multihot import usage
from trainer.config import TrainConfig
from trainer.input.caching import Plan
from trainer.sources import Source, Sources
from trainer.system import devices, environment

_MODULE = "trainer"


def describe(
    config: TrainConfig,
    data: Sources,
    plan: Plan,
    *,
    network: keras.Model | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the contents of config.json.

    Args:
        config: of the run.
        data: its datasets.
        plan: what it caches.
        network: the whole model, as it is trained.
        earlier: the contents of config.json if the run goes on; its commands are kept.
    """
    return {
        **dataclasses.asdict(config),
        "commands": [*_commands(earlier or {}), this_command(config)],
        "datasets": [
            {
                "path": source.directory,
                "name": source.info.name,
                "version": source.info.version,
                "fingerprint": source.info.fingerprint,
                "classes": list(source.info.classes),
                **_unknown_labels(source, (config.train_split, config.validation_split)),
            }
            for source in data.each
        ],
        "classes_used": list(data.classes),
        "cache_used": {"content": plan.content, "on_disk": plan.on_disk},
        "precision_used": devices.precision_of(config),
        **({"num_weights": _num_weights(config, network)} if network else {}),
        "versions": environment.versions(),
        "revisions": environment.revisions(),
        "environment": environment.describe(),
    }


def _num_weights(config: TrainConfig, network: keras.Model) -> dict[str, int]:
    """Returns the number of weights of a model, and of those that are trained, if these are always the same."""
    trained = sum(math.prod(weight.shape) for weight in network.trainable_weights)
    return {"total": network.count_params(), **({} if config.unfreeze_epochs else {"trained": trained})}


def this_command(config: TrainConfig) -> dict[str, str]:
    """Returns the command of this process, and the time of now."""
    return {"command": command(config), "started": datetime.now(UTC).isoformat(timespec="seconds")}


def command(config: TrainConfig) -> str:
    """Returns the command line of this process, as it can be pasted into a shell.

    Where another program trains, it is the command with the same settings.
    """
    return usage.command_line(_MODULE) or f"python -m {_MODULE} {shlex.join(flags_of(config))}"


def flags_of(config: TrainConfig) -> list[str]:
    """Returns flags that give a run these settings."""
    flags = [f"--data={path}" for path in config.data]
    given = {"data": config.data, "output": config.output, "model": config.model, "weights": config.weights}
    # Without the flags whose values the recipe has, if that gives the same settings.
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in given and value != getattr(_completed(config, given), field.name, None):
            given[field.name] = value
    if _completed(config, given) != config:
        given = dataclasses.asdict(config)
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    return flags + [_flag(name, value) for name, value in given.items() if name != "data" and value != defaults[name]]


def _completed(config: TrainConfig, given: Mapping[str, Any]) -> TrainConfig | None:
    """Returns the settings that flags give."""
    try:
        return TrainConfig(**given)
    except ValueError:
        return None


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    if isinstance(value, list | tuple):
        return f"--{name}={','.join(map(_part, value))}"
    return f"--{name}={value}"


def _part(value: Any) -> str:
    """Returns an element of a list, as a flag takes it: a number, a pair of numbers, or a text."""
    if isinstance(value, list | tuple):
        return "x".join(map(_part, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text


def _commands(earlier: Mapping[str, Any]) -> list[dict[str, str]]:
    found = earlier.get("commands")
    return list(found) if isinstance(found, list) else []


def _unknown_labels(source: Source, splits: Sequence[str]) -> dict[str, Any]:
    """Returns the number of unknown labels of each class of the run, by split, if there are any."""
    if not source.has_unknown:
        return {}
    classes = [source.info.classes[i] for i in source.labels]
    numbers = {split: source.statistics(split).unknown or (0,) * len(classes) for split in splits}
    return {"unknown_labels": {split: dict(zip(classes, each, strict=True)) for split, each in numbers.items()}}
