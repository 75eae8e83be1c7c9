"""Draws the two pictures of a run: training.png and samples.png."""

import textwrap
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer import phases
from trainer.config import TrainConfig
from trainer.metrics import Predictions

_COLUMNS = 6


def training(
    history: Mapping[str, Sequence[float | None]], path: str, beginnings: Sequence[tuple[int, str]] = ()
) -> None:
    """Draws a panel for each metric, with its training and its validation curve, where there are both.

    Args:
        history: values of each epoch by name, as Keras has them: `loss`, `val_loss`, ...; None leaves a gap.
        path: of the PNG.
        beginnings: the first epochs of parts of the run, counted from 1, and what is trained from there on, as in
            `(41, "from block08, 224 px")`. A line is drawn before each of these epochs.
    """
    names = list(dict.fromkeys(name.removeprefix("val_") for name in history))
    figure = Figure(figsize=(4.5 * len(names), 3.5), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        curves = ((name, "training", "tab:blue"), (f"val_{name}", "validation", "tab:orange"))
        for key, label, colour in curves:
            if key in history:
                epochs = range(1, len(history[key]) + 1)
                values = np.array(history[key], float)
                panel.plot(epochs, values, label=label, color=colour, marker="." if len(epochs) < 20 else "")
        panel.set(title=name.replace("_", " "), xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        panel.grid(alpha=0.3)
        if beginnings:
            _mark(panel, beginnings)
        panel.legend()
    figure.savefig(path, dpi=120)


def beginnings(config: TrainConfig) -> list[tuple[int, str]]:
    """Returns the epochs in which other weights begin to be trained, or other images; none if it is one.

    Returns:
        the numbers of the epochs, from 1, and the weights and images that each begins with. Where images are no longer
        blended, the training loss falls.
    """
    found: list[tuple[int, str]] = []
    for phase in phases.of_run(config):
        part = {"all": "", "head": "head, ", "upper": f"from {config.unfreeze_from}, "}[phase.part]
        for epoch in range(phase.first_epoch, phase.end):
            size, mixup = phase.images(epoch)
            ended = ", no mixup" if phase.mixup(phase.first_epoch) > mixup else ""
            label = f"{part}{size} px{ended}"
            if not found or found[-1][1] != label:
                found.append((epoch + 1, label))
    return found if len(found) > 1 else []


def _mark(panel: Axes, beginnings: Sequence[tuple[int, str]]) -> None:
    """Draws a vertical line halfway between each epoch and the one before it, with its label above the panel."""
    places = [epoch - 0.5 if epoch > 1 else 1 for epoch, _ in beginnings]
    for place in places:
        panel.axvline(place, color="tab:gray", linestyle=":", linewidth=1, zorder=1)
    above = panel.secondary_xaxis("top")
    above.set_xticks(places)
    # Turned, since two epochs may be close to each other.
    above.set_xticklabels(
        [label for _, label in beginnings], rotation=30, ha="left", fontsize=7, color="tab:gray", parse_math=False
    )
    above.tick_params(length=2, pad=1, color="tab:gray")


def samples(
    images: np.ndarray, predictions: Predictions, classes: Sequence[str], thresholds: Sequence[float], path: str
) -> None:
    """Draws images with their true labels above, and what the model says below: green if all is right, red if not.

    Args:
        images: uint8 [n, height, width, 3].
        predictions: for these n images.
        classes: names of the classes.
        thresholds: for each class, the score from which on it counts as predicted.
        path: of the PNG.
    """
    limits = np.array(thresholds, np.float32)
    known = np.ones_like(predictions.labels, np.bool_) if predictions.known is None else predictions.known
    true = [_lines(_true(*row, classes)) for row in zip(predictions.labels, known, strict=True)]
    predicted = [_lines(_predicted(scores, classes, limits)) for scores in predictions.scores]
    most_lines = max(text.count("\n") for text in true) + max(text.count("\n") for text in predicted) + 2
    rows = -(-len(images) // _COLUMNS)
    figure = Figure(figsize=(2.2 * _COLUMNS, (2.3 + 0.15 * most_lines) * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for panel in panels[len(images) :]:
        panel.axis("off")
    right = np.all(((predictions.labels > 0) == (predictions.scores >= limits)) | ~known, axis=1)
    for i, (panel, image) in enumerate(zip(panels, images, strict=False)):
        colour = "tab:green" if right[i] else "tab:red"
        panel.imshow(image)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set(color=colour, linewidth=2)
        # A dollar sign in the name of a class is no formula.
        panel.set_title(true[i], fontsize=9, parse_math=False)
        panel.set_xlabel(predicted[i], fontsize=9, parse_math=False, color=colour)
    right_ones = "all" if known.all() else "all whose truth is known"
    figure.suptitle(
        f"Above: true labels. Below: predicted ones, green if {right_ones} are right, red if not.", fontsize=10
    )
    with warnings.catch_warnings():
        # A name in a script that the font has not: boxes in the picture, and the name in evaluation.json.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(path, dpi=120)


def _true(labels: np.ndarray, known: np.ndarray, classes: Sequence[str]) -> str:
    """Returns the names of the positive labels, and how many labels are unknown."""
    names = ", ".join(name for name, label in zip(classes, labels, strict=True) if label) or "none"
    return names if known.all() else f"{names} ({np.count_nonzero(~known)} unknown)"


def _predicted(scores: np.ndarray, classes: Sequence[str], thresholds: np.ndarray) -> str:
    """Returns the predicted classes with their probabilities, the most probable first."""
    order = np.argsort(-scores)
    ranked = [f"{classes[i]} {scores[i]:.0%}" for i in order]
    predicted = [text for i, text in zip(order, ranked, strict=True) if scores[i] >= thresholds[i]]
    return ", ".join(predicted) or f"none (highest: {ranked[0]})"


def _lines(text: str) -> str:
    """Breaks a text into what fits beside each other over an image, and leaves out what would make it too high."""
    return textwrap.fill(text, 26, max_lines=3, placeholder=" ...")
