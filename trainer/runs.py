"""`python -m trainer.runs DIR`: compares runs, side by side.

A row for each run that has ended: the settings in which they differ, the fingerprints of their datasets, the metrics.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from multihot import command, flags
from multihot.errors import UserError
from multihot.printable import printable
from multihot.settings import setting
from multihot.usage import Usage
from trainer import run_folder
from trainer.config import TrainConfig
from trainer.run_folder import CONFIG, EVALUATION

DEFAULT_SORT = "mean_average_precision"
# For all other metrics, more is better.
_LESS_IS_BETTER = ("one_error", "coverage", "ranking_loss", "hamming_loss")
# Settings that differ in all runs, or that another column shows better or is made from.
_NOT_COMPARED = ("output", "overwrite", "data", "dataset", "datasets", "versions", "classes_used")
_FINGERPRINT_CHARACTERS = 8


class Run(NamedTuple):
    """A run that has ended.

    Attributes:
        name: its folder, relative to the one that was searched.
        settings: by name; those of the versions as `versions.keras`.
        dataset: names, versions and fingerprints.
        metrics: by name; None where one is undefined.
    """

    name: str
    settings: Mapping[str, Any]
    dataset: str
    metrics: Mapping[str, float | None]


class UnusableRunError(Exception):
    """A folder has no run that could be compared; the message says why."""


def find(root: Path) -> Iterator[tuple[Path, Run | UnusableRunError]]:
    """Yields every folder with a configuration, in the order of their names, and what it holds.

    Args:
        root: a run, or a folder that has runs in it, or below it.
    """
    for path in sorted(root.rglob(CONFIG)):
        folder = path.parent
        try:
            yield folder, read(folder, folder.relative_to(root).as_posix())
        except UnusableRunError as error:
            yield folder, error


def read(folder: Path, name: str) -> Run:
    """Reads a run.

    Raises:
        UnusableRunError: it has not ended, is damaged, or is none.
    """
    config = _read_json(folder / CONFIG)
    found = run_folder.datasets(config)
    if found is None:
        raise UnusableRunError(f"its {CONFIG} is not of a run of multihot")
    if not (folder / EVALUATION).exists():
        raise UnusableRunError(f"it has no {EVALUATION}: it has not ended, or has failed")
    evaluation = _read_json(folder / EVALUATION)
    metrics = {key: value for key, value in evaluation.items() if isinstance(value, int | float | None)}
    if DEFAULT_SORT not in metrics:
        raise UnusableRunError(f"its {EVALUATION} is damaged: it has no {DEFAULT_SORT}")
    labels = [f"{one.get('name')} {one.get('version')} {one['fingerprint'][:_FINGERPRINT_CHARACTERS]}" for one in found]
    return Run(name, _settings(config), " + ".join(labels), metrics)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableRunError(f"its {path.name} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise UnusableRunError(f"its {path.name} is damaged: it holds no settings")
    return fields


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run; those that its version of multihot had not are the defaults."""
    fields = dataclasses.fields(TrainConfig)
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    versions = config.get("versions")
    given = {name: value for name, value in {**defaults, **config}.items() if name not in _NOT_COMPARED}
    given |= {f"versions.{name}": value for name, value in versions.items()} if isinstance(versions, dict) else {}
    return {name: _text(value) for name, value in given.items()}


def _text(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def table(runs: list[Run], sort: str = DEFAULT_SORT) -> pd.DataFrame:
    """Returns a row for each run, the best one first.

    Args:
        runs: at least one.
        sort: name of a metric or of a setting; runs without it come last.

    Raises:
        UserError: no run has such a metric or setting.
    """
    frame = pd.DataFrame(
        [{**run.settings, "dataset": run.dataset, **run.metrics} for run in runs], index=[run.name for run in runs]
    )
    if sort not in frame:
        metrics = dict.fromkeys(name for run in runs for name in run.metrics)
        raise UserError(f"--sort: no run has {sort!r}. There are: {', '.join(metrics)}, and all settings")
    settings = dict.fromkeys(name for run in runs for name in run.settings)
    is_metric = sort not in settings and sort != "dataset"
    frame = frame.sort_values(sort, ascending=not is_metric or sort in _LESS_IS_BETTER, kind="stable")
    same = [name for name in settings if name != sort and frame[name].astype(str).nunique() <= 1]
    return frame.drop(columns=same)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsOptions:
    """The settings of a comparison of runs."""

    directory: str = field(metadata=setting("Folder of runs, at any depth.", value="DIR", positional=True))
    sort: str = field(
        default=DEFAULT_SORT, metadata=setting("Metric or setting to sort by, the best run first.", value="NAME")
    )
    csv: str = field(default="", metadata=setting("Write the table to this file too.", value="FILE"))


USAGE = Usage(
    module="trainer.runs",
    description="Compares runs: the settings in which they differ, their datasets, their metrics.",
    example="runs --sort=hamming_loss",
    settings=(RunsOptions,),
)


def main(options: RunsOptions) -> None:
    """Prints the table, and below it the folders that are not in it."""
    root = Path(options.directory)
    found = list(find(root))
    runs = [run for _, run in found if isinstance(run, Run)]
    left_out = [f"{folder}: {error}" for folder, error in found if isinstance(error, UnusableRunError)]
    if not runs:
        raise UserError("\n".join([f"{root} has no run that has ended.", *left_out]))
    frame = table(runs, options.sort)
    print(frame.to_string(float_format="{:.4f}".format, na_rep="undefined"))
    if left_out:
        print("\nLeft out:\n" + "\n".join(map(printable, left_out)))
    if options.csv:
        frame.to_csv(options.csv, index_label="run")


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))


if __name__ == "__main__":
    run()
