"""The two pictures of a run: training.png and samples.png."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from trainer.evaluation import THRESHOLD, Predictions

_COLUMNS = 6


def training(history: Mapping[str, Sequence[float]], path: str) -> None:
    """Draws a panel for each metric, with its training and its validation curve.

    Args:
        history: values of each epoch by name, as Keras has them: `loss`, `val_loss`, ...
        path: of the PNG.
    """
    names = [name for name in history if not name.startswith("val_")]
    figure = Figure(figsize=(4.5 * len(names), 3.5), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in history:
                epochs = range(1, len(history[key]) + 1)
                panel.plot(epochs, history[key], label=label, marker="." if len(epochs) < 20 else "")
        panel.set(title=name.replace("_", " "), xlabel="epoch")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(path, dpi=120)


def samples(images: np.ndarray, predictions: Predictions, classes: Sequence[str], path: str) -> None:
    """Draws images with their true labels above, and what the model says below: green if all is right, red if not.

    Args:
        images: uint8 [n, height, width, 3].
        predictions: for these n images.
        classes: names of the classes.
        path: of the PNG.
    """
    rows = -(-len(images) // _COLUMNS)
    figure = Figure(figsize=(2.2 * _COLUMNS, 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for panel in panels:
        panel.axis("off")
    for panel, image, labels, scores in zip(panels, images, predictions.labels, predictions.scores, strict=False):
        panel.imshow(image)
        right = np.array_equal(labels > 0, scores >= THRESHOLD)
        truth = ", ".join(name for name, label in zip(classes, labels, strict=True) if label) or "none"
        said = [f"{classes[i]} {scores[i]:.0%}" for i in np.argsort(-scores) if scores[i] >= THRESHOLD]
        best = int(np.argmax(scores))
        panel.set_title(f"{truth}\n", fontsize=8)
        panel.text(
            0.5,
            1.02,
            ", ".join(said) or f"none (most: {classes[best]} {scores[best]:.0%})",
            transform=panel.transAxes,
            ha="center",
            va="bottom",
            fontsize=8,
            color="tab:green" if right else "tab:red",
        )
    figure.suptitle("true labels, and predicted ones in green or red", fontsize=10)
    figure.savefig(path, dpi=120)
