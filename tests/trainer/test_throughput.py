"""The speed of input and model, and the message about it."""

import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import averaging, compilation, numerics, throughput
from trainer.config import TrainConfig
from trainer.sources import Sources
from trainer.throughput import Throughput


def _model(milliseconds: float) -> keras.Model:
    """Something random, something with state, and a step that takes at least so long."""

    @keras.saving.register_keras_serializable()
    class Slow(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            def wait(x: tf.Tensor) -> tf.Tensor:
                time.sleep(milliseconds / 1000)
                return x

            slow = tf.py_function(wait, [tf.stop_gradient(inputs)], inputs.dtype)
            return inputs + 0.0 * tf.reshape(slow, tf.shape(inputs))

    inputs = keras.Input((3,))
    x = keras.layers.BatchNormalization()(Slow()(keras.layers.Dropout(0.5)(inputs)))
    network = keras.Model(inputs, keras.layers.Dense(1)(x))
    network.compile("adam", "mse", metrics=["mae"])
    return network


def _data(milliseconds: float) -> tf.data.Dataset:
    def wait(i: tf.Tensor) -> tf.Tensor:
        time.sleep(milliseconds / 1000)
        return i

    data = tf.data.Dataset.range(10).map(lambda i: tf.ensure_shape(tf.py_function(wait, [i], tf.int64), []))
    return data.map(lambda i: (tf.fill([4, 3], tf.cast(i, tf.float32)), tf.ones([4, 1])))


@pytest.mark.parametrize(("input_ms", "model_ms"), [(20, 0), (0, 20)])
def test_the_slower_one_is_found(input_ms: float, model_ms: float) -> None:
    found = throughput.measure(_model(model_ms), _data(input_ms), seconds=0.5)
    slow, fast = (found.input, found.model) if input_ms else (found.model, found.input)
    # Four images in 20 ms or more, however busy the machine is.
    assert slow <= 200 < fast
    assert found.together <= 200
    assert (found.input_share > 0.3) == bool(input_ms)


def test_the_model_is_left_as_it_was() -> None:
    network = _model(0)
    network.fit(_data(0), verbose=0, shuffle=False)
    before = [np.array(variable) for variable in throughput._variables(network)]
    throughput.measure(network, _data(0), seconds=0.05)
    for variable, value in zip(throughput._variables(network), before, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)


def test_counters_are_left_as_they_were_in_float16(config: Callable[..., TrainConfig], sources: Sources) -> None:
    numerics.fix("mixed_float16")
    try:
        network = compilation.compile_model(
            config(image_size=8, batch_size=8, model="small_resnet", accumulate=2, ema=0.9), sources
        )
    finally:
        numerics.fix()
    batch = np.zeros((8, 8, 8, 3), np.uint8), np.ones((8, 4), np.float32)
    data = tf.data.Dataset.from_tensors(batch).repeat(5)
    network.optimizer.dynamic_scale.assign(64.0)
    network.fit(data, verbose=0, shuffle=False)
    everything = [*network.weights, *network.optimizer.variables, *averaging.variables(network)]
    before = [variable.numpy() for variable in everything]
    throughput.measure(network, data, seconds=0.05)
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert int(network.optimizer.iterations) == 2
    assert int(network.optimizer.step_counter) == 5
    network.fit(data, verbose=0, shuffle=False)
    assert int(network.optimizer.iterations) == 5


def test_the_data_is_opened_once_and_the_optimizer_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, built = [], []

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        opened.append(True)
        while True:
            yield np.zeros((4, 3), np.float32), np.ones((4, 1), np.float32)

    spec = (tf.TensorSpec((4, 3), tf.float32), tf.TensorSpec((4, 1), tf.float32))
    network = _model(0)
    build = network.optimizer.build
    monkeypatch.setattr(network.optimizer, "build", lambda variables: (built.append(True), build(variables)))
    for _ in range(2):
        opened.clear()
        throughput.measure(network, tf.data.Dataset.from_generator(batches, output_signature=spec), seconds=0.05)
        assert len(opened) == 1
    assert len(built) == 1


@pytest.mark.parametrize(
    ("rates", "content", "changes", "flags"),
    [
        pytest.param((9000, 100, 99), "none", {}, ["--model", "--image_size", "--batch_size"], id="the model"),
        pytest.param((50, 100, 40), "none", {}, ["--cache=decoded", "--cache=disk"], id="decoding"),
        pytest.param((50, 100, 40), "encoded", {"decode": "exact"}, ["--cache=", "--decode=scaled"], id="exactly"),
        pytest.param(
            (50, 100, 40),
            "encoded",
            {"crop_from": "original"},
            ["--crop_from=resized", "--cache=decoded", "--cache=disk"],
            id="crops of originals",
        ),
        pytest.param((50, 100, 40), "none", {}, ["--crop_from=original"], id="crops of resized images"),
        pytest.param((50, 100, 40), "decoded", {"augment": "full"}, ["--augment=crop"], id="augmentation"),
        pytest.param((50, 100, 40), "features", {"augment": "none"}, ["--batch_size"], id="small batches"),
    ],
)
def test_the_line_names_the_slower_part_and_the_flag(
    rates: tuple[float, float, float],
    content: str,
    changes: dict[str, str],
    flags: list[str],
    config: Callable[..., TrainConfig],
) -> None:
    measured = Throughput(input=rates[0], model=rates[1], together=rates[2])
    line = measured.message(config(**changes), content)
    assert f"Reading the input takes {100 - rates[2]:.1f}% of the time of a step." in line
    slower, faster = ("model", "input") if rates[1] < rates[0] else ("input", "model")
    assert f"The {slower} is slower than the {faster}. To train faster, choose " in line
    for flag in flags:
        assert flag in line
    assert ("--decode" in line) == ("--decode=scaled" in flags)
