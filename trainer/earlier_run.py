"""Reads what a run needs to know of an earlier one, from whose weights it starts."""

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

from multihot.errors import UserError
from trainer import run_folder

# The model at the end of a run, and that of the last epoch of one that has not ended.
_FILES = (run_folder.MODEL, f"{run_folder.CHECKPOINTS}/last.keras", f"{run_folder.CHECKPOINTS}/best.keras")


class EarlierRun(NamedTuple):
    """An earlier run.

    Attributes:
        path: of its folder.
        model: value of its --model.
        image_size: height and width of its images, pixels.
        classes: that it was trained on, in the order of its outputs.
    """

    path: Path
    model: str
    image_size: int
    classes: tuple[str, ...]


def run_model(path: str) -> tuple[str, int] | None:
    """Returns the model and the image size of a run, by its folder or by a file in it; None if it is no run."""
    run = find(path)
    return (run.model, run.image_size) if run else None


def find(path: str) -> EarlierRun | None:
    """Returns a run by its folder, or by a file in it; None if it is no run."""
    given = Path(path)
    if not given.exists():
        return None
    for folder in [given] if given.is_dir() else [given.parent, given.parent.parent]:
        # Another program may have written a config.json.
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            config = json.loads((folder / run_folder.CONFIG).read_bytes())
            if run_folder.datasets(config) is not None:
                classes = tuple(map(str, config.get("classes_used", ())))
                return EarlierRun(folder, str(config["model"]), int(config["image_size"]), classes)
    return None


def weights_file(path: str) -> Path:
    """Returns the file that --weights names: itself, or the model of a run by its folder.

    Raises:
        UserError: there is no such file or folder, or no model in the folder.
    """
    given = Path(path)
    if given.is_file():
        return given
    if not given.exists():
        raise UserError(
            f"--weights must be none, imagenet, a file of weights, or the folder of a run. There is no file {path}"
        )
    if find(path) is None:
        raise UserError(f"--weights={path} is not the folder of a run: its {run_folder.CONFIG} is not that of one.")
    for name in _FILES:
        if (given / name).is_file():
            return given / name
    raise UserError(f"--weights={path} is a run without a model: it has none of {', '.join(_FILES)}.")
