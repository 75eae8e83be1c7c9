"""Keeps the figures of each epoch, and writes them to history.json, which is whole after every epoch."""

import json
from collections.abc import Mapping
from pathlib import Path

from trainer import run_folder

# The values of each figure by name, one for each epoch; None where the figure is undefined.
History = dict[str, list[float | None]]


def append(history: History, epoch: int, figures: Mapping[str, float]) -> None:
    """Adds the figures of an epoch.

    Args:
        history: of the epochs before; it is changed.
        epoch: counted from 0.
        figures: of this epoch. Figures that other epochs have are undefined in this one.
    """
    for name in {**dict.fromkeys(history), **dict.fromkeys(figures)}:
        values = history.setdefault(name, [])
        values.extend([None] * (epoch - len(values)))
        values.append(figures.get(name))


def write(folder: Path, history: Mapping[str, list[float | None]]) -> None:
    """Writes history.json."""
    run_folder.write_text(folder / run_folder.HISTORY, json.dumps(history, indent=1) + "\n")
