"""A function of the user builds the model, and an error in it names its line."""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from multihot.errors import UserError
from schemas.metadata import DatasetInfo
from schemas.statistics import Statistics
from trainer.config import TrainConfig
from trainer.input import features
from trainer.models import model, own_models, unfreezing

Config = Callable[..., TrainConfig]

BACKBONE = """
import keras

def build(image_shape, num_classes):
    inputs = keras.Input(image_shape)
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Conv2D(16, 3, activation="relu", name="second")(x))
"""
WHOLE = """
import keras

def build(image_shape, num_classes):
    return keras.Sequential([
        keras.Input(image_shape),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(8, 3, strides=4, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(num_classes, activation="{activation}"),
    ])
"""

LAYER = """
import keras
{registered}
class Scale(keras.layers.Layer):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor
    def call(self, maps):
        return maps * self.factor
    def get_config(self):
        return {config}

def build(image_shape, num_classes):
    inputs = keras.Input(image_shape)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    return keras.Model(inputs, Scale(1 / 255)(x))
"""
REGISTERED = "@keras.saving.register_keras_serializable()"


@pytest.fixture
def statistics(info: DatasetInfo) -> Statistics:
    """The statistics of the training split."""
    return info.split("train").statistics


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, which is empty, and in which Python looks for modules no earlier than a run does."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # A test may change a module within a second, in which its compiled form would be taken for that of the new one.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", os.getcwd())])
    modules = set(sys.modules)
    yield folder
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def _images(n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def test_a_backbone_gets_our_head(here: Path, config: Config, statistics: Statistics) -> None:
    (here / "mine.py").write_text(BACKBONE)
    network = model.build(config(model="mine:build"), statistics)
    scores = np.asarray(network(_images(), training=False))
    assert scores.shape == (4, 4)
    backbone = model.backbone_of(network)
    assert backbone
    maps = np.asarray(backbone(_images().astype(np.float32), training=False))
    assert maps.shape == (4, 13, 13, 16)
    extractor, head = model.extractor_and_head(network)
    features = np.asarray(extractor(_images(), training=False))
    np.testing.assert_allclose(features, maps.mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(np.asarray(head(features)), scores, atol=1e-6)
    # The frequencies of the classes, before anything is learned.
    np.testing.assert_allclose(np.asarray(head(np.zeros((1, 16)))), [[0.5] * 4], atol=1e-6)


def test_a_backbone_can_be_frozen_and_unfrozen(here: Path, config: Config, statistics: Statistics) -> None:
    (here / "mine.py").write_text(BACKBONE)
    network = model.build(config(model="mine:build", freeze_backbone=True), statistics)
    assert len(network.trainable_weights) == 2
    backbone = model.backbone_of(network)
    assert backbone
    unfreezing.unfreeze(backbone, "second")
    assert len(network.trainable_weights) == 4


def test_layers_that_the_function_freezes_stay_so(here: Path, config: Config, statistics: Statistics) -> None:
    (here / "mine.py").write_text(BACKBONE.replace('name="first"', 'name="first", trainable=False'))
    network = model.build(config(model="mine:build"), statistics)
    assert len(network.trainable_weights) == 2 + 2 + 2


@pytest.mark.parametrize("loss", ["binary_crossentropy", "categorical_crossentropy"])
def test_a_whole_model_keeps_its_own_head(loss: str, here: Path, config: Config, statistics: Statistics) -> None:
    activation = "sigmoid" if loss == "binary_crossentropy" else "softmax"
    (here / "mine.py").write_text(WHOLE.format(activation=activation))
    network = model.build(config(model="mine:build", loss=loss), statistics)
    [own] = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    scores = np.asarray(network(_images(), training=False))
    np.testing.assert_allclose(scores, np.asarray(own(_images().astype(np.float32))), atol=1e-6)
    assert network.count_params() == own.count_params()
    assert model.backbone_of(network) is None
    extractor, head = model.extractor_and_head(network)
    np.testing.assert_allclose(np.asarray(head(extractor(_images()))), scores, atol=1e-6)
    with pytest.raises(UserError, match=r"^--freeze_backbone: the model of --model=mine:build has its own head\."):
        model.build(config(model="mine:build", loss=loss, freeze_backbone=True), statistics)


def test_pixels_are_from_0_to_255_or_from_0_to_1_when_asked_for(
    here: Path, config: Config, statistics: Statistics
) -> None:
    (here / "mine.py").write_text(BACKBONE)
    for preprocessing, scale in (("auto", 1), ("unit", 255)):
        network = model.build(config(model="mine:build", preprocessing=preprocessing), statistics)
        backbone, head = model.backbone_of(network), network.get_layer("labels")
        assert backbone
        maps = np.asarray(backbone(_images() / np.float32(scale), training=False))
        expected = np.asarray(head(maps.mean(axis=(1, 2))))
        np.testing.assert_allclose(np.asarray(network(_images(), training=False)), expected, atol=1e-5)


def test_a_module_of_a_package_and_arguments_in_another_order(
    here: Path, config: Config, statistics: Statistics
) -> None:
    package = here / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text(BACKBONE)
    (package / "networks.py").write_text(
        "from my_package import parts\n"
        "def small(num_classes, image_shape, width=3):\n"
        "    assert (num_classes, image_shape) == (4, (32, 32, 3))\n"
        "    return parts.build(image_shape, num_classes)\n"
    )
    network = model.build(config(model="my_package.networks:small"), statistics)
    assert np.asarray(network(_images())).shape == (4, 4)


def test_other_names_of_the_arguments(here: Path, config: Config, statistics: Statistics) -> None:
    (here / "mine.py").write_text(BACKBONE.replace("build(image_shape, num_classes)", "build(image_shape, k)"))
    model.build(config(model="mine:build"), statistics)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param(
            None,
            "--model=mine:build: there is no module mine, neither in the current folder ({here}) nor among the "
            "installed packages.",
            id="no module",
        ),
        pytest.param(
            "import keras\nimport no_such_module\n",
            "--model=mine:build: mine cannot be imported: ModuleNotFoundError: No module named 'no_such_module' "
            "(mine.py, line 2)",
            id="an import that fails",
        ),
        pytest.param(
            "import keras\ndef build(:\n",
            "--model=mine:build: mine cannot be imported: SyntaxError: invalid syntax (mine.py, line 2)",
            id="a mistake of syntax",
        ),
        pytest.param(
            "import sys\nsys.exit('Usage: mine')",
            "--model=mine:build: mine cannot be imported: SystemExit: Usage: mine (mine.py, line 2)",
            id="an exit",
        ),
        pytest.param(
            "import keras\ndef make(a, b): pass\ndef _hidden(): pass\n",
            "--model=mine:build: mine.py has no function build. It has: make",
            id="no function",
        ),
        pytest.param(
            "build = 7", "--model=mine:build: mine.py has no function build. It has: no function", id="a number"
        ),
        pytest.param(
            "def build(image_shape): pass",
            "--model=mine:build must take two arguments, image_shape and num_classes. It is build(image_shape).",
            id="one argument",
        ),
        pytest.param(
            "def build(image_shape, num_classes, width): pass",
            "--model=mine:build must take two arguments, image_shape and num_classes. It is "
            "build(image_shape, num_classes, width).",
            id="three arguments",
        ),
        pytest.param(
            "def build(image_shape, num_classes):\n    return inner()\ndef inner():\n    return 1 / 0\n",
            "--model=mine:build failed for images (32, 32, 3) and 4 classes: ZeroDivisionError: division by zero "
            "(mine.py, line 4)",
            id="an exception",
        ),
        pytest.param(
            "def build(image_shape, num_classes):\n    raise ValueError\n",
            "--model=mine:build failed for images (32, 32, 3) and 4 classes: ValueError (mine.py, line 2)",
            id="an exception without a message",
        ),
        pytest.param(
            "def build(image_shape, num_classes): return image_shape",
            "--model=mine:build must return a Keras model. It has returned: tuple",
            id="no model",
        ),
        pytest.param(
            "import keras\ndef build(image_shape, num_classes):\n    x = keras.Input(image_shape)\n"
            "    return keras.Model(x, keras.layers.Flatten()(x))\n",
            "--model=mine:build has outputs of the shape [batch, 3072]. They must be [batch, height, width, channels], "
            "to which multihot adds a head, or probabilities [batch, 4].",
            id="neither a backbone nor probabilities",
        ),
        pytest.param(
            "import keras\ndef build(image_shape, num_classes):\n    x = keras.Input(image_shape)\n"
            "    return keras.Model(x, [x, x])\n",
            "The model of --model=mine:build must have one output. It has 2.",
            id="two outputs",
        ),
        pytest.param(
            "import keras\ndef build(image_shape, num_classes):\n    x = keras.Input(image_shape)\n"
            "    return keras.Model(x, keras.layers.Conv2D(4, 3)(x), name='labels')\n",
            "The model of --model=mine:build has the name 'labels', which is that of a layer of multihot. Give it "
            'another one: keras.Model(..., name="mine").',
            id="the name of our head",
        ),
        pytest.param(
            WHOLE.format(activation="linear"),
            "The outputs of --model=mine:build must be probabilities, but its last layer has no activation. The last "
            'layer can be keras.layers.Dense(4, activation="sigmoid").',
            id="logits",
        ),
        pytest.param(
            "import keras\ndef build(image_shape, num_classes):\n    x = keras.Input((224, 224, 3))\n"
            "    return keras.Model(x, keras.layers.Conv2D(4, 3)(x))\n",
            None,
            id="images of another size",
        ),
        pytest.param(
            LAYER.format(registered="", config="{'factor': self.factor}"),
            "The model of --model=mine:build could not be loaded from its file after the training: Could not locate "
            "class 'Scale'. Make sure custom classes and functions are decorated with "
            "`@keras.saving.register_keras_serializable()`. If they are already decorated, make sure they are all "
            "imported so that the decorator is run before trying to load them.",
            id="a layer that is not registered",
        ),
        pytest.param(
            LAYER.format(registered=REGISTERED, config="{}"),
            "The model of --model=mine:build could not be loaded from its file after the training: Scale.__init__() "
            "missing 1 required positional argument: 'factor'",
            id="a layer that does not tell its settings",
        ),
        pytest.param(
            "import keras\nclass Own(keras.Model):\n    def __init__(self, function):\n        super().__init__()\n"
            "        self.maps = keras.layers.Conv2D(8, 3)\n    def call(self, images):\n"
            "        return self.maps(images / 255)\n"
            "def build(image_shape, num_classes): return Own(build)\n",
            "The model of --model=mine:build could not be loaded from its file after the training: Object Own was "
            "created by passing non-serializable argument values in `__init__()`, and therefore the object "
            "must override "
            "`get_config()` in order to be serializable. Please implement `get_config()`.",
            id="a model that cannot be written",
        ),
    ],
)
def test_an_error_is_a_sentence(
    code: str | None, message: str | None, here: Path, config: Config, statistics: Statistics
) -> None:
    if code is not None:
        (here / "mine.py").write_text(code)
    with pytest.raises(UserError) as caught:
        model.build(config(model="mine:build"), statistics)
    if message is None:
        assert str(caught.value).startswith(
            "The model of --model=mine:build cannot take images [4, 32, 32, 3]: ValueError: Input 0"
        )
    else:
        assert str(caught.value) == message.format(here=here)
    assert "\n" not in str(caught.value)


def test_a_layer_whose_settings_have_no_type_is_saved_in_float32(
    here: Path, config: Config, statistics: Statistics
) -> None:
    (here / "mine.py").write_text(LAYER.format(registered=REGISTERED, config="{'factor': self.factor}"))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = model.build(config(model="mine:build"), statistics)
        saved = model.in_float32(network)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in network._flatten_layers()} == {"bfloat16", "float32"}
    assert {layer.compute_dtype for layer in saved._flatten_layers()} == {"float32"}
    np.testing.assert_allclose(saved(_images()), network(_images()), atol=0.05)


def test_the_check_of_the_file_changes_no_seed(here: Path, config: Config, statistics: Statistics) -> None:
    (here / "mine.py").write_text(BACKBONE)
    keras.utils.set_random_seed(0)
    own_models.find("mine:build")((32, 32, 3), 4)
    expected = random.random()
    keras.utils.set_random_seed(0)
    own_models.build("mine:build", (32, 32, 3), 4, softmax=False)
    assert random.random() == expected


@pytest.mark.parametrize("outputs", ["[maps]", "(maps,)"])
def test_a_list_of_one_output_is_an_output(outputs: str, here: Path, config: Config, statistics: Statistics) -> None:
    code = "import keras\ndef build(image_shape, num_classes):\n    x = keras.Input(image_shape)\n"
    (here / "mine.py").write_text(
        f"{code}    maps = keras.layers.Conv2D(8, 3)(x)\n    return keras.Model(x, {outputs})\n"
    )
    network = model.build(config(model="mine:build"), statistics)
    assert np.asarray(network(_images())).shape == (4, 4)
    assert np.asarray(model.in_float32(network, always=True)(_images())).shape == (4, 4)


@pytest.mark.parametrize(
    ("side", "layer", "message"),
    [
        (None, "Conv2D(8, 3, strides=2)(x)", "images of 16 pixels: ValueError: Computed output size would be zero"),
        (32, "Reshape((1, 8, 8))(x)", "images of 16 pixels: InvalidArgumentError: .*the requested shape has 64"),
        (32, "Conv2D(8, 1)(x)", None),
    ],
    ids=["nothing is left", "of one size", "any size in effect"],
)
def test_images_that_grow_must_not_be_too_small(
    side: int | None, layer: str, message: str | None, here: Path, config: Config, statistics: Statistics
) -> None:
    code = "import keras\ndef build(image_shape, num_classes):\n"
    code += f"    x = inputs = keras.Input(({side}, {side}, 3))\n    for _ in range(3):\n"
    code += "        x = keras.layers.Conv2D(4, 3, strides=2, padding='same')(x)\n"
    code += f"    return keras.Model(inputs, keras.layers.{layer})\n"
    (here / "mine.py").write_text(code)
    model.build(config(model="mine:build"), statistics)
    grows = config(model="mine:build", train_sizes=((16, 1.0), (32, 1.0)))
    if not message:
        model.build(grows, statistics)
        return
    with pytest.raises(UserError, match=message):
        model.build(grows, statistics)


def test_outputs_beyond_0_and_1_are_no_probabilities(here: Path, config: Config, statistics: Statistics) -> None:
    (here / "mine.py").write_text(WHOLE.format(activation="relu"))
    with pytest.raises(UserError, match=r"must be probabilities, but its last layer has the activation relu\. "):
        model.build(config(model="mine:build"), statistics)
    (here / "mine.py").write_text(
        WHOLE.format(activation="linear").replace("\n    ])", "keras.layers.Rescaling(1, offset=3),\n    ])")
    )
    del sys.modules["mine"]
    with pytest.raises(
        UserError, match=r"must be probabilities, but they go from [-0-9.]+ to [0-9.]+\. .* activation=\"sigmoid\"\)"
    ):
        model.build(config(model="mine:build"), statistics)
    (here / "mine.py").write_text(WHOLE.format(activation="sigmoid"))
    del sys.modules["mine"]
    with pytest.raises(UserError, match=r"must add up to 1 for each image, .* They add up to "):
        model.build(config(model="mine:build", loss="categorical_crossentropy"), statistics)


@pytest.mark.parametrize(
    "name", ["mine.py:build", "./mine:build", "mine:", ":build", "mine:a:b", "mine:a.b", "my-own:x"]
)
def test_a_path_is_not_the_name_of_a_module(name: str, here: Path, config: Config, statistics: Statistics) -> None:
    with pytest.raises(
        UserError, match=rf"^--model={name} must be MODULE:FUNCTION, .* my_module:build for my_module\.py"
    ):
        model.build(config(model=name), statistics)


def test_imagenet_weights_are_for_the_function_to_load(here: Path, config: Config, statistics: Statistics) -> None:
    (here / "mine.py").write_text(BACKBONE)
    with pytest.raises(UserError, match=r"^--weights=imagenet: it is for your function to load weights\."):
        model.build(config(model="mine:build", weights="imagenet"), statistics)


_PLAIN = """
import sys
import keras, numpy
network = keras.saving.load_model(sys.argv[1])
print(network(numpy.full((1, 32, 32, 3), 255, numpy.uint8)).numpy()[0].tolist())
print([name for name in sys.modules if name.split(".")[0] in ("trainer", "multihot", "mine")])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(BACKBONE, id="backbone"),
        pytest.param(WHOLE.format(activation="sigmoid"), id="whole", marks=pytest.mark.extended),
    ],
)
def test_trains_by_the_command_line_and_loads_in_plain_keras(code: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(code)
    # As the command `multihot`: the current folder is not among those in which Python looks.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    program = ["-c", "from multihot.__main__ import run; run()", "train"]
    flags = [f"--data={data}", "--model=mine:build", "--image_size=32", "--epochs=1", "--batch_size=16"]
    flags.append("--nofreeze_backbone")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    ended = run(*program, *flags, "--output=first")
    assert ended.returncode == 0, ended.stderr
    # The model is that of the earlier run.
    flags.remove("--model=mine:build")
    ended = run(*program, *flags, "--output=second", "--weights=first")
    assert ended.returncode == 0, ended.stderr
    plain = run("-c", _PLAIN, "second/model.keras")
    assert plain.returncode == 0, plain.stderr
    scores, modules = plain.stdout.splitlines()
    assert len(json.loads(scores)) == 4
    assert modules == "[]"
    ended = run(*program, *flags[:1], "--model=mine:other", "--output=third")
    assert ended.returncode == 1
    assert ended.stderr == "error: --model=mine:other: mine.py has no function other. It has: build\n"


def test_the_cache_of_features_is_another_when_the_code_is(here: Path, config: Config, statistics: Statistics) -> None:
    def key(code: str) -> Any:
        (here / "mine.py").write_text(code)
        sys.modules.pop("mine", None)
        keras.utils.set_random_seed(0)
        asked = config(model="mine:build", freeze_backbone=True, augment="none")
        network = model.build(asked, statistics)
        return features.of_backbone(asked, network, model.extractor_and_head(network)[0]).key

    assert key(BACKBONE) == key(BACKBONE)
    assert key(BACKBONE) != key(BACKBONE.replace("relu", "tanh"))


def test_the_model_in_the_docs_is_built(here: Path, config: Config, statistics: Statistics) -> None:
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    [(file, code)] = re.findall(r"<!-- program: (\w+\.py) -->\n```python\n(.*?)```", page, re.DOTALL)
    (here / file).write_text(code)
    network = model.build(config(model=f"{Path(file).stem}:small"), statistics)
    assert f"--model={Path(file).stem}:small" in page
    assert np.asarray(network(_images())).shape == (4, 4)
