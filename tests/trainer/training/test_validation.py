"""The figures of the validation split while training equal those of the evaluation, to the last digit."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score

from trainer import metrics
from trainer.inference import Predictor
from trainer.training.validation import Validate, is_best, should_stop

N, K = 23, 4


def _network(loss: str, gain: float = 1.0) -> keras.Model:
    keras.utils.set_random_seed(0)
    activation = "sigmoid" if loss == "binary_crossentropy" else "softmax"
    network = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dropout(0.5), keras.layers.Dense(K, activation=activation)]
    )
    network.layers[-1].kernel.assign(network.layers[-1].kernel * gain)
    network.compile("adam", loss)
    return network


def _arrays(positives: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 6)).astype(np.float32), (rng.random((N, K)) < positives).astype(np.float32)


def _validated(network: keras.Model, inputs: np.ndarray, labels: np.ndarray) -> tuple[dict[str, Any], Validate]:
    """Returns the logs of an epoch of a model, validated in batches with an uneven last one."""
    callback = Validate(tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(5), len(inputs))
    callback.set_model(network)
    logs = {"loss": 0.5}
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, logs)
    return logs, callback


@pytest.mark.parametrize("loss", ["binary_crossentropy", "categorical_crossentropy"])
def test_the_logs_are_the_loss_of_keras_and_the_mean_average_precision_of_the_evaluation(loss: str) -> None:
    network, (inputs, labels) = _network(loss), _arrays()
    logs, callback = _validated(network, inputs, labels)
    assert list(logs) == ["loss", "val_loss", "val_mean_average_precision"]
    assert logs["loss"] == 0.5
    assert logs["val_loss"] == pytest.approx(network.evaluate(inputs, labels, batch_size=N, verbose=0), rel=1e-6)
    predictions = callback.predictions()
    result = metrics.evaluate(predictions, list("abcd"))
    assert logs["val_mean_average_precision"] == result["mean_average_precision"]
    expected = average_precision_score(labels, network.predict(inputs, verbose=0), average="macro")
    assert result["mean_average_precision"] == pytest.approx(expected)
    np.testing.assert_array_equal(predictions.labels, labels)


def test_the_loss_is_of_logits_where_probabilities_are_rounded() -> None:
    network, (inputs, labels) = _network("binary_crossentropy", gain=100), _arrays()
    logits = inputs.astype(float) @ np.asarray(network.layers[-1].kernel, float)
    exact = np.mean(np.logaddexp(0, logits) - labels * logits)
    # As probabilities in float32, the worst of them would have a loss of 16.
    assert np.abs(logits).max() > 100
    assert _validated(network, inputs, labels)[0]["val_loss"] == pytest.approx(exact, rel=1e-5)


def test_classes_of_one_kind_only_are_left_out() -> None:
    network, (inputs, labels) = _network("binary_crossentropy"), _arrays()
    labels[:, 1], labels[:, 2] = 0, 1
    logs, _ = _validated(network, inputs, labels)
    scores = network.predict(inputs, verbose=0)
    expected = [average_precision_score(labels[:, i], scores[:, i]) for i in (0, 3)]
    assert logs["val_mean_average_precision"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("positives", [0.0, 1.0], ids=["no image has a label", "every image has all"])
def test_what_is_undefined_is_not_in_the_logs(positives: float) -> None:
    logs, callback = _validated(_network("binary_crossentropy"), *_arrays(positives))
    assert list(logs) == ["loss", "val_loss"]
    assert metrics.evaluate(callback.predictions(), list("abcd"))["mean_average_precision"] is None


def test_a_loss_that_is_no_number_is_in_the_logs_alone() -> None:
    network = _network("binary_crossentropy")
    network.layers[-1].kernel.assign(network.layers[-1].kernel * np.nan)
    logs, _ = _validated(network, *_arrays())
    assert math.isnan(logs["val_loss"])
    assert "val_mean_average_precision" not in logs


def test_a_split_is_read_once_an_epoch_and_the_model_of_each_epoch_is_asked() -> None:
    inputs, labels = _arrays()
    starts = []

    def examples() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        starts.append(len(starts))
        yield from zip(inputs, labels, strict=True)

    spec = (tf.TensorSpec((6,), tf.float32), tf.TensorSpec((K,), tf.float32))
    validation = tf.data.Dataset.from_generator(examples, output_signature=spec).batch(5)
    callback = Validate(validation, N)
    network = _network("binary_crossentropy")
    history = network.fit(inputs, labels, epochs=3, verbose=0, callbacks=[callback]).history
    np.testing.assert_allclose(callback.predictions().scores, network.predict(inputs, verbose=0), rtol=1e-5)
    assert starts == [0, 1, 2]
    assert len(set(history["val_loss"])) == len(history["val_mean_average_precision"]) == 3


def test_a_split_of_another_size_is_told() -> None:
    inputs, labels = _arrays()
    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(5)
    with pytest.raises(ValueError, match=r"^The dataset has 23 examples\. Expected: 24$"):
        Predictor(_network("binary_crossentropy"), data, N + 1)()


def test_a_run_ends_when_its_loss_has_not_become_better_for_some_epochs() -> None:
    losses: list[float | None] = [0.9, 0.8, 0.85, 0.7, 0.7, 0.75, 0.6]
    stops = [should_stop({"val_loss": losses[:epochs]}, 2) for epochs in range(len(losses) + 1)]
    assert stops == [False, False, False, False, False, False, True, False]
    assert not any(should_stop({"val_loss": [1.0] * epochs}, 0) for epochs in range(5))


def test_the_best_epoch_has_a_lower_loss_than_all_before_it() -> None:
    losses: list[float | None] = [0.9, 0.8, 0.85, 0.7, 0.7]
    assert [is_best({"val_loss": losses[:epochs]}) for epochs in range(1, 6)] == [True, True, False, True, False]
