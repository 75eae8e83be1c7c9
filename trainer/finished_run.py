"""Opens a finished run, for the programs that use its model."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from multihot.errors import UserError
from schemas import metadata
from schemas.metadata import DatasetInfo
from trainer import model_file, run_folder, sources
from trainer.config import TrainConfig, older_defaults
from trainer.model_file import ModelInfo
from trainer.models import loadable, own_models
from trainer.sources import Sources

# The split of a run that is not evaluated: no dataset has one of this name.
_NO_SPLIT = "\0"


class FinishedRun(NamedTuple):
    """A run that has ended.

    Attributes:
        path: of its folder.
        config: its settings.
        info: what its model takes, and what the outputs mean.
    """

    path: Path
    config: TrainConfig
    info: ModelInfo

    @property
    def model_path(self) -> Path:
        """The file of the model."""
        return self.path / run_folder.MODEL

    def load_model(self) -> keras.Model:
        """Returns the model, with its loss: images [batch, size, size, 3], 0 to 255 -> probabilities [batch, k].

        Raises:
            UserError: the model is one of the user's, and its module cannot be imported; or the file is damaged.
        """
        if own_models.is_own(self.config.model):
            own_models.find(self.config.model)  # It may define layers of the user's own.
        try:
            return keras.saving.load_model(self.model_path)
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise UserError(f"{self.model_path} cannot be loaded: {loadable.cause(error)}") from error

    def config_for(self, split: str, data: Sequence[str] = ()) -> TrainConfig:
        """Returns the settings with which `pipeline.evaluation_dataset` reads a split of datasets.

        Args:
            split: its name.
            data: folders of the datasets; by default those of the run.
        """
        return dataclasses.replace(
            self.config,
            data=tuple(data) or self.config.data,
            data_weights=(),
            classes=self.info.classes,
            train_split=_NO_SPLIT,
            validation_split=split,
            cache="none",
        )

    def datasets(self, data: Sequence[str] = ()) -> list[tuple[str, DatasetInfo]]:
        """Returns the folders and manifests of datasets, by default those of the run.

        Raises:
            UserError: a folder holds no dataset.
        """
        try:
            return [(directory, metadata.load(directory)) for directory in data or self.config.data]
        except UserError as error:
            if not data:
                error.add_note(
                    f"{self.path / run_folder.CONFIG} names this folder. If the dataset was moved, evaluate, suspects "
                    "and embed take its folder from --data."
                )
            raise

    def sources(self, data: Sequence[str] = ()) -> Sources:
        """Reads the manifests of datasets, by default those of the run, with the classes of the model in its order.

        Raises:
            UserError: a folder holds no dataset, or one that lacks a class of the model.
        """
        config, datasets = self.config_for("", data), self.datasets(data)
        for directory, info in datasets:
            # `combine` would call them the classes of a flag, which the programs that use a finished run do not have.
            if missing := [name for name in config.classes if name not in info.classes]:
                raise UserError(
                    f"--data: {directory} has no {sources.some(missing)}, which the model of {self.path} has. It has: "
                    f"{sources.some(info.classes)}"
                )
        return sources.combine(datasets, config.classes, config.cache_folder)


def find(path: str) -> FinishedRun:
    """Opens a run.

    Args:
        path: its folder.

    Raises:
        UserError: the folder holds no run of multihot, or one that has not ended, or one of an older version.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"There is no folder {path}. Name the folder of a run: the --output of a training.")
    description = _description(folder)
    if not (folder / run_folder.EVALUATION).exists():
        commands = description.get("commands") or [{}]
        again = commands[-1].get("command") or "use the command that began it."
        raise UserError(f"The run in {path} has not ended: it has no {run_folder.EVALUATION}. To go on: {again}")
    return FinishedRun(folder, _config(description, folder), model_file.read(folder / run_folder.MODEL))


def _description(folder: Path) -> dict[str, Any]:
    """Returns the contents of config.json."""
    with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
        description: dict[str, Any] = json.loads((folder / run_folder.CONFIG).read_bytes())
        if run_folder.datasets(description) is not None:
            return description
    raise UserError(f"{folder} is not the folder of a run: it has no {run_folder.CONFIG} of multihot.")


def _config(description: dict[str, Any], folder: Path) -> TrainConfig:
    """Returns the settings of a config.json; those that its version of multihot had not are the defaults."""
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    given = {name: _in_tuples(value) for name, value in {**older_defaults(), **description}.items() if name in names}
    try:
        return TrainConfig(**given)
    except (UserError, TypeError) as error:
        raise UserError(f"{folder / run_folder.CONFIG} has settings that cannot be used: {error}") from error


def _in_tuples(value: Any) -> Any:
    return tuple(map(_in_tuples, value)) if isinstance(value, list) else value
