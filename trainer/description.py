"""Describes a run in its config.json: settings, fingerprints of its datasets, and versions."""

import dataclasses
import platform
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

import multihot
from trainer.caching import Plan
from trainer.config import TrainConfig
from trainer.sources import Source, Sources


def describe(config: TrainConfig, data: Sources, plan: Plan) -> dict[str, Any]:
    """Returns the contents of config.json.

    Args:
        config: of the run.
        data: its datasets.
        plan: what it caches.
    """
    return {
        **dataclasses.asdict(config),
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
        "versions": {
            "multihot": multihot.__version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }


def _unknown_labels(source: Source, splits: Sequence[str]) -> dict[str, Any]:
    """Returns the number of unknown labels of each class of the run, by split, if there are any."""
    if not source.has_unknown:
        return {}
    classes = [source.info.classes[i] for i in source.labels]
    numbers = {split: source.statistics(split).unknown or (0,) * len(classes) for split in splits}
    return {"unknown_labels": {split: dict(zip(classes, each, strict=True)) for split, each in numbers.items()}}
