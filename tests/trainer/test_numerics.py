"""Settings of Keras in its file, its environment variables or a program do not change the model that is trained."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from multihot.errors import UserError
from trainer import caching, compilation, features, model, numerics, pipeline, train
from trainer.config import TrainConfig
from trainer.sources import Sources

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


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    """Lets models compute in another type, in one test."""
    numerics.fix(request.param)
    yield request.param
    numerics.fix()


def test_a_model_computes_in_another_type_with_weights_features_and_head_in_float32(
    precision: str, config: Callable[..., TrainConfig], sources: Sources
) -> None:
    asked = config(model="small_resnet", image_size=32, ema=0.0)
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    network = compilation.compile_model(asked, sources)
    extractor, head = model.extractor_and_head(network)
    [backbone] = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    assert {layer.compute_dtype for layer in backbone.layers} == {precision.removeprefix("mixed_")}
    assert {variable.dtype for variable in network.variables if variable.name != "seed_generator_state"} == {"float32"}
    features, scores = extractor(images), network(images)
    assert features.dtype == head(features).dtype == scores.dtype == "float32"
    numerics.fix()
    usual = compilation.compile_model(asked, sources)
    usual.set_weights(network.get_weights())
    expected = model.extractor_and_head(usual)[0](images).numpy()
    # Eight bits of bfloat16, eleven of float16, over ten convolutions.
    assert np.abs(features.numpy() - expected).max() < 0.05 * expected.max()
    assert expected.max() > 0.1
    np.testing.assert_allclose(scores, usual(images), atol=0.02)


def test_cached_features_are_those_of_the_backbone_in_another_type(
    precision: str, config: Callable[..., TrainConfig], sources: Sources
) -> None:
    asked = config(model="small_resnet", image_size=32, freeze_backbone=True, augment="none", cache="features")
    network = compilation.compile_model(asked, sources)
    extractor, _ = model.extractor_and_head(network)
    fixed = features.of_backbone(asked, network, extractor)
    plan = caching.choose(asked, sources, fixed)
    assert plan.content == "features"
    cached = caching.fill_or_open(plan, asked, sources, "validation", 32, fixed)
    found = np.concatenate([batch for batch, _ in pipeline.evaluation_dataset(asked, sources, "validation", cached)])
    images = np.concatenate([batch for batch, _ in pipeline.evaluation_dataset(asked, sources, "validation")])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, extractor(images), rtol=0.02, atol=0.02)
    assert found.max() > 0.1


# Prints a digest of all weights after a training with every augmentation, dropout and batch normalization.
_DIGEST = """
import hashlib, sys
import keras, numpy as np
from trainer import numerics, train
from trainer.config import TrainConfig
numerics.make_deterministic(3)
train.train_and_evaluate(TrainConfig(
    data=(sys.argv[1],), output=sys.argv[2], image_size=32, batch_size=8, epochs=3, augment="full", seed=3,
    model="small_resnet", train_sizes=(), cache="none",
))
weights = keras.saving.load_model(f"{sys.argv[2]}/model.keras", compile=False).get_weights()
print("digest", hashlib.sha256(b"".join(each.tobytes() for each in weights)).hexdigest())
"""


@pytest.mark.slow
def test_deterministic_runs_have_the_same_weights_bit_for_bit(data: Path, tmp_path: Path) -> None:
    digests = []
    for i in range(2):
        ended = subprocess.run(
            [sys.executable, "-c", _DIGEST, str(data), str(tmp_path / f"run{i}")],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        digests.append(ended.stdout.split("digest ")[1])
    assert digests[0] == digests[1]


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
