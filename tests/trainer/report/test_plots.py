"""The pictures of a run exist, have a sensible size, and show curves, images and labels."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.config import TrainConfig
from trainer.metrics import Predictions
from trainer.report import plots

CLASSES = ("desert", "mountains", "sea", "sunset", "trees")


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        picture.load()
        return picture.size


@pytest.mark.parametrize(
    "history",
    [
        pytest.param({"loss": [0.5], "val_loss": [0.4]}, id="one epoch"),
        pytest.param(
            {"loss": [0.5, 0.3], "accuracy": [0.1, 0.2], "val_loss": [0.4, 0.5], "val_accuracy": [0.0, 0.1]},
            id="two metrics",
        ),
        pytest.param({"loss": list(np.geomspace(1, 0.01, 100))}, id="a hundred epochs without validation"),
        pytest.param({"loss": [0.5], "val_loss": [0.4], "val_accuracy": [0.0]}, id="a metric of validation alone"),
        pytest.param({"loss": [0.5, 0.4], "val_loss": [0.4, float("nan")]}, id="a value that is no number"),
        pytest.param({"loss": [0.5, 0.4], "val_accuracy": [None, 0.4]}, id="an epoch without a value"),
    ],
)
def test_training_curves(history: dict[str, list[float | None]], tmp_path: Path) -> None:
    path = tmp_path / "training.png"
    plots.training(history, str(path))
    width, height = _size(path)
    panels = len({name.removeprefix("val_") for name in history})
    assert 500 * panels * 0.8 < width < 500 * (panels + 1) * 0.8 + 500
    assert 300 < height < 800


def test_lines_show_where_parts_of_a_run_begin(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("plain.png", "marked.png")]
    plots.training({"loss": [0.9] * 6}, str(paths[0]))
    plots.training({"loss": [0.9] * 6}, str(paths[1]), [(1, "head, 32 px"), (4, "from $block08$, 64 px")])
    assert [_dotted_lines(path) for path in paths] == [0, 2]


def _dotted_lines(path: Path) -> int:
    """Returns how many vertical lines are dotted in the colour of such lines."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    grey = (np.ptp(pixels, axis=-1) == 0) & (pixels[..., 0] > 120) & (pixels[..., 0] < 200)
    columns = np.flatnonzero(grey.sum(axis=0) > 50)
    return int((np.diff(columns, prepend=-9) > 1).sum())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"epochs": 2, "train_sizes": ()}, [], id="one part"),
        pytest.param({"epochs": 8, "train_sizes": ()}, [(1, "48 px"), (8, "48 px, no mixup")], id="mixup ends"),
        pytest.param({"epochs": 8, "train_sizes": (), "mixup_until": 1.0}, [], id="mixup to the end"),
        pytest.param({"epochs": 4, "train_sizes": ((32, 3.0), (48, 1.0))}, [(1, "32 px"), (4, "48 px")], id="sizes"),
        pytest.param(
            {
                "model": "efficientnet_lite0",
                "weights": "imagenet",
                "epochs": 5,
                "unfreeze_epochs": 4,
                "image_size": 64,
                "train_sizes": ((48, 1.0), (64, 1.0)),
            },
            [(1, "head, 48 px"), (6, "from block08, 48 px"), (8, "from block08, 64 px")],
            id="a backbone that is unfrozen",
        ),
    ],
)
def test_parts_begin_where_weights_or_sizes_change(changes: dict[str, Any], expected: list[tuple[int, str]]) -> None:
    assert plots.beginnings(TrainConfig(**{"data": ("a",), "output": "b", "image_size": 48, **changes})) == expected


@pytest.mark.parametrize("n", [1, 6, 7, pytest.param(24, marks=pytest.mark.slow)])
def test_samples_shows_each_image_in_its_place(n: int, tmp_path: Path) -> None:
    shades = np.array([[10 * i, 255 - 10 * i, 5 * i] for i in range(n)], np.uint8)
    images = np.repeat(shades, 16 * 16, axis=0).reshape(n, 16, 16, 3)
    labels = np.random.default_rng(n).integers(0, 2, (n, 5))
    path = tmp_path / "samples.png"
    plots.samples(
        images, Predictions(labels=labels, scores=labels * 0.8 + 0.1), CLASSES, (0.5,) * len(CLASSES), str(path)
    )
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    rows = -(-n // 6)
    for i, shade in enumerate(shades):
        y, x = np.nonzero((pixels == shade).all(axis=-1))
        assert len(x) > 100 * 100
        # In reading order, with some room for the line above all images.
        assert x.mean() / width == pytest.approx((i % 6 + 0.5) / 6, abs=0.02)
        assert i // 6 <= y.mean() / height * rows <= i // 6 + 1


GREEN, RED = (44, 160, 44), (214, 39, 40)


@pytest.mark.parametrize(
    ("labels", "scores", "colour", "other"),
    [
        pytest.param([1, 0, 0, 1, 0], [0.9, 0.1, 0.4, 0.5, 0.2], GREEN, RED, id="all labels are right"),
        pytest.param([1, 0, 0, 1, 0], [0.9, 0.1, 0.4, 0.4, 0.2], RED, GREEN, id="one is missing"),
        pytest.param([1, 0, 0, 0, 0], [0.9, 0.1, 0.4, 0.5, 0.2], RED, GREEN, id="one is too many"),
        pytest.param([0, 0, 0, 0, 0], [0.3, 0.1, 0.4, 0.4, 0.2], GREEN, RED, id="rightly none"),
    ],
)
def test_an_image_is_framed_by_whether_all_is_right(
    labels: list[int], scores: list[float], colour: tuple[int, ...], other: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "samples.png"
    predictions = Predictions(labels=np.array([labels]), scores=np.array([scores], np.float32))
    plots.samples(np.zeros((1, 8, 8, 3), np.uint8), predictions, CLASSES, (0.5,) * len(CLASSES), str(path))
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels == colour).all(axis=-1).sum() > 1000
    assert not (pixels == other).all(axis=-1).any()


def test_names_of_classes_may_be_long_or_look_like_formulas(tmp_path: Path) -> None:
    classes = ["$x_1$ costs $2", "a name that goes on and on " * 9, "c", "d", "e"]
    predictions = Predictions(labels=np.ones((3, 5), int), scores=np.full((3, 5), 0.9, np.float32))
    plots.samples(
        np.zeros((3, 8, 8, 3), np.uint8), predictions, classes, (0.5,) * len(classes), str(tmp_path / "samples.png")
    )
    width, height = _size(tmp_path / "samples.png")
    assert height < width / 2


def test_a_name_in_a_script_that_the_font_has_not_does_not_warn(tmp_path: Path) -> None:
    predictions = Predictions(labels=np.ones((1, 1), int), scores=np.full((1, 1), 0.9, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.samples(
            np.zeros((1, 8, 8, 3), np.uint8), predictions, ("\u65e5\u672c",), (0.5,), str(tmp_path / "samples.png")
        )


def test_samples_are_predicted_from_the_threshold_of_their_class_on() -> None:
    scores, limits = np.float32([0.4, 0.6, 0.9]), np.float32([0.3, 0.7, 0.5])
    assert plots._predicted(scores, ("a", "b", "c"), limits) == "c 90%, a 40%"
    assert plots._predicted(scores, ("a", "b", "c"), np.ones(3)) == "none (highest: c 90%)"
