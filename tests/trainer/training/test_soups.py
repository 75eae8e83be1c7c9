"""A soup has the mean of the weights of its trainings, each of which begins with the same weights."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from trainer.training import averaging
from trainer.training.checkpoints import Checkpoints, Progress
from trainer.training.soups import Soup


def _network(seed: int = 0) -> keras.Model:
    """Returns a small model with batch normalization and a frozen layer."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, trainable=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid")(x))


def _train(network: keras.Model, seed: int, **ema: Any) -> None:
    rng = np.random.default_rng(seed)
    optimizer = averaging.AdamW(averaging.weights_to_average(network), 0.9, learning_rate=0.05)
    network.compile(optimizer if ema else keras.optimizers.AdamW(0.05), "binary_crossentropy")
    for _ in range(3):
        network.train_on_batch(rng.normal(size=(8, 3)), rng.integers(0, 2, (8, 2)))


def _weights(network: keras.Model) -> list[np.ndarray]:
    return [np.array(weights) for weights in network.get_weights()]


def _assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ema", [{}, {"ema": 0.9}], ids=["last weights", "averaged weights"])
def test_a_model_has_the_mean_of_all_trainings_within_and_its_own_weights_afterwards(ema: dict[str, float]) -> None:
    network, soup = _network(), Soup()
    start, ends = _weights(network), []
    for seed in range(3):
        soup.begin(network)
        _assert_equal(_weights(network), start)
        _train(network, seed, **ema)
        with averaging.averaged(network):
            ends.append(_weights(network))
        live = _weights(network)
        with soup.mixed(network):
            _assert_equal(_weights(network), [np.mean(each, axis=0) for each in zip(*ends, strict=True)])
        _assert_equal(_weights(network), live)
        if seed < 2:
            soup.add(network)
    assert soup.count == 2
    # All trained weights and the statistics differ between the trainings, and the frozen ones do not.
    assert [np.allclose(one, other) for one, other in zip(ends[0], ends[1], strict=True)].count(True) == 2


def test_a_training_that_fails_within_has_its_own_weights() -> None:
    network, soup = _network(), Soup()
    soup.begin(network)
    _train(network, 0)
    soup.add(network)
    _train(network, 1)
    expected = _weights(network)
    with pytest.raises(KeyError), soup.mixed(network):
        raise KeyError
    _assert_equal(_weights(network), expected)


def test_a_checkpoint_holds_a_soup(tmp_path: Path) -> None:
    network, soup = _network(), Soup()
    soup.begin(network)
    _train(network, 0)
    soup.add(network)
    _train(network, 1)
    Checkpoints(tmp_path, 0).save(network, network, Progress(epoch=4, step=1), soup)
    other, found = _network(seed=1), Soup()
    progress = Checkpoints(tmp_path, 0).load(other, found)
    assert progress == Progress(epoch=4, step=1)
    assert found.count == 1
    other.compile(keras.optimizers.AdamW(), "binary_crossentropy")
    with soup.mixed(network), found.mixed(other):
        _assert_equal(_weights(other), _weights(network))
    # The next training begins where the first one has begun.
    found.add(other)
    _assert_equal(_weights(other), _weights(_network()))
