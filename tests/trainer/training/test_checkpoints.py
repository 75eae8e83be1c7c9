"""A checkpoint holds all that a training goes on from, and is whole at any moment."""

import json
import os
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from multihot.errors import UserError
from trainer.training import checkpoints
from trainer.training.checkpoints import BEST, LAST, Checkpoints, Progress


def _network(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5, seed=seed), keras.layers.Dense(2)])
    network.compile(optimizer=keras.optimizers.AdamW(0.1), loss="mse")
    network.optimizer.build(network.trainable_variables)
    return network


def _fit(network: keras.Model) -> None:
    rng = np.random.default_rng(1)
    for _ in range(3):
        network.train_on_batch(rng.normal(size=(8, 3)), rng.normal(size=(8, 2)))


def _saved(folder: Path, progress: Progress, seconds: float = 0) -> tuple[Checkpoints, keras.Model]:
    network = _network()
    _fit(network)
    kept = Checkpoints(folder / "checkpoints", seconds)
    kept.save(network, network, progress)
    return kept, network


def test_a_training_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    progress = Progress(epoch=2, step=5, history={"loss": [0.5, 0.4]}, caches={"all": "none"})
    _, network = _saved(tmp_path, progress)
    other = _network(seed=7)
    again = Checkpoints(tmp_path / "checkpoints", 0)
    assert again.load(other) == progress
    again.load_variables(other)
    assert again.saved == (2, 5)
    for one in (network, other):
        _fit(one)
    # Weights, moments of the optimizer, and the state of the dropout are those of the network that was saved.
    for left, right in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert network.get_metrics_result() == other.get_metrics_result()


def test_without_a_checkpoint_there_is_no_progress(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "checkpoints", 0).load(_network()) is None


def test_the_file_is_a_model_for_everyone(tmp_path: Path) -> None:
    _, network = _saved(tmp_path, Progress())
    loaded = keras.saving.load_model(tmp_path / "checkpoints" / LAST, compile=False)
    np.testing.assert_array_equal(loaded.get_weights()[0], network.get_weights()[0])


def test_the_best_weights_are_those_that_were_remembered(tmp_path: Path) -> None:
    kept, network = _saved(tmp_path, Progress())
    assert not (tmp_path / "checkpoints" / BEST).exists()
    best = network.get_weights()
    kept.remember_best(network)
    _fit(network)
    kept.save(network, network, Progress(epoch=3))
    files = {path.name: keras.saving.load_model(path, compile=False) for path in (tmp_path / "checkpoints").iterdir()}
    assert set(files) == {LAST, BEST}
    np.testing.assert_array_equal(files[BEST].get_weights()[0], best[0])
    np.testing.assert_array_equal(files[LAST].get_weights()[0], network.get_weights()[0])


@pytest.mark.parametrize("number", range(6))
def test_a_kill_at_any_moment_leaves_the_checkpoint_before_or_the_new_one(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, network = _saved(tmp_path, Progress(epoch=1))
    calls = 0

    def killed(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > number:
            raise SystemExit

    _fit(network)
    kept.remember_best(network)
    with monkeypatch.context() as patch:
        replace = os.replace
        # Each member of the archive, and each name that a file gets.
        write = zipfile.ZipFile.writestr
        patch.setattr(zipfile.ZipFile, "writestr", lambda *arguments, **named: (killed(), write(*arguments, **named)))
        patch.setattr(os, "replace", lambda *arguments: (killed(), replace(*arguments)))
        with pytest.raises(SystemExit):
            for _ in range(3):
                kept.save(network, network, Progress(epoch=2))
    found = Checkpoints(tmp_path / "checkpoints", 0).load(_network())
    assert found is not None
    assert found.epoch in (1, 2)


def test_an_undefined_figure_survives_the_file(tmp_path: Path) -> None:
    progress = Progress(epoch=1, history={"loss": [0.5], "val_mean_average_precision": [None]})
    _saved(tmp_path, progress)
    assert Checkpoints(tmp_path / "checkpoints", 0).load(_network()) == progress


@pytest.mark.parametrize("damage", ["cut", "no progress", "other progress", "nothing of training"])
def test_a_damaged_checkpoint_is_named(damage: str, tmp_path: Path) -> None:
    kept, network = _saved(tmp_path, Progress())
    path = tmp_path / "checkpoints" / LAST
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "nothing of training":
        network.save(path)
    else:
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        members[checkpoints._PROGRESS] = b"{" if damage == "no progress" else json.dumps({"steps": 1}).encode()
        with zipfile.ZipFile(path, "w") as file:
            for name, data in members.items():
                file.writestr(name, data)
    with pytest.raises(UserError) as raised:
        kept.load(network)
    assert str(raised.value).startswith(f"The checkpoint {path} cannot be used: ")
    assert str(raised.value).endswith("Start again: --overwrite")


def test_a_checkpoint_is_due_after_its_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    kept, network = _saved(tmp_path, Progress(), seconds=60)
    now[0] += 59
    assert not kept.is_due()
    now[0] += 1
    assert kept.is_due()
    kept.save(network, network, Progress())
    assert not kept.is_due()
