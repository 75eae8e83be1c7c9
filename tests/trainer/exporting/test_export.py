"""An exported model gives the predictions of the trainer, in its own runtime, for every kind of model.

ONNX and LiteRT need the packages of the extra `export`, which `scripts/test` installs.
"""

import base64
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from multihot import flags, locking
from multihot.errors import UserError
from schemas.metadata import DatasetInfo
from trainer import export, model_file, train
from trainer.config import TrainConfig
from trainer.exporting import compare, exif, formats, output
from trainer.input import matrices
from trainer.input.decoding import ImageDecoder
from trainer.model_file import ModelInfo
from trainer.models import model
from trainer.prediction.reading import Reader

Config = Callable[..., TrainConfig]
_ROOT = Path(__file__).parents[3]
_OWN = """
import keras

def build(image_shape, num_classes):
    inputs = keras.Input(image_shape)
    # Layers that are random in a training have states.
    x = keras.layers.RandomContrast(0.2)(keras.layers.RandomFlip()(inputs))
    maps = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(keras.layers.Rescaling(1 / 255)(x))
    # Keras lets XLA compile a convolution of groups of channels, as those of ConvNeXt.
    maps = keras.layers.Conv2D(8, 3, padding="same", groups=4, activation="gelu")(maps)
    # A constant that is no weight, as a table of positions.
    table = keras.ops.reshape(keras.ops.sin(keras.ops.arange(23 * 23 * 8, dtype="float32")), (23, 23, 8))
    return keras.Model(inputs, maps + table)
"""
_CLASSES = ("desert", "바다", "a, b")
# Largest difference of a probability where another library resizes: it rounds a half up or down, and these heads, whose
# logits have a standard deviation of 1 over a few photographs, tell that. Of six models, the largest had 0.0017.
_ROUNDED = 0.005


def _info(**changes: object) -> ModelInfo:
    given = {"classes": _CLASSES, "image_size": 48, "resize": "stretch", "decode": "scaled", "softmax": False}
    return ModelInfo(**{**given, "flip": False, "thresholds": (0.5, 0.4, 0.3), "fingerprints": (), **changes})


def _photos(seed: int = 0) -> list[bytes]:
    """Returns photographs of several sizes and formats, smooth as photographs are."""
    rng, files = np.random.default_rng(seed), []
    for i, (width, height) in enumerate([(97, 61), (40, 55), (300, 200), (48, 48)]):
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        file = io.BytesIO()
        small.resize((width, height), Image.Resampling.BICUBIC).save(file, "PNG" if i % 2 else "JPEG", quality=95)
        files.append(file.getvalue())
    return files


def _tell_apart(network: keras.Model) -> None:
    """Changes the random weights of a head, so that its probabilities differ between the photographs."""
    extractor, _ = model.extractor_and_head(network)
    images = np.concatenate([Reader(_info()).decoded(photo) for photo in (*_photos(), *_photos(1))])
    features = extractor(images).numpy()
    kernel = np.random.default_rng(0).normal(size=(features.shape[1], len(_CLASSES)))
    logits = features @ kernel
    network.get_layer("labels").set_weights([kernel / logits.std(axis=0), -logits.mean(axis=0) / logits.std(axis=0)])


@pytest.fixture(scope="module", params=["small_resnet", "efficientnet_lite0", "mobilenet_v2", "own_of_test:build"])
def saved(
    request: pytest.FixtureRequest, recipe: Config, info: DatasetInfo, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[keras.Model, ModelInfo, Path]]:
    """A model of each kind with random weights, loaded from its file; what it takes; and the file."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "own_of_test.py").write_text(_OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        keras.utils.set_random_seed(0)
        config = recipe("", model=request.param, weights="none", image_size=48, output="unused")
        statistics = dataclasses.replace(info.split("train").statistics, positives=(4, 1, 6))
        network = model.build(config, statistics, _CLASSES)
        _tell_apart(network)
        if network.input_shape[1] is None:
            network = model.of_size(network, 48)
        notes, path = _info(flip=request.param == "small_resnet"), folder / "model.keras"
        network.save(path)
        model_file.add(path, notes)
        yield keras.saving.load_model(path), notes, path


def _largest(name: str, saved: tuple[keras.Model, ModelInfo, Path], path: Path, photos: list[bytes]) -> float:
    network, info, _ = saved
    images = compare.Images(network, info, photos, np.zeros((len(photos), 3), np.float32))
    assert np.ptp(images.expected, axis=0).max() > 0.05
    found = compare.runtime(name, path, info)
    assert found
    return float(np.abs(compare.predicted(found[1], photos) - images.expected).max())


def test_a_saved_model_and_the_file_of_keras_give_the_predictions_of_the_trainer(
    saved: tuple[keras.Model, ModelInfo, Path], tmp_path: Path
) -> None:
    network, info, path = saved
    formats.write_saved_model(network, info, tmp_path / "saved_model")
    formats.write_keras(path, tmp_path / "copy.keras")
    assert _largest(formats.SAVED_MODEL, saved, tmp_path / "saved_model", _photos()) < 1e-5
    assert _largest(formats.KERAS, saved, tmp_path / "copy.keras", _photos()) < 1e-5
    assert model_file.read(tmp_path / "copy.keras") == info


def test_onnx_gives_the_predictions_of_the_trainer(saved: tuple[keras.Model, ModelInfo, Path], tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx", reason="pip install 'multihot[export]'")
    onnxruntime = pytest.importorskip("onnxruntime")
    network, info, _ = saved
    path = tmp_path / "model.onnx"
    formats.write_onnx(network, info, path)
    pngs = [photo for photo in _photos() if not photo.startswith(b"\xff\xd8")]
    assert _largest(formats.ONNX, saved, path, pngs) < _ROUNDED
    notes = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(notes["classes"]) == list(_CLASSES)
    assert json.loads(notes["thresholds"]) == [0.5, 0.4, 0.3]


def test_litert_gives_the_predictions_of_the_trainer(
    saved: tuple[keras.Model, ModelInfo, Path], tmp_path: Path
) -> None:
    pytest.importorskip("ai_edge_litert", reason="pip install 'multihot[export]'")
    network, info, _ = saved
    path = tmp_path / "model.tflite"
    formats.write_litert(network, info, path)
    pngs = [photo for photo in _photos() if not photo.startswith(b"\xff\xd8")]
    assert _largest(formats.LITERT, saved, path, pngs) < _ROUNDED


_READER = """
import base64, json, sys
import tensorflow as tf
assert not {"trainer", "multihot", "schemas"} & set(sys.modules)
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
request = json.load(sys.stdin)
data = tf.constant([base64.b64decode(one["b64"]) for one in request["instances"]])
found = served(image_bytes=data)
print(json.dumps({name: tensor.numpy().tolist()
                  for name, tensor in found.items()}, default=str))
"""


@pytest.mark.parametrize(
    "saved",
    ["small_resnet", pytest.param("mobilenet_v2", marks=(pytest.mark.slow, pytest.mark.extended))],
    indirect=True,
)
def test_a_saved_model_needs_none_of_our_packages(saved: tuple[keras.Model, ModelInfo, Path], tmp_path: Path) -> None:
    network, info, _ = saved
    formats.write_saved_model(network, info, tmp_path / "saved_model")
    photos = _photos(1)
    instances = [{"b64": base64.b64encode(photo).decode()} for photo in photos]
    ended = subprocess.run(
        [sys.executable, "-I", "-c", _READER, tmp_path / "saved_model" / "1"],
        input=json.dumps({"instances": instances}),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    answer = json.loads(ended.stdout)
    expected = compare.Images(network, info, photos, np.zeros((4, 3), np.float32)).expected
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    assert answer["labels"] == (expected >= np.array(info.thresholds, np.float32)).tolist()
    assert len(answer["classes"]) == 4


@pytest.mark.parametrize("decode", ["scaled", "exact"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_products_of_matrices_resize_as_the_pipeline_does(resize: str, decode: str) -> None:
    rng = np.random.default_rng(0)
    decoder = ImageDecoder(size=20, exact=decode == "exact", resize=resize)
    for height, width in ((20, 20), (37, 61), (61, 37), (90, 41), (7, 33), (200, 200), (1, 1)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        found = matrices.fit(image[None], 20, resize, exact=decode == "exact").numpy()[0]
        expected = decoder.fit(tf.constant(image)).numpy().astype(np.float32)
        # Halves are rounded up or down.
        assert np.abs(found - expected).max() <= 1, (height, width)
        assert np.abs(found - expected).mean() < 0.02, (height, width)


@pytest.mark.parametrize("big", [True, False])
@pytest.mark.parametrize("turn", range(1, 9))
def test_photographs_are_turned_upright_in_the_graph(turn: int, big: bool, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    image = Image.fromarray(pixels).resize((80, 48), Image.Resampling.BICUBIC)
    header = Image.Exif()
    header.endian = ">" if big else "<"
    header[0x010F], header[0x0112] = "A maker", turn
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, exif=header)
    data = file.getvalue()
    assert int(exif.orientation(tf.constant(data))) == turn
    info = _info(image_size=32, decode="exact")
    expected = Reader(info).decoded(data)[0].astype(np.float32)
    upright = exif.upright(tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE"), tf.constant(turn))
    found = ImageDecoder(size=32, exact=True).fit(upright).numpy()
    # A conversion encodes the turned picture anew.
    assert np.abs(found - expected).mean() < 3


@pytest.mark.parametrize("change", [lambda data: data[:30], lambda data: data.replace(b"Exif", b"exif"), lambda _: b""])
def test_broken_exif_is_no_orientation(change: Callable[[bytes], bytes]) -> None:
    file, header = io.BytesIO(), Image.Exif()
    header[0x0112] = 6
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=header)
    assert int(exif.orientation(tf.constant(change(file.getvalue())))) == 1


@pytest.fixture(scope="module")
def finished(recipe: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    train.train_and_evaluate(recipe("", output=str(folder), image_size=16, epochs=1, batch_size=16))
    return folder


def _export(*words: object) -> None:
    export.main(flags.parse(export.USAGE, ["export", *map(str, words)]))


def test_the_program_writes_the_files_and_their_differences(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"--run={finished}", f"--output={tmp_path / 'out'}", "--compare=8")
    _export(*words, "--formats=keras")
    _export(*words, "--formats=saved_model")
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert list(written) == ["keras", "saved_model"]
    for one in written.values():
        assert one["images"] == 8
        assert one["largest_difference"] < 1e-5
        assert one["images_with_other_labels"] == 0
        assert one["mean_average_precision"] == one["mean_average_precision_of_the_trainer"]
    notes = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert notes["classes"] == list(model_file.read(finished / "model.keras").classes)
    assert "probabilities differ from the trainer's by" in capsys.readouterr().out
    with pytest.raises(UserError, match="has saved_model already"):
        _export(*words, "--formats=saved_model")
    _export(*words, "--formats=saved_model", "--overwrite")


@pytest.mark.parametrize("content", ['{"keras": {', "[]", "\xff"])
def test_damaged_differences_are_one_sentence(content: str, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(content, encoding="latin-1")
    words = (f"--run={finished}", f"--output={tmp_path}", "--formats=keras", "--compare=1")
    with pytest.raises(UserError, match=r"export\.json is damaged\. Delete it"):
        _export(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["export.json"]


def test_a_folder_is_exported_to_by_one_process_at_a_time(finished: Path, tmp_path: Path) -> None:
    handle = locking.lock(tmp_path)
    assert handle is not None
    words = (f"--run={finished}", f"--output={tmp_path}", "--formats=keras", "--compare=1")
    with pytest.raises(UserError, match=r"Another process is at work in .* --output"):
        _export(*words)
    assert not list(tmp_path.iterdir())
    os.close(handle)
    (tmp_path / ".unfinished-0-saved_model").mkdir()
    _export(*words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.json", "export.json", "model.keras"]


def test_a_file_or_a_folder_is_replaced_by_a_complete_one_only(tmp_path: Path) -> None:
    (tmp_path / "folder" / "1").mkdir(parents=True)
    (tmp_path / "file").write_text("old")
    for name in ("folder", "file"):
        with pytest.raises(ZeroDivisionError), output.complete(tmp_path / name) as path:
            path.write_text("half")
            raise ZeroDivisionError
    assert (tmp_path / "folder" / "1").is_dir()
    assert (tmp_path / "file").read_text() == "old"
    with output.complete(tmp_path / "folder") as path:
        (path / "2").mkdir(parents=True)
        assert (tmp_path / "folder" / "1").is_dir()
    with output.complete(tmp_path / "file") as path:
        path.write_text("new")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["2"]
    assert (tmp_path / "file").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_no_part_of_a_saved_model(finished: Path, tmp_path: Path) -> None:
    words = [f"--run={finished}", f"--output={tmp_path}", "--formats=saved_model", "--compare=1"]
    process = subprocess.Popen([sys.executable, "-m", "trainer.export", *words], cwd=_ROOT)
    while not list(tmp_path.glob("*/1/variables")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "saved_model").exists()
    _export(*words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.json", "export.json", "saved_model"]
    assert tf.saved_model.load(str(tmp_path / "saved_model" / "1")).signatures


def test_wrong_flags_are_one_sentence(finished: Path) -> None:
    with pytest.raises(UserError, match="--formats must be some of saved_model, onnx"):
        _export(f"--run={finished}", "--formats=onxn")
    with pytest.raises(UserError, match="--compare must be from 1 to 1000"):
        _export(f"--run={finished}", "--compare=0")


@pytest.mark.slow
def test_8_bits_are_smaller_and_nearly_the_same(finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="pip install 'multihot[export]'")
    _export(f"--run={finished}", f"--output={tmp_path}", "--formats=litert,litert_int8", "--compare=21")
    written = json.loads((tmp_path / "export.json").read_text())
    assert written["litert_int8"]["bytes"] < written["litert"]["bytes"] / 2
    assert written["litert_int8"]["mean_difference"] < 0.05
