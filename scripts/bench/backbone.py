"""Epochs of a frozen VGG16: the tutorial's code beside `trainer/experiments/tutorial_vgg16.flags`."""

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import same_images
from multihot.errors import UserError
from report import Measurement
from same_images import SameImages

_ROOT = Path(__file__).resolve().parents[2]
_FLAGS = _ROOT / "trainer" / "experiments" / "tutorial_vgg16.flags"
_TIMEOUT_SECONDS = 900


class Training(NamedTuple):
    """Ten epochs.

    Attributes:
        seconds: of each epoch from the second to the last, with its validation.
        loss: of training, by epoch.
        validation_loss: by epoch.
    """

    seconds: Measurement
    loss: list[float]
    validation_loss: list[float]


def tutorial(images: SameImages, weights: str) -> Training:
    """Runs the tutorial's code.

    Args:
        images: with a split `validation`.
        weights: a file of VGG16's without its top, or `none`.
    """
    program = Path(__file__).parent / "readers" / "tutorial_vgg16.py"
    told = json.loads(_run([sys.executable, str(program), images.folder, weights]).splitlines()[-1])
    return Training(_seconds("tutorial, frozen VGG16", told["ends"]), told["loss"], told["val_loss"])


def ours(images: SameImages, weights: str, output: Path) -> Training:
    """Runs the trainer; the same arguments, and a folder for the run."""
    flags = (f"--flagfile={_FLAGS}", f"--weights={weights}", f"--data={images.dataset}", f"--output={output}")
    _run([sys.executable, "-m", "trainer", *flags])
    history = json.loads((output / "history.json").read_text())
    return Training(_seconds("ours, frozen VGG16", _epoch_ends(output)), history["loss"], history["val_loss"])


def _epoch_ends(run: Path) -> list[float]:
    """Returns when the epochs of a run ended, as TensorBoard knows it, in seconds."""
    events = EventAccumulator(str(run / "tensorboard" / "train"))
    events.Reload()
    return [event.wall_time for event in events.Tensors("epoch_loss")]


def _seconds(name: str, ends: Sequence[float]) -> Measurement:
    return Measurement(name, "s/epoch", tuple(end - begin for begin, end in itertools.pairwise(ends)))


def _run(command: Sequence[str]) -> str:
    """Runs a program to its end and returns what it printed.

    Raises:
        UserError: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            command, env=same_images.environment(), capture_output=True, text=True, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"This did not end within {_TIMEOUT_SECONDS} s: {' '.join(command)}") from None
    if done.returncode:
        raise UserError(f"{done.stderr}\nThis failed, see above: {' '.join(command)}")
    return done.stdout
