"""Data services give the batches of a training without them, bit for bit, and one that is lost may come back."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import ports
from multihot.errors import UserError
from schemas import metadata
from trainer import checks
from trainer.config import TrainConfig
from trainer.input import caching, pipeline, reading, services
from trainer.sources import Sources, combine
from trainer.system import strategies
from trainer.training import loop, resuming

_ROOT = Path(__file__).parents[3]
Config = Callable[..., TrainConfig]
Pipeline = Callable[..., tf.data.Dataset]


@contextlib.contextmanager
def _started(port: int) -> Iterator["subprocess.Popen[str]"]:
    """Starts a service, waits until it is ready, and ends it in the end. Two ports are used."""
    with subprocess.Popen(
        [sys.executable, "-m", "trainer.data_service", f"--port={port}"],
        cwd=_ROOT,
        text=True,
        env={**os.environ, "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout
            ready = f"The data service is ready: python -m trainer ... --data_service=grpc://localhost:{port}\n"
            assert process.stdout.readline() == ready
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a service in a process of its own."""
    port = ports.free(2)
    with _started(port) as process:
        yield f"grpc://localhost:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143


def _tiny(image_shape: tuple[int, int, int], _: int) -> keras.Model:
    """Returns a backbone, with a random part of its own."""
    pixels = keras.Input(image_shape)
    x = keras.layers.AveragePooling2D(16)(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, keras.layers.Dropout(0.5)(keras.layers.Conv2D(4, 1)(x)))


def _batches(dataset: tf.data.Dataset) -> list[tuple[bytes, bytes]]:
    return [(inputs.tobytes(), labels.tobytes()) for inputs, labels in dataset.as_numpy_iterator()]


@pytest.fixture
def both(data: Path, sources: Sources) -> Sources:
    """Two datasets, of 48 images and of 10 other ones."""
    info = sources.each[0].info
    split = dataclasses.replace(info.split("jpegs"), name="train")
    return combine([(str(data), info), (str(data), dataclasses.replace(info, splits=(split,)))])


@pytest.mark.parametrize("parts", [pytest.param(1, marks=(pytest.mark.slow, pytest.mark.extended)), 3])
@pytest.mark.parametrize(
    ("settings", "number", "is_held"),
    [
        pytest.param({"augment": "full", "mixup": 0.2}, 1, True, id="by their numbers"),
        pytest.param({"augment": "crop", "crop_from": "original"}, 1, False, id="shuffled while they are read"),
        pytest.param({"augment": "full"}, 2, True, id="two datasets", marks=(pytest.mark.slow, pytest.mark.extended)),
        pytest.param({"augment": "none", "data_weights": (3.0, 1.0)}, 2, False, id="weights"),
        # A batch of large images is put together from several chunks.
        pytest.param({"augment": "full", "image_size": 160, "batch_size": 15}, 1, True, id="large images"),
    ],
)
def test_the_batches_are_those_without_services(
    settings: dict[str, Any],
    number: int,
    is_held: bool,
    parts: int,
    address: str,
    config: Config,
    sources: Sources,
    both: Sources,
    training: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not is_held:
        monkeypatch.setattr(reading, "SHUFFLE_BYTES", 20_000)
    asked = config(data=("a", "b")[:number], **{"batch_size": 7, **settings})
    served = dataclasses.replace(asked, data_service=(address,) * parts)
    read = both if number == 2 else sources
    expected = _batches(training(asked, read, epoch=2))
    found = training(served, read, epoch=2)
    assert _batches(found) == expected
    assert found.element_spec == training(asked, read, epoch=2).element_spec
    # Another iteration of the same epoch, a part of it, and another epoch.
    assert _batches(found) == expected
    assert _batches(training(served, read, epoch=2, skip=2)) == expected[2:]
    assert not set(_batches(training(served, read, epoch=3))) & set(expected)


@pytest.mark.parametrize("parts", [1, pytest.param(3, marks=(pytest.mark.slow, pytest.mark.extended))])
def test_a_service_with_several_workers_gives_each_example_once(
    parts: int, config: Config, sources: Sources, training: Pipeline
) -> None:
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    host = dispatcher.target.split("://")[1]
    workers = [service.WorkerServer(service.WorkerConfig(dispatcher_address=host)) for _ in range(3)]
    asked = config(augment="none", batch_size=6)
    served = dataclasses.replace(asked, data_service=(f"grpc://{host}",) * parts)
    found = training(served, sources, epoch=1)
    assert _batches(found) == _batches(training(asked, sources, epoch=1))
    images = Counter(image.tobytes() for inputs, _ in found.as_numpy_iterator() for image in inputs)
    assert (len(images), set(images.values())) == (48, {1})
    del workers


def test_what_is_cached_is_not_asked_of_a_service(config: Config, sources: Sources, training: Pipeline) -> None:
    asked = config(augment="full", batch_size=6)
    served = dataclasses.replace(asked, data_service=("grpc://localhost:1",))
    assert _batches(training(served, sources, "decoded", epoch=1)) == _batches(
        training(asked, sources, "decoded", epoch=1)
    )


def test_only_the_validation_split_and_features_are_cached(config: Config, sources: Sources) -> None:
    asked = config(augment="crop", freeze_backbone=True, unfreeze_epochs=1, weights="none")
    served = dataclasses.replace(asked, data_service=("grpc://localhost:1",))
    validation = 21 * (3 * 32**2 + 4 * 4)
    before, after = (caching.footprints(one, sources, num_features=10) for one in (asked, served))
    assert after["decoded"].cache_bytes == validation < before["decoded"].cache_bytes
    assert after["encoded"].cache_bytes < before["encoded"].cache_bytes
    assert after["features"] == before["features"]
    plan = caching.choose(served, sources)
    assert (plan.content, f"{validation / 1e6:.0f} MB" in plan.reason) == ("decoded", True)


@pytest.mark.parametrize(
    "text", ["localhost:5050", "grpc://localhost", "grpc://:5050", "http://a:1", "grpc://a:123456", "grpc://a:1/b"]
)
def test_an_address_that_is_none_is_an_error(text: str, config: Config) -> None:
    with pytest.raises(UserError, match=f"--data_service must be addresses as in grpc://.*Received: '{text}'"):
        config(data_service=(text,))


def test_a_dataset_in_a_store_is_refused(config: Config, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    far = dataclasses.replace(sources.each[0], directory="gs://bucket/made/1.0.0")
    monkeypatch.setattr(checks.sources, "load", lambda _: Sources(classes=sources.classes, each=(far,)))
    with pytest.raises(UserError, match=r"copy gs://bucket/made/1\.0\.0 to one"):
        checks.load(config(data_service=("grpc://localhost:1",)))


def test_a_service_that_does_not_answer_is_an_error_at_once(
    command: Callable[..., "subprocess.CompletedProcess[str]"], data: Path, tmp_path: Path
) -> None:
    port = ports.free(2)
    run = command(f"--data={data}", f"--output={tmp_path / 'run'}", f"--data_service=grpc://localhost:{port}")
    assert run.returncode == 1
    assert run.stderr == (
        f"error: --data_service=grpc://localhost:{port} does not answer: Connection refused. It is started on its "
        f"machine by python -m trainer.data_service --port={port}\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_training_behind_a_proxy_reaches_its_service(
    address: str, command: Callable[..., "subprocess.CompletedProcess[str]"], data: Path, tmp_path: Path
) -> None:
    # The environment of the command names a proxy that passes nothing on.
    flags = ["--image_size=32", "--epochs=1", "--precision=float32", "--augment=crop", f"--data={data}"]
    histories = []
    for services_of_run in ("", address):
        output = tmp_path / f"run{len(histories)}"
        run = command(*flags, f"--output={output}", f"--data_service={services_of_run}")
        assert run.returncode == 0, run.stderr
        histories.append(json.loads((output / "history.json").read_text()))
    np.testing.assert_allclose(histories[1]["loss"], histories[0]["loss"], rtol=1e-3)


@pytest.mark.parametrize("place", [0, 1])
def test_ports_that_are_used_are_an_error(place: int) -> None:
    port = ports.free(2)
    with socket.create_server(("localhost", port + place)):
        command = [sys.executable, "-m", "trainer.data_service", f"--port={port}"]
        run = subprocess.run(command, cwd=_ROOT, text=True, capture_output=True, timeout=100)
    assert run.returncode == 1
    assert run.stderr == f"error: Port {port + place} cannot be used: Address already in use. Choose another --port.\n"


def test_a_service_that_is_gone_and_back_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def wait_for(text: str) -> None:
        end, printed = time.monotonic() + 20, ""
        while text not in printed:
            assert time.monotonic() < end, printed
            time.sleep(0.05)
            printed += capsys.readouterr().out

    with pytest.MonkeyPatch.context() as patch, socket.create_server(("localhost", 0)) as server:
        patch.setattr(services, "_WATCH_SECONDS", 0.05)
        port = server.getsockname()[1]
        with services.watched([f"grpc://localhost:{port}"]):
            time.sleep(0.3)
            assert capsys.readouterr().out == ""
            server.close()
            wait_for(f"The data service grpc://localhost:{port} does not answer: Connection refused.")
            with socket.create_server(("localhost", port)):
                wait_for(f"The data service grpc://localhost:{port} answers again.")
    end = time.monotonic() + 20
    while "data services" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < end, "the services are still watched"
        time.sleep(0.05)


def test_an_error_of_a_service_is_explained() -> None:
    texts = (
        "{{function_node a}} /data/x.tfrecord; No such file [Op:Next] name: ",
        'Graph execution error:\n\nDetected at node Next\n  File "<stdin>", line 1, in <module>\n\n  File "a.py", '
        "line 154, in steps\n\n/data/x.tfrecord; No such file\n\t [[{{node Next}}]] [Op:__inference_1]",
    )
    assert {services.line(tf.errors.NotFoundError(None, None, text)) for text in texts} == {
        "/data/x.tfrecord; No such file"
    }
    error = tf.errors.NotFoundError(None, None, texts[0])
    assert not services.is_lost(error)
    with (
        pytest.raises(
            UserError, match=r"services grpc://a:1 failed: /data/x.tfrecord; No such file\. They need the datasets"
        ) as explained,
        services.explained(["grpc://a:1", "grpc://a:1"]),
    ):
        error.add_note("kept")
        raise error
    assert explained.value.__notes__ == ["kept"]
    with pytest.raises(tf.errors.NotFoundError), services.explained([]):
        raise error


@pytest.mark.parametrize("before", [None, (), ("grpc://a:1",)])
@pytest.mark.parametrize("now", [(), ("grpc://b:1", "grpc://c:1")])
def test_a_run_goes_on_with_other_services_but_not_without_any(
    before: tuple[str, ...] | None, now: tuple[str, ...], config: Config, sources: Sources
) -> None:
    asked = config(data_service=now)
    datasets = [{"path": "data", "fingerprint": sources.each[0].info.fingerprint}]
    old = {**dataclasses.asdict(asked), "datasets": datasets, "data_service": before and list(before)}
    if before is None:  # A run of an earlier version.
        del old["data_service"]
    expected: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if bool(before) != bool(now):
        # Records of a large dataset would come in another order.
        expected = pytest.raises(UserError, match=r"with other settings: --data_service was .*, now")
    with expected:
        resuming.check(old, asked, sources)


@pytest.mark.slow
def test_a_training_goes_on_when_its_service_is_started_again(
    many: str,
    config: Config,
    compiled: Callable[..., keras.Model],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tiny_network", module := types.ModuleType("tiny_network"))
    vars(module)["build"] = _tiny
    # Chunks of 8 images: far fewer than all of an epoch are asked for ahead. The head has dropout.
    port, sources = ports.free(2), combine([(many, metadata.load(many))])
    plain = config(data=(many,), image_size=128, batch_size=8, model="tiny_network:build", augment="crop")
    results = []
    for served in (False, True):
        asked = dataclasses.replace(plain, data_service=(f"grpc://localhost:{port}",) if served else ())
        keras.utils.set_random_seed(1)
        trained = compiled(asked, sources)
        work = loop.Work(
            trained=trained,
            dataset=lambda skip, asked=asked: pipeline.training_dataset(asked, sources, epoch=1, skip=skip),
            steps=pipeline.steps_per_epoch(asked, sources),
            epoch=tf.Variable(1, dtype=tf.int64),
            callbacks=(),
            patience=0,
            is_served=served,
        )
        with contextlib.ExitStack() as running:
            service = running.enter_context(_started(port)) if served else None
            steps = loop.Steps(work, strategies.step_of(trained), 0)
            for number in range(work.steps):
                if service and number == 5:
                    service.kill()
                    service.wait()
                    running.enter_context(_started(port))
                steps.make(number)
        variables = [*trained.variables, *trained.optimizer.variables, *trained.metrics_variables]
        results.append([np.asarray(variable, np.float64) for variable in variables])
    assert work.steps == 186
    assert "A data service has lost its place" in capsys.readouterr().out
    # The states of random generators, and counts of steps and examples, among them.
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
