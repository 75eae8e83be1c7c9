"""TensorBoard reads curves, pictures and settings of a run, also of one that was killed and went on."""

import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PluginAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

from trainer.config import TrainConfig
from trainer.metrics import Predictions
from trainer.report import plots
from trainer.report.tensorboard import MOST_CLASSES, TensorBoard

CLASSES = ("desert", "sea|lake", "sunset/dawn")
LABELS = np.array([[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0]], bool)
SCORES = np.array([[0.9, 0.2, 0.1], [0.4, 0.8, 0.2], [0.1, 0.7, 0.3], [0.3, 0.6, 0.4]], np.float32)
PREDICTIONS = Predictions(labels=LABELS, scores=SCORES)


@pytest.fixture
def made(config: Callable[..., TrainConfig], tmp_path: Path) -> Callable[..., TensorBoard]:
    """Returns the function that makes the callback of a process, with the settings and the predictions of a test."""

    def make(
        predictions: Predictions = PREDICTIONS,
        classes: tuple[str, ...] = CLASSES,
        **settings: Any,
    ) -> TensorBoard:
        board = TensorBoard(
            tmp_path / "board", config(**settings), classes, lambda: predictions, dataset="miml 1.0.0 01234567"
        )
        board.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=np.float32(0.25))))
        return board

    return make


def _train(board: TensorBoard, epochs: range) -> None:
    for epoch in epochs:
        board.on_epoch_begin(epoch)
        board.on_epoch_end(epoch, {"loss": 1 / (epoch + 1), "val_loss": 2 / (epoch + 1), "val_other": None})


def _read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance=STORE_EVERYTHING_SIZE_GUIDANCE)
    accumulator.Reload()
    return accumulator


def _values(folder: Path) -> dict[str, dict[int, float]]:
    """Returns the scalars of a folder: the values of each tag by step, each step once."""
    accumulator = _read(folder)
    found: dict[str, dict[int, float]] = {}
    for tag in accumulator.Tags()["tensors"]:
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            events = accumulator.Tensors(tag)
            assert len({event.step for event in events}) == len(events), tag
            found[tag] = {event.step: float(tensor_util.make_ndarray(event.tensor_proto)) for event in events}
    return found


def _image(folder: Path, tag: str) -> tuple[int, np.ndarray, str]:
    """Returns the step, the pixels and the description of a picture."""
    accumulator = _read(folder)
    (event,) = accumulator.Tensors(tag)
    width, height, png = tensor_util.make_ndarray(event.tensor_proto)
    assert accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "images"
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.size == (int(width), int(height))
        return event.step, np.asarray(picture), accumulator.SummaryMetadata(tag).summary_description


def test_each_epoch_has_its_scalars(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    _train(made(), range(2))
    assert _values(tmp_path / "board" / "train") == {
        "epoch_loss": {1: 1.0, 2: 0.5},
        "epoch_learning_rate": {1: 0.25, 2: 0.25},
    }
    found = _values(tmp_path / "board" / "validation")
    assert found.pop("epoch_loss") == {1: 2.0, 2: 1.0}
    # desert: ranks 1 and 3; sea: the three highest; sunset: ranks 4 and 2.
    expected = {"desert": (1 + 2 / 3) / 2, "sea|lake": 1.0, "sunset/dawn": (1 / 2 + 2 / 4) / 2}
    assert found == {
        f"average_precision/{name}": {1: pytest.approx(value), 2: pytest.approx(value)}
        for name, value in expected.items()
    }


def test_a_rate_in_the_logs_is_that_of_the_epoch(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    board = made()
    board.on_epoch_begin(0)
    board.on_epoch_end(0, {"loss": 0.5, "learning_rate": 0.125})
    assert _values(tmp_path / "board" / "train")["epoch_learning_rate"] == {1: 0.125}


def test_a_run_that_goes_on_has_each_epoch_once(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    _train(made(), range(5))
    # Killed after five epochs, while it wrote, and its last checkpoint is that of the third.
    for file in sorted((tmp_path / "board").rglob("events*")):
        file.write_bytes(file.read_bytes()[:-7])
    assert _values(tmp_path / "board" / "train")["epoch_loss"][5] == pytest.approx(1 / 5)
    again = made(Predictions(labels=LABELS, scores=1 - SCORES))
    for epoch in range(3, 6):
        again.on_epoch_begin(epoch)
        again.on_epoch_end(epoch, {"loss": 8.0, "val_loss": 9.0})
    assert _values(tmp_path / "board" / "train")["epoch_loss"] == {
        1: 1.0, 2: 0.5, 3: pytest.approx(1 / 3), 4: 8.0, 5: 8.0, 6: 8.0,
    }  # fmt: skip
    found = _values(tmp_path / "board" / "validation")
    assert found["epoch_loss"] == {1: 2.0, 2: 1.0, 3: pytest.approx(2 / 3), 4: 9.0, 5: 9.0, 6: 9.0}
    precisions = found["average_precision/sea|lake"]
    assert sorted(precisions) == [1, 2, 3, 4, 5, 6]
    assert precisions[3] == 1.0
    assert precisions[4] < 1.0
    files = sorted(path.name for path in (tmp_path / "board" / "train").iterdir())
    assert files == ["events.out.tfevents.000000", "events.out.tfevents.000001"]


def test_a_tensorboard_that_is_open_drops_what_is_trained_again(
    made: Callable[..., TensorBoard], tmp_path: Path
) -> None:
    _train(made(), range(5))
    accumulator = PluginAccumulator(str(tmp_path / "board" / "train"))
    accumulator.Reload()
    again = made()
    again.on_epoch_begin(3)
    again.on_epoch_end(3, {"loss": 8.0})
    accumulator.Reload()
    assert [event.step for event in accumulator.Tensors("epoch_loss")] == [1, 2, 3, 4]


def test_only_the_most_frequent_of_many_classes_are_shown(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((200, 1000)) < 0.02
    # The classes 990 to 999 are frequent, and the first ten are unknown wherever they are not positive.
    labels[:100, 990:] = True
    known = np.ones_like(labels)
    known[:, :10] = labels[:, :10]
    predictions = Predictions(labels=labels, scores=rng.random(labels.shape, np.float32), known=known)
    _train(made(predictions, tuple(f"class {i}" for i in range(1000))), range(1))
    found = [name for name in _values(tmp_path / "board" / "validation") if name.startswith("average_precision/")]
    assert {f"average_precision/class {i}" for i in range(990, 1000)} <= set(found)
    assert MOST_CLASSES // 2 < len(found) <= MOST_CLASSES


def test_scores_that_are_no_numbers_have_no_average_precision(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    _train(made(Predictions(labels=LABELS, scores=np.full_like(SCORES, np.nan))), range(1))
    assert set(_values(tmp_path / "board" / "validation")) == {"epoch_loss"}


def test_examples_are_the_images_that_the_model_gets(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    board = made()
    images = np.arange(7, dtype=np.float32)[:, None, None, None] * np.ones((7, 4, 5, 3), np.float32) * 40 + 0.4
    labels = np.array([[0, 1, 0], [0.25, 0.75, 0], [2, 0, 0], [0, 0, 0], *[[1, 0, 1]] * 3])
    board.write_examples(images, labels, 0)
    step, pixels, description = _image(tmp_path / "board" / "train", "examples")
    assert step == 0
    assert pixels.shape == (2 * 4, 6 * 5, 3)
    assert pixels[0, ::5, 0].tolist() == [0, 40, 80, 120, 160, 200]
    assert pixels[4, ::5, 0].tolist() == [240, 255, 255, 255, 255, 255]
    assert description.splitlines()[2:] == [
        "1. sea&#124;lake; desert 25%, sea&#124;lake 75%; desert (unknown); none; desert, sunset/dawn; "
        "desert, sunset/dawn",
        "2. desert, sunset/dawn",
    ]
    _train(board, range(1))
    assert _image(tmp_path / "board" / "train", "examples")[0] == 0
    assert len(list((tmp_path / "board" / "train").iterdir())) == 1


def test_a_run_that_goes_on_has_its_examples_once(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    images, labels = np.zeros((1, 4, 4, 3), np.uint8), np.ones((1, 3))
    board = made()
    board.write_examples(images, labels, 0)
    _train(board, range(2))
    again = made()
    again.write_examples(images + 9, labels, 2)
    assert _image(tmp_path / "board" / "train", "examples")[0] == 0
    _train(again, range(2, 4))
    again.write_examples(images, labels, 4)  # Images of another size.
    assert [event.step for event in _read(tmp_path / "board" / "train").Tensors("examples")] == [0, 4]


def test_a_run_that_was_trained_to_its_end_is_evaluated_by_another_process(
    made: Callable[..., TensorBoard], tmp_path: Path
) -> None:
    _train(made(), range(2))
    Image.new("RGB", (4, 4)).save(tmp_path / "samples.png")
    made().write_results({"one_error": 0.25}, tmp_path / "samples.png", 2)
    assert _values(tmp_path / "board" / "hparams") == {"one_error": {2: 0.25}}
    assert sorted(_values(tmp_path / "board" / "train")["epoch_loss"]) == [1, 2]


def test_features_are_no_picture(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    made().write_examples(np.zeros((3, 1280), np.float32), np.zeros((3, 3)), 0)
    assert _read(tmp_path / "board" / "train").Tags()["tensors"] == []


def test_the_end_has_settings_final_metrics_and_samples(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    board = made(data_weights=(2.0,), epochs=4, train_sizes=((32, 1.0),), seed=7)
    _train(board, range(2))
    plots.samples(
        np.zeros((2, 8, 8, 3), np.uint8),
        Predictions(labels=LABELS[:2], scores=SCORES[:2]),
        CLASSES,
        (0.5,) * len(CLASSES),
        str(tmp_path / "samples.png"),
    )
    board.write_results(
        {"num_examples": 4, "mean_average_precision": 0.75, "one_error": None, "average_precision": {"desert": 0.5}},
        tmp_path / "samples.png",
        2,
    )
    step, pixels, _ = _image(tmp_path / "board" / "validation", "samples")
    assert step == 2
    with Image.open(tmp_path / "samples.png") as picture:
        np.testing.assert_array_equal(pixels, np.asarray(picture))
    assert _values(tmp_path / "board" / "hparams") == {"mean_average_precision": {2: 0.75}}
    found = _read(tmp_path / "board" / "hparams")
    start = metadata.parse_session_start_info_plugin_data(
        found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    )
    shown = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    expected = {
        "model": "small_resnet",
        "epochs": 4,
        "data_weights": "2.0",
        "train_sizes": "32x1",
        "deterministic": False,
        "dataset": "miml 1.0.0 01234567",
    }
    assert {name: shown[name] for name in expected} == expected
    assert not {"output", "seed", "data"} & set(shown)
    end = metadata.parse_session_end_info_plugin_data(
        found.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    )
    assert end.status == 1  # STATUS_SUCCESS


def test_runs_that_differ_in_their_seed_are_one_trial(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    names = []
    for seed, epochs in ((1, 4), (2, 4), (2, 5)):
        _train(made(seed=seed, epochs=epochs), range(1))
        found = _read(tmp_path / "board" / "hparams")
        content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        names.append(metadata.parse_session_start_info_plugin_data(content).group_name)
        for file in (tmp_path / "board" / "hparams").iterdir():
            file.unlink()
    assert names[0] == names[1] != names[2]


def test_no_file_names_the_machine(made: Callable[..., TensorBoard], tmp_path: Path) -> None:
    _train(made(), range(1))
    files = [path for path in (tmp_path / "board").rglob("*") if path.is_file()]
    assert len(files) == 3
    assert json.dumps([path.name for path in files]).count(socket.gethostname()) == 0
    assert not [path for path in files if socket.gethostname().encode() in path.read_bytes()]
