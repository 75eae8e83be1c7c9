"""Says whether an unfinished run may be gone on with: its settings and its datasets must be the same."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multihot.errors import UserError
from trainer import run_folder
from trainer.config import TrainConfig
from trainer.sources import Sources

_SERVICES = "data_service"
# Settings that change nothing in what is learned.
_FREE = {"output", "overwrite", "data", "cache", "cache_dir", "checkpoint_seconds"}


def check(old: Mapping[str, Any], config: TrainConfig, data: Sources) -> None:
    """Refuses to go on with a run that had other settings or other images.

    Args:
        old: config.json of the unfinished run.
        config: of this run.
        data: its datasets.

    Raises:
        UserError: they differ.
    """
    differences = [*_settings(old, config), *_datasets(old, data)]
    if differences:
        raise UserError(
            f"{config.output} holds an unfinished run with other settings: {'; '.join(differences)}. To go on with it, "
            "give its settings; to start again, add --overwrite; or choose another --output."
        )


def _settings(old: Mapping[str, Any], config: TrainConfig) -> Iterator[str]:
    for name, value in dataclasses.asdict(config).items():
        if name == _SERVICES and bool(old.get(name)) == bool(value):  # Others give the same batches.
            continue
        if name not in _FREE and (name not in old or _plain(old[name]) != _plain(value)):
            yield f"--{name} was {_text(old[name]) if name in old else 'missing'}, now {_text(value)}"


def _datasets(old: Mapping[str, Any], data: Sources) -> Iterator[str]:
    before = [(one.get("path", ""), one["fingerprint"]) for one in run_folder.datasets(old) or []]
    now = [(source.directory, source.info.fingerprint) for source in data.each]
    if [fingerprint for _, fingerprint in before] != [fingerprint for _, fingerprint in now]:
        yield f"--data had other images or labels ({_fingerprints(before)}, now {_fingerprints(now)})"


def _fingerprints(datasets: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{path} {fingerprint[:12]}" for path, fingerprint in datasets)


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it: lists in place of tuples."""
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join("x".join(map(_text, one)) if isinstance(one, list | tuple) else str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else repr(value) if value == "" else str(value)
