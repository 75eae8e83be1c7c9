"""Every name of a model is found, and the model has the preprocessing, weights and head that were asked for."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from multihot.errors import UserError
from schemas.metadata import DatasetInfo
from schemas.statistics import Statistics
from trainer.config import TrainConfig
from trainer.input import caching
from trainer.input.features import Features
from trainer.models import applications, model
from trainer.sources import Sources

Config = Callable[..., TrainConfig]
NAMES = sorted(name for name, value in vars(keras.applications).items() if callable(value))


@pytest.fixture
def statistics(info: DatasetInfo) -> Statistics:
    """The statistics of a split whose classes are not equally frequent."""
    return info.split("validation").statistics


def _images(size: int = 32, n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def _backbone(network: keras.Model) -> keras.Model:
    [backbone] = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    return backbone


def _predict(network: Callable[..., Any], images: np.ndarray) -> np.ndarray:
    return np.asarray(network(images, training=False))


def _built(name: str, *spellings: str, slow: bool = False) -> list[Any]:
    return [
        pytest.param(spelling, name, id=spelling, marks=[pytest.mark.slow] if slow else []) for spelling in spellings
    ]


@pytest.mark.parametrize(
    ("spelling", "backbone"),
    [
        *_built("small_resnet", "small_resnet"),
        *_built("efficientnet_lite0", "efficientnet_lite0"),
        *_built("vgg16", "vgg16"),
        *_built("MobileNetV3Small", "mobilenet_v3_small"),
        *_built("MobileNetV3Small", "MobileNetV3Small", "mobilenet-v3-small", slow=True),
        *_built("efficientnetv2-b0", "efficientnet_v2_b0", "EfficientNetV2B0", slow=True),
        *_built("resnet50", "resnet50", "ResNet50", slow=True),
    ],
)
def test_builds(spelling: str, backbone: str, config: Config, statistics: Statistics) -> None:
    network = model.build(config(model=spelling), statistics)
    assert _backbone(network).name.lower() == backbone.lower()
    scores = _predict(network, _images())
    assert scores.shape == (4, 4)
    assert scores.dtype == np.float32
    assert np.all((scores > 0) & (scores < 1))
    assert len(network.trainable_weights) > 2


@pytest.mark.parametrize("name", NAMES)
def test_every_model_of_keras_applications_is_found(name: str) -> None:
    for spelling in (name, name.lower(), name.replace("V", "_v").upper()):
        found = applications.find(spelling)
        assert found
        constructor, preprocess = found
        assert constructor is getattr(keras.applications, name)
        assert preprocess.__module__ == constructor.__module__


def test_an_unknown_model_is_told_of_the_known_ones(config: Config, statistics: Statistics) -> None:
    with pytest.raises(
        UserError, match=r"^--model=vgg17 is unknown\. It must be small_resnet, efficientnet_lite0, "
    ) as caught:
        model.build(config(model="vgg17"), statistics)
    for name in NAMES:
        assert f" {name.lower()}" in str(caught.value)


@pytest.mark.parametrize(("name", "size", "least"), [("vgg16", 31, 32), ("xception", 70, 71), ("inception_v3", 74, 75)])
def test_images_too_small_for_a_model(name: str, size: int, least: int, config: Config, statistics: Statistics) -> None:
    with pytest.raises(UserError, match=f"^--model={name} with --image_size={size}: .*at least {least}x{least}"):
        model.build(config(model=name, image_size=size), statistics)


@pytest.mark.parametrize("name", ["small_resnet", "efficientnet_lite0"])
def test_a_network_takes_images_of_any_size(name: str, config: Config, statistics: Statistics) -> None:
    network = model.build(config(model=name), statistics)
    of_one_size = model.of_size(network, 7)
    for size in (1, 7, 96):
        assert _predict(network, _images(size)).shape == (4, 4)
    assert of_one_size.input.shape == (None, 7, 7, 3)
    np.testing.assert_array_equal(_predict(of_one_size, _images(7)), _predict(network, _images(7)))
    with pytest.raises(ValueError, match="expected shape=\\(None, 7, 7, 3\\)"):
        of_one_size(_images(8))
    # Both share the head, each with tensors of its own.
    for each in (network, of_one_size):
        extractor, head = model.extractor_and_head(each)
        np.testing.assert_array_equal(head(extractor(_images(7))), _predict(network, _images(7)))


@pytest.mark.parametrize("name", ["small_resnet", "efficientnet_lite0"])
def test_a_model_of_one_size_is_saved_with_the_weights_of_that_of_any_size(
    name: str, config: Config, statistics: Statistics, tmp_path: Path
) -> None:
    network = model.build(config(model=name, freeze_backbone=True), statistics)
    network.save(tmp_path / "any.keras")
    model.of_size(network, 24).save(tmp_path / "one.keras")
    for file, size in (("any.keras", None), ("one.keras", 24)):
        saved = keras.saving.load_model(tmp_path / file)
        assert saved.input.shape == (None, size, size, 3)
        assert [weight.shape for weight in saved.weights] == [weight.shape for weight in network.weights]
        # Frozen, it has neither dropout nor the statistics of a batch in a training either.
        scores = np.asarray(saved(_images(24), training=True))
        np.testing.assert_allclose(scores, _predict(network, _images(24)), rtol=1e-5)


def test_bytes_and_floats_are_the_same_image(config: Config, statistics: Statistics) -> None:
    network = model.build(config(), statistics)
    np.testing.assert_array_equal(_predict(network, _images()), _predict(network, _images().astype(np.float32)))


@pytest.mark.parametrize(
    ("name", "module"),
    [
        pytest.param("vgg16", keras.applications.vgg16, id="vgg16: BGR, without the mean"),
        pytest.param("mobilenet", keras.applications.mobilenet, id="mobilenet: -1 to 1"),
        pytest.param("mobilenet_v3_small", keras.applications.mobilenet_v3, id="mobilenet_v3_small: its own"),
        pytest.param("densenet121", keras.applications.densenet, id="densenet121: normalized", marks=pytest.mark.slow),
    ],
)
def test_a_backbone_gets_what_it_was_trained_with(
    name: str, module: Any, config: Config, statistics: Statistics
) -> None:
    network = model.build(config(model=name), statistics)
    prepared = module.preprocess_input(_images().astype(np.float32))
    np.testing.assert_allclose(_predict(network, _images()), _headed(network, prepared), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["small_resnet", "vgg16"])
def test_a_backbone_gets_0_to_1_when_asked_for(name: str, config: Config, statistics: Statistics) -> None:
    network = model.build(config(model=name, preprocessing="unit"), statistics)
    np.testing.assert_allclose(
        _predict(network, _images()), _headed(network, _images() / np.float32(255)), rtol=1e-3, atol=1e-5
    )


SCALING = {  # The fastest to build of each kind, of which all others differ in depth and width.
    "mobilenet_v3_small": False, "mobilenet_v3_large": True, "efficientnet_b0": True, "efficientnet_b1": True,
    "efficientnet_v2_b0": True, "efficientnet_v2_s": True, "convnext_tiny": True,
}  # fmt: skip
# Each is the larger model of a family of which the smaller one is tried by default.
LARGER = ("efficientnet_b1", "efficientnet_v2_s", "vgg19", "resnet50_v2", "inception_resnet_v2")
OTHERS = {
    "vgg16": False, "vgg19": True, "mobilenet": False, "mobilenet_v2": True, "resnet50": True, "resnet50_v2": True,
    "xception": True, "inception_v3": True, "inception_resnet_v2": True, "densenet121": True, "nasnet_mobile": True,
    "small_resnet": False, "efficientnet_lite0": False,
}  # fmt: skip


def _reaches_the_first_convolution(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns the input of the first layer with a kernel, wherever it is, while a model looks at images."""
    seen: list[np.ndarray] = []
    call = keras.layers.Conv2D.call

    def look(layer: Any, inputs: Any) -> Any:
        seen.append(np.asarray(inputs))
        return call(layer, inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.layers.Conv2D, "call", look)
        _predict(network, images)
    return seen[0]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            id=name,
            marks=[pytest.mark.slow, pytest.mark.extended] if name in LARGER else [pytest.mark.slow] if slow else [],
        )
        for name, slow in {**SCALING, **OTHERS}.items()
    ],
)
def test_the_first_convolution_gets_the_range_that_was_asked_for(
    name: str, config: Config, statistics: Statistics, tmp_path: Path
) -> None:
    images = np.zeros((2, 80, 80, 3), np.uint8)
    images[1] = 255
    network = model.build(config(model=name, preprocessing="unit", image_size=80), statistics)
    pixels = _reaches_the_first_convolution(network, images)
    assert (pixels.min(), pixels.max()) == (0, pytest.approx(1))
    if name in SCALING:
        network.save(tmp_path / "model.keras")
        saved = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(_predict(saved, images), _predict(network, images), rtol=1e-4)
        pixels = _reaches_the_first_convolution(model.build(config(model=name, image_size=80), statistics), images)
        assert 0.9 < pixels.max() - pixels.min() < 6


@pytest.mark.slow
def test_weights_of_a_backbone_that_scales_itself_are_those_of_the_file(
    config: Config, statistics: Statistics, tmp_path: Path
) -> None:
    published = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    path = tmp_path / "b0.weights.h5"
    published.save_weights(path)
    network = model.build(config(model="efficientnet_b0", weights=str(path), preprocessing="unit"), statistics)
    kept = _backbone(network).get_weights()
    # All but what its normalization has: a mean, a variance and a count.
    expected = published.get_weights()[3:]
    assert len(kept) == len(expected)
    for weight, value in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_features_and_scores_are_float32_whatever_the_backbone_computes_in(
    policy: str, config: Config, sources: Sources
) -> None:
    statistics = sources.split("validation").statistics
    asked = config(freeze_backbone=True, augment="none")
    exact = model.build(asked, statistics)
    keras.config.set_dtype_policy(policy)
    try:
        network = model.build(asked, statistics)
    finally:
        keras.config.set_dtype_policy("float32")
    assert _backbone(network).compute_dtype == policy.removeprefix("mixed_")
    network.set_weights(exact.get_weights())
    extractor, head = model.extractor_and_head(network)
    features = Features(functools.partial(extractor, training=False), extractor.output.shape[1], "")
    cached = caching.fill_or_open(caching.Plan("features", False, ""), asked, sources, "validation", 32, features)
    assert cached
    expected = caching.fill_or_open(
        caching.Plan("features", False, ""), asked, sources, "validation", 32,
        features._replace(extract=functools.partial(model.extractor_and_head(exact)[0], training=False)),
    )  # fmt: skip
    assert expected
    assert cached.inputs.dtype == "float32"
    assert np.asarray(expected.inputs).std() > 0
    np.testing.assert_allclose(cached.inputs, expected.inputs, atol=0.05 * float(np.max(expected.inputs)))
    assert _predict(head, np.asarray(cached.inputs)).dtype == _predict(network, _images()).dtype == np.float32


def _headed(network: keras.Model, prepared: np.ndarray) -> np.ndarray:
    """Returns the output of a model for images that are preprocessed already."""
    features = _predict(_backbone(network), prepared).mean(axis=(1, 2))
    return np.asarray(network.get_layer("labels")(features))


def _biased(network: keras.Model) -> list[float]:
    """Returns the output of the head for features of 0."""
    head = network.get_layer("labels")
    return list(np.asarray(head(np.zeros((1, head.kernel.shape[0]), np.float32)))[0])


def test_an_untrained_head_says_how_frequent_the_classes_are(config: Config, info: DatasetInfo) -> None:
    some, all_of_them = (info.split(name).statistics for name in ("validation", "modes"))
    assert some.positives == (8, 9, 10, 10)
    assert _biased(model.build(config(), some)) == pytest.approx([p / 21 for p in some.positives], abs=0.02)
    # A class that all have must not be certain: no finite bias would say so.
    assert _biased(model.build(config(), all_of_them)) == pytest.approx([15 / 16] * 4)


def test_a_softmax_shares_1_among_the_classes(config: Config, statistics: Statistics) -> None:
    network = model.build(config(loss="categorical_crossentropy"), statistics)
    np.testing.assert_allclose(_predict(network, _images()).sum(axis=1), 1, rtol=1e-5)
    assert _biased(network) == pytest.approx([1 / 4] * 4)


def test_the_same_seed_gives_the_same_head(config: Config, statistics: Statistics) -> None:
    one, same, other = (
        np.asarray(model.build(config(seed=seed), statistics).get_layer("labels").kernel) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "not frozen"])
def test_a_frozen_backbone_stays_as_it_is(
    frozen: bool, config: Config, statistics: Statistics, tmp_path_factory: pytest.TempPathFactory
) -> None:
    weights = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    _backbone(model.build(config(), statistics)).save_weights(weights)
    network = model.build(config(weights=str(weights), freeze_backbone=frozen), statistics)
    backbone, head = _backbone(network), network.get_layer("labels")
    assert (len(network.trainable_weights) == 2) == frozen
    before = [np.array(weight) for weight in backbone.weights], np.array(head.kernel)
    network.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy")
    labels = np.eye(4, dtype=np.float32)
    for _ in range(2):
        network.train_on_batch(_images(), labels)
    assert not np.array_equal(head.kernel, before[1])
    for weight, old in zip(backbone.weights, before[0], strict=True):
        # The mean and variance of batch normalization are weights too, though not trainable ones.
        assert np.array_equal(weight, old) == frozen, weight.path


def test_a_softmax_of_one_class_is_refused(config: Config) -> None:
    with pytest.raises(UserError, match=r"^--loss=categorical_crossentropy needs two classes .*binary_crossentropy\.$"):
        model.build(config(loss="categorical_crossentropy"), Statistics(positives=(7,)))


def test_one_class_is_a_model_too(config: Config) -> None:
    network = model.build(config(), Statistics(positives=(0,)))
    assert _predict(network, _images()).shape == (4, 1)
