"""Converts a drawn dataset, whose pictures show their labels, for the tests of the trainer.

    train       48 pictures, JPEG and PNG, sizes mixed, 3 shards
    validation  21 of the same kind, 2 shards
    jpegs       10 of the same kind, JPEG only
    modes       one picture in each way that a file can hold one

A picture has four quadrants in the colours of its classes, and is grey where it has none.
"""

import csv
import dataclasses
import functools
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
import tensorflow as tf
from PIL import Image

from converter.job.pipeline import convert
from converter.options import ConvertOptions
from multihot import flags
from multihot.usage import Usage
from schemas import metadata
from schemas.metadata import DatasetInfo
from trainer.config import TrainConfig
from trainer.input import caching, pipeline
from trainer.models import model
from trainer.sources import Sources, combine
from trainer.system import numerics
from trainer.training import compilation

COLOURS = {"blue": (30, 60, 220), "green": (40, 180, 60), "red": (220, 40, 30), "yellow": (230, 210, 40)}


def _picture(labels: list[int], rng: np.random.Generator) -> Image.Image:
    colours = [colour for colour, label in zip(COLOURS.values(), labels, strict=True) if label]
    quadrants = [colours[i % len(colours)] if colours else (128, 128, 128) for i in range(4)]
    square = np.array([quadrants[i] for i in rng.permutation(4)], np.uint8).reshape(2, 2, 3)
    height, width = rng.integers(36, 72, size=2)
    pixels = np.asarray(Image.fromarray(square).resize((width, height), Image.Resampling.NEAREST))
    noisy = pixels + rng.normal(0, 8, (height, width, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _modes(folder: Path, rng: np.random.Generator) -> list[str]:
    """Saves the same picture in every format and mode; returns the names."""
    colour = _picture([1, 1, 1, 1], rng).resize((48, 40))
    translucent = colour.copy()
    translucent.putalpha(Image.linear_gradient("L").resize(colour.size))
    deep = Image.fromarray(np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) * 34)
    pictures = {
        "rgb.jpg": colour,
        "grey.jpg": colour.convert("L"),
        "cmyk.jpg": colour.convert("CMYK"),
        "rgb.png": colour,
        "grey.png": colour.convert("L"),
        "palette.png": colour.quantize(16),
        "translucent.png": translucent,
        "grey and translucent.png": translucent.convert("LA"),
        "black and white.png": colour.convert("1"),
        "16 bit.png": deep,
        "palette.gif": colour.quantize(16),
        "rgb.bmp": colour,
        "rgb.webp": colour,
    }
    for name, picture in pictures.items():
        picture.save(folder / name, quality=90)
    colour.save(folder / "progressive.jpg", quality=90, progressive=True, subsampling=0)
    return [*pictures, "progressive.jpg"]


@pytest.fixture(autouse=True)
def float32() -> Iterator[None]:
    """Sets the type back that a run in the test computes in, which is that of the process."""
    yield
    if keras.config.dtype_policy().name != "float32":
        numerics.fix()


@pytest.fixture(scope="session")
def seed_of() -> Callable[..., tf.Tensor]:
    """Returns the function that makes the seed of a random operation: of two numbers, or always the same."""
    return lambda *numbers: tf.constant(numbers or (1, 2), tf.int64)


@pytest.fixture(scope="session")
def batch_of() -> Callable[[int], tuple[tf.Tensor, tf.Tensor]]:
    """Returns the function that makes a batch of a size: noise, uint8 [size, 24, 24, 3], and labels of 3 classes."""

    def make(size: int) -> tuple[tf.Tensor, tf.Tensor]:
        rng = np.random.default_rng(size)
        images = rng.integers(0, 256, (size, 24, 24, 3), dtype=np.uint8)
        return tf.constant(images), tf.constant(rng.integers(0, 2, (size, 3)).astype(np.float32))

    return make


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/ and labels.csv: columns filename, split, and one for each class."""
    folder = tmp_path_factory.mktemp("source")
    images = folder / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    rows: list[list[str | int]] = []
    for split, count in (("train", 48), ("validation", 21), ("jpegs", 10)):
        for i in range(count):
            # Every mixture of the four classes in turn, the one without any among them.
            labels = [int(digit) for digit in f"{i % 16:04b}"]
            name = f"{split}{i:02d}.{'png' if i % 3 == 0 and split != 'jpegs' else 'jpg'}"
            _picture(labels, rng).save(images / name, quality=95)
            rows.append([name, split, *labels])
    rows.extend([name, "modes", 1, 1, 1, 1] for name in _modes(images, rng))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "split", *COLOURS], *rows])
    return folder


@pytest.fixture(scope="session")
def data(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the dataset."""
    options = ConvertOptions(
        csv=str(source / "labels.csv"),
        images=str(source / "images"),
        output=str(tmp_path_factory.mktemp("data")),
        name="made",
        label_columns=tuple(COLOURS),
        split_column="split",
        num_shards={"train": 3, "validation": 2, "jpegs": 2, "modes": 1},
        max_rejects=0,
        num_threads=1,
    )
    convert(options)
    return Path(options.dataset)


@pytest.fixture(scope="session")
def info(data: Path) -> DatasetInfo:
    """Returns the manifest of the dataset."""
    return metadata.load(str(data))


@pytest.fixture(scope="session")
def sources(data: Path, info: DatasetInfo) -> Sources:
    """The dataset as a run uses it."""
    return combine([(str(data), info)])


@pytest.fixture(scope="session")
def compiled() -> Callable[[TrainConfig, Sources], keras.Model]:
    """Returns the function that builds the model of a run and compiles it."""

    def make(config: TrainConfig, sources: Sources) -> keras.Model:
        network = model.build(config, sources.split(config.train_split).statistics, sources.classes)
        compilation.compile_network(network, config, sources)
        return network

    return make


_RECIPES = Path(__file__).parents[2] / "trainer" / "experiments"


@functools.cache
def _recipe(name: str) -> dict[str, Any]:
    """Returns the settings of a recipe, by the parser of the command line; without a name, of the defaults."""
    usage = Usage(module="trainer", description="", example="", settings=(TrainConfig,))
    return flags.read(usage, ["trainer", *([f"--flagfile={_RECIPES / name}.flags"] if name else [])])


@pytest.fixture(scope="session")
def recipe(data: Path) -> Callable[..., TrainConfig]:
    """Returns the function that makes the TrainConfig of a recipe, with changes: smaller images, fewer epochs.

    The name is that of a file of trainer/experiments; "" is the recipe of the defaults. A test that trains makes a
    recipe smaller and changes what it is about, so that it fails when a recipe can no longer be run.
    """
    # In the same type on every machine.
    fixed = {"data": (str(data),), "precision": "float32"}
    return lambda name, **changes: TrainConfig(**{**_recipe(name), **fixed, **changes})


@pytest.fixture
def config(recipe: Callable[..., TrainConfig], tmp_path: Path) -> Callable[..., TrainConfig]:
    """Returns `recipe` for the defaults: small images, a number of epochs, and whatever else a test asks for."""
    return functools.partial(recipe, "", output=str(tmp_path / "run"), image_size=32, epochs=100)


@pytest.fixture
def training(tmp_path: Path) -> Callable[..., tf.data.Dataset]:
    """Makes the training data of a config and its sources, of which that is kept between epochs which a test names."""

    def make(config: TrainConfig, sources: Sources, kept: str = "none", **asked: Any) -> tf.data.Dataset:
        cached = _cache(config, sources, config.train_split, pipeline.cached_image_size(config), kept, tmp_path)
        return pipeline.training_dataset(config, sources, cached, keep_encoded=kept == "encoded", **asked)

    return make


@pytest.fixture
def validation(tmp_path: Path) -> Callable[..., tf.data.Dataset]:
    """Makes the batches of a split, as `training` does."""

    def make(
        config: TrainConfig, sources: Sources, split: str = "validation", kept: str = "none", **asked: Any
    ) -> tf.data.Dataset:
        cached = _cache(config, sources, split, config.image_size, kept, tmp_path)
        return pipeline.evaluation_dataset(config, sources, split, cached, keep_encoded=kept == "encoded", **asked)

    return make


def _cache(
    config: TrainConfig, sources: Sources, split: str, size: int, kept: str, folder: Path
) -> pipeline.CachedSplit | None:
    content = kept if kept in ("none", "encoded", "streamed") else "decoded"
    plan = caching.Plan(content, kept == "disk", "")
    asked = dataclasses.replace(config, cache_dir=str(folder / "caches"))
    return caching.fill_or_open(plan, asked, sources, split, size)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a dataset of 1500 small images with 3 of 500 classes."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(1500):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).save(folder / "images" / f"{i}.jpg")
        rows.append([f"{i}.jpg", "train" if i < 1490 else "validation", *(int(i % 500 == j) for j in range(500))])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "split", *(f"class {j}" for j in range(500))], *rows])
    options = ConvertOptions(
        csv=str(folder / "labels.csv"),
        images=str(folder / "images"),
        output=str(folder / "data"),
        name="many",
        split_column="split",
        num_shards={"train": 8, "validation": 1},
        num_threads=2,
    )
    convert(options)
    return options.dataset


# Imports the program once, and then runs it in a child process for each line of arguments: as `python -m trainer`
# would, but for the seconds that TensorFlow takes to come and go.
_SERVER = """
import json, os, sys, tempfile, traceback
from multihot.quiet import quiet
with quiet():
    from trainer import main, train

def run():
    try:
        main.run()
    except SystemExit as exit:
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)
        return 1 if isinstance(exit.code, str) else exit.code or 0
    except BaseException:
        traceback.print_exc()
        return 1

for line in sys.stdin:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = ["trainer", *json.loads(line)]
            status = run()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        print(json.dumps([status, out.read().decode(), err.read().decode()]), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="session")
def keras_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command line of the tests keeps weights that it would download."""
    return tmp_path_factory.mktemp("keras")


@pytest.fixture(scope="session")
def command(keras_home: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs the command line of the trainer with the arguments that it gets, on a machine without a network."""
    home = {"XDG_CACHE_HOME": str(keras_home)}
    offline = {
        **home,
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "KERAS_HOME": str(keras_home),
    }
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **offline},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdin
        assert server.stdout
        requests, answers = server.stdin, server.stdout

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            print(json.dumps(arguments), file=requests, flush=True)
            return subprocess.CompletedProcess(arguments, *json.loads(answers.readline()))

        yield run
        requests.close()
