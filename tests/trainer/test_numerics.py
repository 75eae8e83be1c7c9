"""Settings of Keras in its file, its environment variables or a program do not change the model that is trained."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest

from multihot.errors import UserError
from trainer import numerics, train
from trainer.config import TrainConfig

CHECKOUT = Path(__file__).parents[2]
SETTINGS = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.01, "backend": "jax"}
FLAGS = ["--image_size=16", "--batch_size=8", "--epochs=1", "--cache=decoded"]
CALL = """
import sys
from trainer.config import TrainConfig
from trainer import train
train.train_and_evaluate(
    TrainConfig(data=(sys.argv[1],), output=sys.argv[2], image_size=16, batch_size=8, epochs=1, cache="decoded")
)
"""


def _figures(folder: Path) -> dict[str, Any]:
    return {name: json.loads((folder / name).read_text()) for name in ("history.json", "evaluation.json")}


@pytest.fixture(scope="module")
def expected(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a run in this process, for which Keras is set up as it comes."""
    folder = tmp_path_factory.mktemp("runs") / "expected"
    train.train_and_evaluate(
        TrainConfig(data=(str(data),), output=str(folder), image_size=16, batch_size=8, epochs=1, cache="decoded")
    )
    return _figures(folder)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the program", "a call"])
def test_a_file_of_settings_and_a_limit_of_steps_change_nothing(
    how: str, data: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    (tmp_path / "keras.json").write_text(json.dumps(SETTINGS))
    run = tmp_path / "run"
    arguments = ["-m", "trainer", f"--data={data}", f"--output={run}", *FLAGS]
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    ended = subprocess.run(
        [sys.executable, *(arguments if how == "the program" else ["-c", CALL, str(data), str(run)])],
        cwd=CHECKOUT,
        env={**environment, "KERAS_HOME": str(tmp_path), "KERAS_MAX_STEPS_PER_EPOCH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = _figures(run)
    assert found["history.json"].keys() == expected["history.json"].keys()
    for name, values in expected["history.json"].items():
        # On a CPU they were equal to the last bit; other machines may add up in another order.
        assert found["history.json"][name] == pytest.approx(values, rel=1e-3), name
    assert json.loads((tmp_path / "keras.json").read_text()) == SETTINGS


def test_what_a_program_has_set_is_set_back() -> None:
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_epsilon(0.5)
    numerics.fix()
    assert keras.config.image_data_format() == "channels_last"
    assert keras.config.floatx() == keras.config.dtype_policy().name == "float32"
    assert keras.config.epsilon() == 1e-7


def test_limits_of_epochs_and_steps_are_removed() -> None:
    keras.config.set_max_epochs(1)
    keras.config.set_max_steps_per_epoch(2)
    numerics.fix()
    assert keras.config.max_epochs() is None
    assert keras.config.max_steps_per_epoch() is None


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(UserError, match=r"^Keras was imported with the backend 'torch'.* KERAS_BACKEND=tensorflow\.$"):
        numerics.fix()
