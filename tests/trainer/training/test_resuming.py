"""A run that is killed at any moment is gone on with by the same command, and ends as if nothing had been."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from multihot.errors import UserError
from trainer.config import TrainConfig
from trainer.sources import Sources
from trainer.training import resuming

Config = Callable[..., TrainConfig]
# Runs the trainer in a child process for each line: its arguments, and the moment at which it gets a signal.
_SERVER = """
import json, os, sys, tempfile, traceback
from multihot.quiet import quiet
with quiet():
    import keras
    from trainer.models import small_resnet
    from trainer.training import checkpoints
    from trainer import inference, main, run_folder, train

def backbone():
    "Returns a small network with convolutions, batch normalization and dropout: its graph is made quickly."
    x = inputs = keras.Input((None, None, 3))
    for i in range(2):
        x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name=f"conv{i}")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(name=f"bn{i}")(x))
    return keras.Model(inputs, keras.layers.Dropout(0.2)(x), name="small_resnet")
small_resnet.backbone = backbone

def prepare(number, moment, every, at):
    counts = {"asked": 0, "saved": 0, "renamed": 0, "validated": 0}
    def counted(name, call):
        def wrapper(*arguments, **named):
            counts[name] += 1
            if name == moment and counts[name] == at:
                os.kill(os.getpid(), number)
            return call(*arguments, **named)
        return wrapper
    checkpoints.Checkpoints.is_due = counted("asked", lambda self: counts["asked"] % every == 0)
    checkpoints.Checkpoints.save = counted("saved", checkpoints.Checkpoints.save)
    inference.Predictor.__call__ = counted("validated", inference.Predictor.__call__)
    run_folder.os = type("os", (), dict(vars(os), replace=staticmethod(counted("renamed", os.replace))))

for line in sys.stdin:
    request = json.loads(line)
    with tempfile.TemporaryFile() as out:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            sys.argv = ["trainer", *request["arguments"]]
            prepare(*request["kill"])
            try:
                main.run()
            except SystemExit as exit:
                print(exit.code if isinstance(exit.code, str) else "", flush=True)
                os._exit(exit.code if isinstance(exit.code, int) else int(exit.code is not None))
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        print(json.dumps([status, out.read().decode()]), flush=True)
os._exit(0)
"""
# A signal, the moment it comes with, the number of questions from one checkpoint to the next, and which such moment.
NEVER = (0, "asked", 3, 0)
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs the command line with these arguments, which gets a signal; returns its status and its output."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], cwd=Path(__file__).parents[3], env=dict(os.environ), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as server:  # fmt: skip
        assert server.stdin
        assert server.stdout
        requests, answers = server.stdin, server.stdout

        def run(*arguments: str, kill: tuple[int, str, int, int] = NEVER) -> tuple[int, str]:
            print(json.dumps({"arguments": arguments, "kill": kill}), file=requests, flush=True)
            status, output = json.loads(answers.readline())
            return status, output

        yield run
        requests.close()


def _weights(path: Path) -> list[np.ndarray]:
    return list(keras.saving.load_model(path, compile=False).get_weights())


def _assert_same(one: Path, other: Path) -> None:
    for name in ("model.keras", "checkpoints/last.keras", "checkpoints/best.keras"):
        for left, right in zip(_weights(one / name), _weights(other / name), strict=True):
            np.testing.assert_array_equal(left, right)
    for name in ("history.json", "evaluation.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


# Six steps an epoch, three epochs.
FLAGS = ("--image_size=32", "--batch_size=8", "--deterministic", "--epochs=3")
# Images of another size in the second epoch, and unblended ones in the third.
SCRATCH = (*FLAGS, "--train_sizes=16x1,32x2", "--augment=full", "--mixup_until=0.5")
TUNED = (
    *FLAGS,
    "--freeze_backbone",
    "--unfreeze_epochs=2",
    "--sam_rho=0.05",
    "--unfreeze_from=0.5",
    "--train_sizes=32x1",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "kills"),
    [
        pytest.param(
            (*SCRATCH, "--cache=decoded"),
            [
                # After the fourth step of the first epoch, whose last checkpoint is that of the third.
                (signal.SIGKILL, "asked", 3, 5),
                (signal.SIGTERM, "asked", 100, 2),
                # Between writing a checkpoint and its rename.
                (signal.SIGKILL, "renamed", 2, 3),
            ],
            id="decoded images, of two sizes",
        ),
        pytest.param(
            (*SCRATCH, "--cache=encoded", "--ema=0.9", "--accumulate=2", "--clip_norm=1"),
            [(signal.SIGINT, "asked", 100, 5), (signal.SIGKILL, "saved", 1, 3)],
            id="encoded images, averaged weights",
            marks=pytest.mark.extended,
        ),
        pytest.param(
            (*SCRATCH, "--cache=none"),
            [
                (signal.SIGINT, "validated", 100, 1),
                (signal.SIGKILL, "asked", 2, 6),
            ],
            id="no cache",
        ),
        pytest.param(
            (*TUNED, "--cache=auto"),
            [
                (signal.SIGKILL, "saved", 1, 2),
                # Within the first epoch of the upper layers; before its validation; after it.
                (signal.SIGINT, "asked", 2, 6),
                (signal.SIGINT, "validated", 100, 1),
                (signal.SIGTERM, "asked", 100, 1),
            ],
            id="features, then a backbone that is unfrozen",
        ),
    ],
)
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    flags: tuple[str, ...], kills: list[tuple[int, str, int, int]], run: Run, data: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    status, said = run(*flags, f"--data={data}", f"--output={whole}")
    assert status == 0, said
    command = (*flags, f"--data={data}", f"--output={killed}")
    for kill in kills:
        status, said = run(*command, kill=kill)
        assert status in (-kill[0], 128 + kill[0]), said
        assert not list(killed.rglob("*.unfinished*")) or kill[0] == signal.SIGKILL
        if kill[0] != signal.SIGKILL:  # No step since the last checkpoint is lost.
            assert "This command goes on from there:\npython -m trainer --image_size=32" in said
        if kill[1] == "validated":  # The epoch that is validated is not trained again.
            assert re.search(rf"Saved in {re.escape(str(killed))} after \d epochs? and 6 steps\. ", said)
    status, said = run(*command)
    assert status == 0, said
    assert "Going on after " in said
    _assert_same(whole, killed)
    assert not list(killed.rglob(".unfinished*"))
    status, said = run(*command)
    assert status == 1
    assert "holds a run already" in said


def test_other_settings_and_other_images_are_named(config: Config, sources: Sources) -> None:
    asked = config()
    old: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(asked)))
    old["datasets"] = [{"path": one.directory, "fingerprint": one.info.fingerprint} for one in sources.each]
    resuming.check(old, dataclasses.replace(asked, checkpoint_seconds=7, overwrite=True), sources)
    changed = dataclasses.replace(asked, epochs=asked.epochs + 1, train_sizes=((16, 2.0), (24, 1.0)))
    del old["seed"]
    old["datasets"][0]["fingerprint"] = "f" * 64
    with pytest.raises(UserError) as caught:
        resuming.check(old, changed, sources)
    text = str(caught.value)
    assert f"--epochs was {asked.epochs}, now {asked.epochs + 1}; " in text
    assert "now 16x2,24x1; " in text
    assert "--seed was missing, now 0" in text
    assert "--data had other images or labels (" in text
    assert "ffffffffffff, now " in text
    assert text.endswith("to start again, add --overwrite; or choose another --output.")
