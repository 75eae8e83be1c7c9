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
from trainer import train
from trainer.config import TrainConfig
from trainer.input import caching, features, pipeline
from trainer.models import model
from trainer.sources import Sources
from trainer.system import numerics

Compiled = Callable[[TrainConfig, Sources], keras.Model]
CHECKOUT = Path(__file__).parents[3]
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


@pytest.mark.extended
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
    precision: str, config: Callable[..., TrainConfig], sources: Sources, compiled: Compiled
) -> None:
    asked = config(model="small_resnet", image_size=32, ema=0.0)
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    network = compiled(asked, sources)
    extractor, head = model.extractor_and_head(network)
    [backbone] = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    assert {layer.compute_dtype for layer in backbone.layers} == {precision.removeprefix("mixed_")}
    assert {variable.dtype for variable in network.variables if variable.name != "seed_generator_state"} == {"float32"}
    features, scores = extractor(images), network(images)
    assert features.dtype == head(features).dtype == scores.dtype == "float32"
    numerics.fix()
    usual = compiled(asked, sources)
    usual.set_weights(network.get_weights())
    expected = model.extractor_and_head(usual)[0](images).numpy()
    # Eight bits of bfloat16, eleven of float16, over ten convolutions.
    assert np.abs(features.numpy() - expected).max() < 0.05 * expected.max()
    assert expected.max() > 0.1
    np.testing.assert_allclose(scores, usual(images), atol=0.02)


def _depthwise(network: keras.Model) -> dict[str, str]:
    """Returns what each depthwise convolution with strides, and the first one without, computes in."""
    backbone = model.backbone_of(network)
    assert backbone
    found = [layer for layer in backbone.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    return {layer.name: layer.compute_dtype for i, layer in enumerate(found) if i == 0 or max(layer.strides) > 1}


def test_depthwise_convolutions_with_slow_gradients_compute_in_float32(
    config: Callable[..., TrainConfig], sources: Sources
) -> None:
    numerics.fix("mixed_bfloat16")
    statistics = sources.split("train").statistics
    asked = {"model": "efficientnet_lite0", "freeze_backbone": True}
    tuned = model.build(config(**asked, unfreeze_epochs=1, unfreeze_from="block04"), statistics)
    frozen = model.build(config(**asked), statistics)
    scratch = model.build(config(model="efficientnet_lite0"), statistics)
    names = [f"block{number:02d}_depthwise_conv" for number in (0, 1, 3, 5, 11)]
    assert _depthwise(tuned) == dict(zip(names, ["bfloat16"] * 3 + ["float32"] * 2, strict=True))
    assert _depthwise(frozen) == dict.fromkeys(names, "bfloat16")
    assert _depthwise(scratch) == dict.fromkeys(names, "float32")


@pytest.mark.parametrize(
    "name",
    [
        "small_resnet",
        pytest.param("efficientnet_lite0", marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
        pytest.param("vgg16", marks=pytest.mark.slow),
    ],
)
def test_the_model_of_a_run_computes_in_float32_with_the_weights_that_were_trained(
    name: str, precision: str, config: Callable[..., TrainConfig], sources: Sources, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    network = model.build(config(model=name), sources.split("train").statistics)
    if network.input_shape[1] is None:
        network = model.of_size(network, 32)
    in_float32 = model.in_float32(network)
    assert keras.config.dtype_policy().name == precision
    assert model.in_float32(in_float32) is in_float32
    assert {layer.compute_dtype for layer in in_float32._flatten_layers()} == {"float32"}
    for one, other in zip(in_float32.weights, network.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    in_float32.save(tmp_path / "model.keras")
    numerics.fix()
    saved = keras.saving.load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in saved._flatten_layers()} == {"float32"}
    assert saved.input_shape == (None, 32, 32, 3)
    scores = np.asarray(saved(images, training=False))
    np.testing.assert_allclose(scores, network(images, training=False), atol=0.02)


def test_a_model_with_a_class_of_the_user_stays_in_its_type() -> None:
    class Own(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs + 1

    numerics.fix("mixed_bfloat16")
    pixels = keras.Input((4, 4, 3))
    network = keras.Model(pixels, Own()(pixels))
    assert model.in_float32(network) is network


def test_cached_features_are_those_of_the_backbone_in_another_type(
    precision: str, config: Callable[..., TrainConfig], sources: Sources, compiled: Compiled
) -> None:
    asked = config(model="small_resnet", image_size=32, freeze_backbone=True, augment="none", cache="features")
    network = compiled(asked, sources)
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
from trainer import train
from trainer.config import TrainConfig

train.train_and_evaluate(TrainConfig(
    data=(sys.argv[1],), output=sys.argv[2], image_size=32, batch_size=8, epochs=3, augment="full", seed=3,
    model="small_resnet", train_sizes=(), cache="none", deterministic=True,
))
weights = keras.saving.load_model(f"{sys.argv[2]}/model.keras", compile=False).get_weights()
print("digest", hashlib.sha256(b"".join(each.tobytes() for each in weights)).hexdigest())
"""


@pytest.mark.extended  # test_resuming.py compares runs in the same way, but for processes that are forked from one.
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
