"""Describes the files that an unfinished run has left, and how to go on."""

import shlex
from pathlib import Path

from multihot import signals
from trainer import run_folder
from trainer.caching import Plan
from trainer.checkpoints import BEST, LAST, Checkpoints
from trainer.config import TrainConfig
from trainer.run_folder import RunFolder

_AGAIN = "The same command with --overwrite deletes them and starts again."


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
        path, saved = self._folder.path, self.checkpoints
        if (path / run_folder.EVALUATION).exists():
            return [f"The run in {path} is trained and evaluated; only pictures of it may be missing."]
        if (path / run_folder.MODEL).exists():
            return [f"Kept in {path}: {run_folder.MODEL}, trained to the end, but not evaluated. {_AGAIN}"]
        if not saved or not saved.last_epoch:
            return [
                f"{path} holds no checkpoint yet: no epoch has ended. The same command with --overwrite starts again.",
                f"To clear it: rm -r {shlex.quote(str(path))}",
            ]
        files = [f"{Path(run_folder.CHECKPOINTS, LAST)} of epoch {saved.last_epoch}"]
        if saved.best_epoch:
            files.append(f"{Path(run_folder.CHECKPOINTS, BEST)} of epoch {saved.best_epoch}")
        of_heads = ". They hold the head alone, whose inputs are the cached features" if self._is_head() else ""
        return [
            f"Kept in {path}: {' and '.join(files)} of {self._config.epochs}{of_heads}.",
            f"Training does not go on from a checkpoint yet. {_AGAIN}",
        ]

    def _is_head(self) -> bool:
        return self.plan is not None and self.plan.content == "features"
