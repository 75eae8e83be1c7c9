"""The speed of input and model, and the message about it."""

import re
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.training import throughput
from trainer.training.throughput import Throughput


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


@pytest.mark.parametrize(("input_ms", "model_ms"), [(40, 0), (0, 40), (20, 40)])
def test_the_time_that_a_training_waits_is_counted(input_ms: float, model_ms: float) -> None:
    batches = throughput.timed(_data(input_ms).prefetch(2), waited := throughput.waited_variable())
    for _ in range(2):
        before, start = waited.numpy(), time.perf_counter()
        for i, (inputs, labels) in enumerate(batches):
            np.testing.assert_array_equal(inputs, np.full((4, 3), i, np.float32))
            np.testing.assert_array_equal(labels, np.ones((4, 1)))
            time.sleep(model_ms / 1000)
        share = (waited.numpy() - before) / (time.perf_counter() - start)
        assert share > 0.5 if not model_ms else share < 0.5


def test_batches_that_are_timed_keep_their_shapes_their_number_and_their_options() -> None:
    options = tf.data.Options()
    options.autotune.enabled = False
    data = tf.data.Dataset.from_tensors((tf.zeros([4, 3]), tf.ones([4]))).repeat(7).with_options(options)
    batches = throughput.timed(data, throughput.waited_variable())
    assert batches.element_spec == data.element_spec
    assert len(batches) == 7
    assert not batches.options().autotune.enabled


def test_a_report_comes_once_after_the_second_epoch_and_reads_nothing(
    config: Callable[..., TrainConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    read = tf.Variable(0)

    def count(inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.control_dependencies([read.assign_add(1)]):
            return tf.identity(inputs), labels

    batches = throughput.timed(_data(0).map(count), waited := throughput.waited_variable())
    network = _model(0)
    report = throughput.ReportThroughput(config(), "decoded", 4, waited, sizes=[16] * 4)
    seen = []
    for epochs in (1, 2, 3, 4):
        network.fit(batches, initial_epoch=epochs - 1, epochs=epochs, verbose=0, shuffle=False, callbacks=[report])
        seen.append(capsys.readouterr().out)
        assert read.numpy() == 10 * epochs
        assert network.optimizer.iterations.numpy() == 10 * epochs
    assert [bool(out) for out in seen] == [False, True, False, False]
    assert re.fullmatch(
        r"\nThroughput: [\d,]+ images/s\. Training waits for its input for \d+\.\d% of the time\. "
        r"To train faster, choose .*--.*\.\nTime left: about \d+ s \(2 epochs\)\.\n",
        seen[1],
    )


@pytest.mark.parametrize(
    ("seconds", "sizes", "may_end", "line"),
    [
        (10.0, [64] * 3, False, "Time left: about 30 s (3 epochs)."),
        (100.0, [64], False, "Time left: about 1.7 min (1 epoch)."),
        (60.0, [64] * 40, True, "Time left: at most about 40 min (40 epochs)."),
        (60.0, [64, 128, 128], False, "Time left: at most about 9.0 min (3 epochs; the images grow)."),
        (3600.0, [64] * 30, False, "Time left: about 30 h (30 epochs)."),
    ],
)
def test_the_time_left(seconds: float, sizes: list[int], may_end: bool, line: str) -> None:
    assert throughput.time_left(seconds, 64, sizes, may_end=may_end) == line


def test_the_last_epochs_leave_no_time(config: Callable[..., TrainConfig], capsys: pytest.CaptureFixture[str]) -> None:
    report = throughput.ReportThroughput(config(), "decoded", 4, sizes=[16] * 2)
    _model(0).fit(_data(0), epochs=2, verbose=0, shuffle=False, callbacks=[report])
    out = capsys.readouterr().out
    assert "Throughput: " in out
    assert "Time left" not in out


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
    waits = throughput.message(config(**changes), content, rates[2], 0.6 if slower == "input" else 0.02)
    assert f"Training waits for its input for {60 if slower == 'input' else 2}.0% of the time." in waits
    for one in (line, waits):
        for flag in flags:
            assert flag in one
        assert ("--decode" in one) == ("--decode=scaled" in flags)


def test_of_features_only_the_rate_is_known(config: Callable[..., TrainConfig]) -> None:
    line = throughput.message(config(augment="none"), "features", 12345.6, None)
    assert (
        line == "Throughput: 12,346 images/s. To train faster, choose a larger --batch_size, which needs fewer steps."
    )
