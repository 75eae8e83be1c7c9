"""Describes the files that an unfinished run has left, and how to go on."""

import dataclasses
import re
import shlex

from multihot import signals
from trainer import run_folder
from trainer.config import TrainConfig
from trainer.input.caching import Plan
from trainer.report import description
from trainer.run_folder import RunFolder
from trainer.training.checkpoints import Checkpoints


class Leftovers:
    """The files that a run has left so far.

    Attributes:
        plan: what it caches, when that is known.
        checkpoints: that it saves, when it trains.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder):
        self.plan: Plan | None = None
        self.checkpoints: Checkpoints | None = None
        self._config, self._folder = config, folder

    def describe(self) -> str:
        """Returns what is kept, in lines; "" if there is nothing to say, as of a run that failed before it began."""
        if self._folder.begun:
            return "\n".join(self._run())
        # After an error, this needs no message.
        return "Training had not begun. The same command starts again." if signals.received() else ""

    def _run(self) -> list[str]:
        lines = self._files()
        if self.plan and self.plan.on_disk:  # They were complete before training began.
            lines.append("The caches on disk are kept: the next run finds them.")
        return lines

    def _files(self) -> list[str]:
        path, saved = self._folder.path, self.checkpoints and self.checkpoints.saved
        if (path / run_folder.EVALUATION).exists():
            return [f"The run in {path} is trained and evaluated."]
        if not saved:
            return [
                f"{path} holds no checkpoint yet. The same command starts again.",
                f"To clear it: rm -r {shlex.quote(str(path))}",
            ]
        return [f"Saved in {path} after {place(*saved)}. This command goes on from there:", _command(self._config)]


def place(epochs: int, steps: int) -> str:
    """Returns the place of a training for a message."""
    text = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    return text + (" and 1 step" if steps == 1 else f" and {steps} steps" if steps else "")


def _command(config: TrainConfig) -> str:
    """Returns the command of this program, without --overwrite, which would start again."""
    words = shlex.split(description.command(dataclasses.replace(config, overwrite=False)))
    return shlex.join(word for word in words if not re.fullmatch(r"--?(no)?overwrite(=.*)?", word))
