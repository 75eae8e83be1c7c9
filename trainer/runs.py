"""`python -m trainer.runs DIR`: compares runs, side by side.

A row for each run that has ended, or for several runs that differ only in their seed: the metric by which the rows are
sorted, the validation loss, epochs and device, the settings in which runs differ, the other metrics, the fingerprints
of their datasets. Below the table stand the folders that are not in it.
"""

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from multihot import command, flags, storage
from multihot.errors import UserError
from multihot.printable import printable
from multihot.settings import setting
from multihot.usage import Usage
from trainer import run_folder
from trainer.config import older_defaults
from trainer.run_folder import CONFIG, EVALUATION

DEFAULT_SORT = "mean_average_precision"
_LOSS = "val_loss"
# For all other metrics, more is better.
_LESS_IS_BETTER = (_LOSS, "one_error", "coverage", "ranking_loss", "hamming_loss", "hamming_loss_at_half")
# Settings that differ in all runs, or that another column shows better or is made from.
_NOT_COMPARED = ("output", "overwrite", "data", "dataset", "datasets", "versions", "classes_used", "commands")
_COUNT = "num_examples"
_HISTORY = "history.json"
_FINGERPRINT_CHARACTERS = 8
# Ending of the column with the spread of a metric.
_SPREAD = "_sd"
_MOST_NAME_CHARACTERS = 40


class Run(NamedTuple):
    """A run that has ended.

    Attributes:
        name: its folder, relative to the one that was searched.
        settings: by name; those of the versions as `versions.keras`.
        dataset: names, versions and fingerprints.
        metrics: by name; None where one is undefined.
        epochs: number of epochs that were trained.
        device: on which it was trained; None if that is not known, as of older runs.
    """

    name: str
    settings: Mapping[str, Any]
    dataset: str
    metrics: Mapping[str, float | None]
    epochs: int
    device: str | None


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
    history = _history(folder)
    trained = max((len(values) for values in history.values()), default=0)
    settings = _settings(config)
    if not (folder / EVALUATION).exists():
        raise UnusableRunError(f"it has no {EVALUATION}: {_progress(trained, settings)}it has not ended, or has failed")
    evaluation = _read_json(folder / EVALUATION)
    metrics = {key: value for key, value in evaluation.items() if isinstance(value, int | float | None)}
    if DEFAULT_SORT not in metrics:
        raise UnusableRunError(f"its {EVALUATION} is damaged: it has no {DEFAULT_SORT}")
    labels = [f"{one.get('name')} {one.get('version')} {one['fingerprint'][:_FINGERPRINT_CHARACTERS]}" for one in found]
    environment = config.get("environment")
    return Run(
        name=name,
        settings=settings,
        dataset=" + ".join(labels),
        metrics={**({_LOSS: history[_LOSS][-1]} if _LOSS in history else {}), **metrics},
        epochs=trained or _num_epochs(settings),
        device=environment.get("device") if isinstance(environment, dict) else None,
    )


def _history(folder: Path) -> dict[str, list[Any]]:
    """Returns the values of each epoch by name; nothing if there are none that can be read."""
    try:
        found = _read_json(folder / _HISTORY)
    except UnusableRunError:
        return {}
    return {name: values for name, values in found.items() if isinstance(values, list) and values}


def _progress(trained: int, settings: Mapping[str, Any]) -> str:
    """Returns the part of a message that says how far an unfinished run has come; "" if it is not known."""
    return f"{trained} of {_num_epochs(settings)} epochs are trained; " if trained else ""


def _num_epochs(settings: Mapping[str, Any]) -> int:
    return sum(value for name in ("epochs", "unfreeze_epochs") if isinstance(value := settings[name], int))


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
    versions = config.get("versions")
    given = {
        name: value
        for name, value in {**older_defaults(), **config}.items()
        if name not in _NOT_COMPARED and not isinstance(value, dict)
    }
    given |= {f"versions.{name}": value for name, value in versions.items()} if isinstance(versions, dict) else {}
    return {name: _text(value) for name, value in given.items()}


def _text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return ",".join("x".join(map(str, one)) if isinstance(one, list | tuple) else str(one) for one in value)
    return value


def table(runs: Sequence[Run], sort: str = DEFAULT_SORT, *, by_run: bool = False) -> pd.DataFrame:
    """Returns a row for each group of runs that differ only in their seed, the best one first.

    A metric is the mean over the runs of a group. If any group has several runs, the standard deviation over its runs
    is in the column of the metric's name with `_sd`, and the number of runs is in `runs`.

    Args:
        runs: at least one.
        sort: name of a metric or of a setting; groups without it come last.
        by_run: whether each run is a group of its own; so it is when they are sorted by the seed.

    Raises:
        UserError: no run has such a metric or setting.
    """
    groups = _groups(runs, alone=by_run or sort == "seed")
    has_spread = any(len(group) > 1 for group in groups)
    metrics = list(dict.fromkeys(name for run in runs for name in run.metrics))
    settings = [name for name in dict.fromkeys(name for run in runs for name in run.settings) if name != "epochs"]
    rows = [_row(group, metrics, has_spread) for group in groups]
    frame = pd.DataFrame(rows, index=[_name([run.name for run in group]) for group in groups])
    if sort not in frame:
        raise UserError(f"--sort: no run has {sort!r}. There are: {', '.join(metrics)}, and all settings")
    ascending = sort not in metrics or sort in _LESS_IS_BETTER
    frame = frame.sort_values(sort, ascending=ascending, kind="stable")
    if frame["device"].isna().all():
        frame = frame.drop(columns="device")
    named = (sort, *(["seed"] if has_spread else []))
    shown = [name for name in settings if name in named or frame[name].astype(str).nunique() > 1]
    first = dict.fromkeys([*(["runs"] if has_spread else []), sort, DEFAULT_SORT, _LOSS, "epochs", "device"])
    names = list(dict.fromkeys([*first, *shown, *metrics, "dataset"]))
    return frame[[each for name in names for each in (name, f"{name}{_SPREAD}") if each in frame]]


def _groups(runs: Sequence[Run], *, alone: bool) -> list[list[Run]]:
    """Returns the runs by all their settings but the seed; or each alone."""
    groups: dict[Any, list[Run]] = {}
    for i, run in enumerate(runs):
        settings = sorted((name, str(value)) for name, value in run.settings.items() if name != "seed")
        groups.setdefault(i if alone else (run.dataset, *settings), []).append(run)
    return list(groups.values())


def _row(group: Sequence[Run], metrics: Sequence[str], has_spread: bool) -> dict[str, Any]:
    """Returns the cells of a group of runs, by column."""
    devices = dict.fromkeys(run.device for run in group if run.device)
    row: dict[str, Any] = {
        **group[0].settings,
        "runs": len(group),
        "epochs": _mean([run.epochs for run in group]),
        "device": ", ".join(devices) or None,
        "dataset": group[0].dataset,
    }
    if len(group) > 1:
        row["seed"] = ",".join(
            sorted((str(run.settings.get("seed")) for run in group), key=lambda seed: seed.zfill(10))
        )
    for name in metrics:
        values = [run.metrics.get(name) for run in group]
        row[name] = _mean(values)
        if has_spread and name != _COUNT:
            row[f"{name}{_SPREAD}"] = pd.Series(values, dtype=float).std()
    return row


def _mean(values: Sequence[float | None]) -> float | None:
    """Returns the mean of the values that are not None; a single value as it is."""
    known = [value for value in values if value is not None]
    return known[0] if len(set(known)) == 1 else sum(known) / len(known) if known else None


def _name(names: Sequence[str]) -> str:
    """Returns the name of a group: `first/seed{0,1,2}`, or that of one run and how many more there are."""
    if len(names) == 1:
        return names[0]
    start = _shared(names)
    end = _shared([name[len(start) :][::-1] for name in names])[::-1]
    middle = ",".join(name[len(start) : len(name) - len(end)] for name in names)
    short = f"{start}{{{middle}}}{end}"
    return short if len(short) <= _MOST_NAME_CHARACTERS else f"{names[0]} and {len(names) - 1} more"


def _shared(names: Sequence[str]) -> str:
    """Returns the characters with which all names begin."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike)


def to_text(frame: pd.DataFrame) -> str:
    """Returns a table as it is printed, a metric and its spread in one column: `0.8917 ± 0.0021`."""
    shown: dict[str, list[str]] = {}
    for name in map(str, frame.columns):
        cells = [_cell(value, name) for value in frame[name]]
        if name.endswith(_SPREAD):
            before = shown[name.removesuffix(_SPREAD)]
            for i, spread in enumerate(frame[name]):
                before[i] += "" if pd.isna(spread) else f" ± {cells[i]}"
        else:
            shown[name] = cells
    return pd.DataFrame(shown, index=frame.index).to_string()


def _cell(value: Any, name: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "undefined" if name != "device" else "unknown"
    if name in ("epochs", _COUNT):
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsOptions:
    """The settings of a comparison of runs."""

    directory: str = field(metadata=setting("Folder of runs, at any depth.", value="DIR", positional=True))
    sort: str = field(
        default=DEFAULT_SORT, metadata=setting("Metric or setting to sort by, the best run first.", value="NAME")
    )
    by_run: bool = field(
        default=False,
        metadata=setting("A row for each run. Otherwise runs that differ only in their seed are one row."),
    )
    csv: str = field(default="", metadata=setting("Write the table to this file too.", value="FILE"))

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            UserError: a setting cannot be used.
        """
        if not storage.is_local(self.csv):
            raise UserError(f"--csv must be a file of this machine. Received: {self.csv!r}")


USAGE = Usage(
    module="trainer.runs",
    description="Compares runs: metrics, loss, epochs and device, the settings in which they differ, their datasets.",
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
    frame = table(runs, options.sort, by_run=options.by_run)
    print(to_text(frame))
    if "runs" in frame:
        print(
            "\nA row of several runs has their mean and standard deviation; they differ only in their seed. "
            "A row for each run: --by_run"
        )
    if left_out:
        print("\nLeft out:\n" + "\n".join(map(printable, left_out)))
    if options.csv:
        frame.to_csv(options.csv, index_label="run")


def run() -> None:
    """Entry point."""
    command.run(main, parse=functools.partial(flags.parse, USAGE))


if __name__ == "__main__":
    run()
