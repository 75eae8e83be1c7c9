"""Unknown labels have no part in any loss and in any metric, from the records to the files of a run."""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from multihot.errors import UserError
from schemas import example, layout, metadata
from schemas.example import UNKNOWN
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Statistics
from trainer import checks, metrics, train
from trainer.config import TrainConfig
from trainer.inference import Predictor
from trainer.input import colour
from trainer.losses import LabelLoss
from trainer.metrics import Predictions
from trainer.models import model
from trainer.report import plots
from trainer.sources import Sources, combine, num_known

Config = Callable[..., TrainConfig]
Compiled = Callable[[TrainConfig, Sources], keras.Model]
Pipeline = Callable[..., tf.data.Dataset]
KEPT = ("none", "encoded", "decoded", "disk")
LOSSES = ("binary_crossentropy", "categorical_crossentropy")
CLASSES = ("dark", "left", "loud")


def _write(folder: Path, labels: dict[str, np.ndarray], *, has_unknown: bool, seed: int = 0) -> str:
    """Writes a dataset with these labels by split, 0, 1 or UNKNOWN, of noisy pictures; returns its folder.

    The labels of the class `dark` can be seen in the pictures.
    """
    rng = np.random.default_rng(seed)
    splits = []
    for name, rows in labels.items():
        path = layout.shard(name, 0, 1)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        total = Statistics(positives=(0,) * len(CLASSES))
        num_bytes = 0
        with tf.io.TFRecordWriter(str(folder / path)) as writer:
            for i, row in enumerate(rows):
                pixels = rng.integers(0, 256, (16, 16, 3)) // (4 if row[0] == 1 else 1)
                image = tf.io.encode_jpeg(pixels.astype(np.uint8)).numpy()
                record = example.encode(
                    image=image, height=16, width=16, labels=row.tolist(), filename=f"{i}.jpg", has_unknown=has_unknown
                )
                writer.write(record)
                num_bytes += len(record)
                total += Statistics.of(
                    labels=row.tolist(), image_format="jpeg", height=16, width=16, image_bytes=len(image),
                    example_bytes=len(record), has_unknown=has_unknown,
                )  # fmt: skip
        digest = f"{folder} {name}".encode().hex()
        shard = ShardInfo(path=path, num_examples=len(rows), num_bytes=num_bytes, sha256=digest)
        splits.append(SplitInfo(name=name, shards=(shard,), statistics=total))
    info = DatasetInfo(name=folder.name, version="1.0.0", classes=CLASSES, splits=tuple(splits))
    (folder / layout.MANIFEST).write_text(info.to_json())
    return str(folder)


def _labels(seed: int, unknown: float, *sizes: int) -> dict[str, np.ndarray]:
    """Returns random labels of the splits, a share of them unknown."""
    rng = np.random.default_rng(seed)
    made = {}
    for split, size in zip(("train", "validation"), sizes, strict=False):
        labels = rng.integers(0, 2, (size, len(CLASSES)))
        made[split] = np.where(rng.random(labels.shape) < unknown, UNKNOWN, labels)
    return made


HALF = _labels(0, 0.5, 24, 13)
NONE = _labels(1, 0.0, 10, 7)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of which half of the labels are unknown."""
    return _write(tmp_path_factory.mktemp("half"), HALF, has_unknown=True)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of which all labels are known."""
    return _write(tmp_path_factory.mktemp("full"), NONE, has_unknown=False, seed=1)


def _load(*directories: str, classes: tuple[str, ...] = ()) -> Sources:
    return combine([(directory, metadata.load(directory)) for directory in directories], classes)


def _rows(dataset: tf.data.Dataset) -> np.ndarray:
    return np.concatenate([labels for _, labels in dataset.as_numpy_iterator()])


@pytest.mark.parametrize("kept", KEPT)
def test_labels_of_all_datasets_reach_the_model_in_one_tensor(
    kept: str, half: str, full: str, config: Config, training: Pipeline, validation: Pipeline
) -> None:
    data = _load(half, full)
    asked = config(augment="none", batch_size=2, image_size=8)
    found = _rows(validation(asked, data, kept=kept))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.concatenate([HALF["validation"], NONE["validation"]]))
    trained = _rows(training(asked, data, kept))
    stored = np.concatenate([HALF["train"], NONE["train"]])
    assert sorted(map(tuple, trained)) == sorted(map(tuple, stored))


def test_a_subset_of_the_classes_has_their_unknown_labels(
    half: str, full: str, config: Config, validation: Pipeline
) -> None:
    data = _load(half, full, classes=("loud", "dark"))
    found = _rows(validation(config(image_size=8), data))
    np.testing.assert_array_equal(found, np.concatenate([HALF["validation"], NONE["validation"]])[:, [2, 0]])
    statistics = data.split("train").statistics
    assert statistics.unknown == tuple((HALF["train"] == UNKNOWN).sum(axis=0)[[2, 0]])
    assert num_known(statistics) == tuple(34 - number for number in statistics.unknown)


def test_classes_of_which_all_labels_are_known_make_the_usual_graph(
    full: str, config: Config, training: Pipeline, tmp_path: Path, compiled: Compiled
) -> None:
    labels = {name: np.where(np.arange(3) == 1, HALF[name], HALF[name] % 2) for name in HALF}
    one = _load(_write(tmp_path / "one", labels, has_unknown=True), classes=("dark", "loud"))
    usual = _load(full, classes=("dark", "loud"))
    assert not one.has_unknown
    assert _load(*(source.directory for source in one.each)).has_unknown
    graphs = [
        tf.compat.v1.GraphDef.FromString(training(config(augment="full"), data)._as_serialized_graph().numpy())
        for data in (one, usual)
    ]
    ops = [
        sorted(node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes)
        for graph in graphs
    ]
    assert ops[0] == ops[1]
    assert compiled(config(image_size=8), one).loss == "binary_crossentropy"


def test_a_mixed_label_is_known_where_both_are() -> None:
    labels = tf.constant([[1, 1, UNKNOWN, UNKNOWN], [0, 1, 1, UNKNOWN]], tf.float32)
    seed = tf.constant([3, 4], tf.int64)
    images = tf.zeros([2, 2, 2, 3])
    mixed = colour.mixup(images, labels, seed, max_share=0.4, has_unknown=True)[1].numpy()
    np.testing.assert_array_equal(mixed[:, 2:], UNKNOWN)
    np.testing.assert_array_equal(mixed[:, :2], colour.mixup(images, labels[:, :2], seed, max_share=0.4)[1])


def _network(loss: Any, activation: str, k: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(k, activation=activation)])
    network.compile("sgd", loss)
    return network


@st.composite
def _masked(draw: st.DrawFn, min_classes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels 0 or 1, and which of them are known."""
    n, k = draw(st.integers(1, 9)), draw(st.integers(min_classes, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = rng.random((n, k)) < draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    known = rng.random((n, k)) < draw(st.sampled_from([0.0, 0.3, 0.7, 0.95, 1.0]))
    return labels.astype(np.float32), known


def _loss_and_gradient(loss: Any, labels: np.ndarray, logits: np.ndarray, activation: str) -> tuple[float, np.ndarray]:
    given = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = loss(labels, keras.activations.get(activation)(given))
    return float(value), tape.gradient(value, given).numpy()


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=60, deadline=None)
@given(_masked(min_classes=2), st.integers(0, 2**32))
def test_the_loss_is_that_of_keras_on_what_is_known_and_its_gradient_is_0_elsewhere(
    loss: str, made: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    labels, known = made
    activation = "sigmoid" if loss == "binary_crossentropy" else "softmax"
    logits = (np.random.default_rng(seed).normal(size=labels.shape) * 5).astype(np.float32)
    value, gradient = _loss_and_gradient(LabelLoss(loss), np.where(known, labels, UNKNOWN), logits, activation)
    if loss == "binary_crossentropy":
        exact = np.logaddexp(0, logits.astype(float)) - labels * logits
        expected = exact[known].mean() if known.any() else 0.0
        np.testing.assert_array_equal(gradient[~known], 0)
        assert np.all(gradient[known] != 0)
    else:
        whole = known.all(axis=1)
        plain = keras.losses.get(loss)
        expected = (
            float(np.mean(plain(labels[whole], keras.activations.softmax(tf.constant(logits[whole])))))
            if whole.any()
            else 0.0
        )
        np.testing.assert_array_equal(gradient[~whole], 0)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    if known.all():
        whole_batch = (
            keras.losses.BinaryCrossentropy if activation == "sigmoid" else keras.losses.CategoricalCrossentropy
        )
        usual, its_gradient = _loss_and_gradient(whole_batch(), labels, logits, activation)
        assert value == pytest.approx(usual, rel=1e-6)
        np.testing.assert_allclose(gradient, its_gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_validation_loss_does_not_depend_on_batches(loss: str) -> None:
    labels = _labels(2, 0.2, 23)["train"].astype(np.float32)
    inputs = np.random.default_rng(0).normal(size=(23, 5)).astype(np.float32)
    network = _network(LabelLoss(loss), "sigmoid" if loss == "binary_crossentropy" else "softmax", 3)
    data = tf.data.Dataset.from_tensor_slices((inputs, labels))
    once, again = (Predictor(network, data.batch(size), 23)() for size in (23, 4))
    assert once.loss == pytest.approx(again.loss, rel=1e-5)
    assert once.loss == pytest.approx(network.evaluate(inputs, labels, batch_size=23, verbose=0), rel=1e-5)
    assert once.known is not None
    np.testing.assert_array_equal(once.known, labels != UNKNOWN)
    np.testing.assert_array_equal(once.labels, labels == 1)


def test_a_softmax_that_no_image_counts_for_is_said() -> None:
    labels = np.array([[1, UNKNOWN], [UNKNOWN, 0]], np.float32)
    data = tf.data.Dataset.from_tensor_slices((np.zeros((2, 5), np.float32), labels)).batch(2)
    with pytest.raises(UserError, match=r"has an unknown label.*--loss=binary_crossentropy"):
        Predictor(_network(LabelLoss("categorical_crossentropy"), "softmax", 2), data, 2)()


@settings(max_examples=150, deadline=None)
@given(_masked(), st.integers(0, 2**32))
def test_metrics_are_those_of_scikit_learn_on_what_is_known(made: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    labels, known = made
    n, k = labels.shape
    rng = np.random.default_rng(seed)
    # Some are the same.
    scores = (rng.integers(0, 2 * n * k, (n, k)) / (2 * n * k)).astype(np.float32)
    classes = [str(i) for i in range(k)]
    result = metrics.evaluate(Predictions(labels=labels, scores=scores, known=known), classes)
    json.dumps(result, allow_nan=False)
    metrics.table(result)
    assert result["num_examples"] == n
    assert list(result["unknown_labels"].values()) == (~known).sum(axis=0).tolist()
    for i, precision in enumerate(result["average_precision"].values()):
        column, score = labels[known[:, i], i], scores[known[:, i], i]
        both = 0 < column.sum() < len(column)
        assert precision == (
            pytest.approx(sklearn.metrics.average_precision_score(column, score)) if both else None
        )  # fmt: skip
    ranking, coverage, loss, misses = [], [], [], []
    for row, score, here in zip(labels, scores, known, strict=True):
        if here.any():
            # scikit-learn takes a single class for a binary problem.
            one, its = row[here][None], score[here][None]
            several = one.shape[1] > 1
            ranking.append(sklearn.metrics.label_ranking_average_precision_score(one, its) if several else 1.0)
            coverage.append(sklearn.metrics.coverage_error(one, its) if several else float(one.sum()))
            loss.append(sklearn.metrics.label_ranking_loss(one, its) if several else 0.0)
            if one.any():
                misses.append(one[0, its[0].argmax()] == 0)
    for name, values in (
        ("label_ranking_average_precision", ranking),
        ("coverage", coverage),
        ("ranking_loss", loss),
        ("one_error", misses),
        ("hamming_loss", ((scores >= 0.5) != labels)[known]),
    ):
        assert result[name] == (pytest.approx(np.mean(values)) if len(values) else None), name
    # Hidden labels have no influence.
    hidden = np.where(known, labels, 1 - labels)
    other = np.where(known, scores, rng.random((n, k))).astype(np.float32)
    assert metrics.evaluate(Predictions(labels=hidden, scores=other, known=known), classes) == result
    if known.all():
        usual = metrics.evaluate(Predictions(labels=labels, scores=scores), classes)
        del result["unknown_labels"]
        assert usual.pop("average_precision") == pytest.approx(result.pop("average_precision"))
        assert usual == pytest.approx(result)


@pytest.mark.parametrize("augment", ["none", "full"])
def test_the_files_of_a_run_tell_of_unknown_labels(augment: str, config: Config, half: str) -> None:
    asked = config(data=(half,), image_size=8, batch_size=8, epochs=2, augment=augment, model="small_resnet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = train.train_and_evaluate(asked)
    run = Path(asked.output)
    history = json.loads((run / "history.json").read_text())
    assert history["val_mean_average_precision"][-1] == result["mean_average_precision"]
    expected = (HALF["validation"] == UNKNOWN).sum(axis=0).tolist()
    assert result["unknown_labels"] == dict(zip(CLASSES, expected, strict=True))
    assert json.loads((run / "evaluation.json").read_text()) == result
    [noted] = json.loads((run / "config.json").read_text())["datasets"]
    assert noted["unknown_labels"]["validation"] == result["unknown_labels"]
    assert sum(noted["unknown_labels"]["train"].values()) == (HALF["train"] == UNKNOWN).sum()
    # The file of the model names the loss of Keras, so that it is loaded without this package.
    assert keras.saving.load_model(run / "model.keras").loss == "binary_crossentropy"
    keras.saving.load_model(run / "checkpoints" / "best.keras")


def test_the_bias_of_the_head_is_that_of_the_known_labels(half: str, config: Config) -> None:
    network = model.build(config(image_size=8), _load(half).split("train").statistics)
    bias = network.get_layer(example.LABELS).bias.numpy()
    known, positives = (HALF["train"] != UNKNOWN).sum(axis=0), (HALF["train"] == 1).sum(axis=0)
    np.testing.assert_allclose(bias, np.log((positives + 1) / (known - positives + 1)), rtol=1e-6)


def test_a_line_has_the_numbers_of_unknown_labels(half: str, full: str, config: Config, tmp_path: Path) -> None:
    hidden = [int((HALF[split] == UNKNOWN).sum()) for split in ("train", "validation")]
    lines = checks.warnings(config(), _load(half, full))
    assert lines == [
        f"Unknown labels: {hidden[0]} of 102 in the split 'train' and {hidden[1]} of 60 in the split 'validation'. "
        "They have no part in the loss and in the metrics."
    ]
    softmax = checks.warnings(config(loss="categorical_crossentropy"), _load(half))
    assert any("leaves out every image that has an unknown label: at least " in line for line in softmax)
    assert any("--augment=crop does not mix" in line for line in softmax)
    assert not any("some have none" in line for line in softmax)
    blank = {name: np.where(np.arange(3) == 1, UNKNOWN, rows) for name, rows in HALF.items()}
    lines = checks.warnings(config(), _load(_write(tmp_path / "blank", blank, has_unknown=True)))
    assert "No image of the split 'train' has a known label of left" in lines[1]
    assert checks.warnings(config(), _load(full)) == []


def test_labels_that_are_all_unknown_end_a_run(config: Config, tmp_path: Path) -> None:
    nothing = {name: np.full_like(rows, UNKNOWN) for name, rows in HALF.items()}
    folder = _write(tmp_path / "nothing", nothing, has_unknown=True)
    with pytest.raises(UserError, match=r"^All labels of the classes of this run are unknown in the split 'train'"):
        checks.load(config(data=(folder,)))
    left = {name: np.where(np.arange(3) == 1, UNKNOWN, rows) for name, rows in HALF.items()}
    folder = _write(tmp_path / "left", left, has_unknown=True)
    checks.load(config(data=(folder,)))
    with pytest.raises(UserError, match=r"no image has a known label of left\. Use --loss=binary_crossentropy"):
        checks.load(config(data=(folder,), loss="categorical_crossentropy"))


def test_samples_say_how_many_labels_are_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    titles = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda self, text, **_: titles.append(text))
    predictions = Predictions(
        labels=np.array([[1, 0, 0], [0, 0, 0]], np.bool_),
        scores=np.full((2, 3), 0.1, np.float32),
        known=np.array([[1, 1, 1], [1, 0, 0]], np.bool_),
    )
    limits = (0.5,) * len(CLASSES)
    plots.samples(np.zeros((2, 8, 8, 3), np.uint8), predictions, CLASSES, limits, str(tmp_path / "samples.png"))
    assert titles == ["dark", "none (2 unknown)"]
    assert dataclasses.asdict(predictions[:1])["known"].shape == (1, 3)
