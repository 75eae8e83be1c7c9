"""Lists the rows of scripts/bench_learning: one for each training; their ratios and their table."""

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import rounds
from same_images import SameImages
from schemas import metadata
from trainer import metrics
from training_process import Training

_READERS = Path(__file__).parent / "readers"
# The figures of an evaluation.json that are shown, with the headings of their columns.
FIGURES = {
    "mean_average_precision": "mAP",
    "label_ranking_average_precision": "LRAP",
    "one_error": "one-error",
    # At 0.5 for all: the scripts of others have no thresholds.
    "hamming_loss_at_half": "hamming loss",
}


class Contender(NamedTuple):
    """A training that is measured.

    Attributes:
        name: of its row.
        key: of the ratio of its time to that of the plain script; "" for that script.
        modules: that it imports and that take seconds, as in an import statement.
        command: from the images, a seed and a folder to write to, to a program and its arguments.
        evaluate: from the images and that folder to the contents of an evaluation.json, after a training to its end.
    """

    name: str
    key: str
    modules: str
    command: Callable[[SameImages, int, Path], Sequence[str | Path]]
    evaluate: Callable[[SameImages, Path], Mapping[str, Any]]


class Result(NamedTuple):
    """A training, and the metrics of its last epoch; None if it was stopped before."""

    seed: int
    training: Training
    evaluation: Mapping[str, float | None] | None


Results = Mapping[str, Sequence[Result]]  # By the name of the contender, in the order of the seeds.


def _plain_command(images: SameImages, seed: int, output: Path) -> list[str | Path]:
    program = _READERS / "plain_pytorch.py"
    return [rounds.python("pytorch"), program, images.folder, str(seed), output / "scores.npz"]


def _plain_evaluation(images: SameImages, output: Path) -> dict[str, Any]:
    with np.load(output / "scores.npz") as found:
        predictions = metrics.Predictions(labels=found["labels"] > 0, scores=found["scores"])
    return metrics.evaluate(predictions, metadata.load(images.dataset).classes)


def _ours(name: str, key: str, *flags: str) -> Contender:
    """Returns a run of the trainer with these flags, and all others by default."""

    def command(images: SameImages, seed: int, output: Path) -> list[str | Path]:
        paths = (f"--data={images.dataset}", f"--output={output / 'run'}")
        return [sys.executable, "-m", "trainer", *paths, f"--seed={seed}", *flags]

    def evaluate(_: SameImages, output: Path) -> dict[str, Any]:
        evaluation: dict[str, Any] = json.loads((output / "run" / "evaluation.json").read_text())
        return evaluation

    return Contender(name, key, "trainer.train", command, evaluate)


PLAIN = Contender("plain PyTorch", "", "torch.utils.data, sklearn.metrics", _plain_command, _plain_evaluation)
CONTENDERS = (
    PLAIN,
    _ours("ours, from scratch", "scratch_over_plain_pytorch"),
    _ours("ours, ImageNet weights", "imagenet_over_plain_pytorch", "--weights=imagenet"),
)


def line(name: str, result: Result, until: float) -> str:
    """Returns a line for a training that has ended."""
    epochs, seconds = result.training.epochs, result.training.seconds_to(until)
    best = max(one.mean_average_precision for one in epochs)
    when = f"below {until:g}, at best {best:.4f}" if seconds is None else f"{until:g} after {seconds:.1f} s"
    whole = "stopped" if result.training.seconds is None else f"{result.training.seconds:.1f} s in all"
    return f"{name}, seed {result.seed}: {when}; {len(epochs)} epochs, {whole}"


def ratios(results: Results, until: float) -> dict[str, float]:
    """Returns how long ours take beside the plain script, each the median over the seeds.

    Seeds with which the plain script never becomes as good are left out, to its advantage. If one of ours does not
    become as good with the other seeds, its ratio is left out.
    """
    plain = {one.seed: one.training.seconds_to(until) for one in results.get(PLAIN.name, ())}
    found = {}
    for one in CONTENDERS:
        times = [(ours.training.seconds_to(until), plain.get(ours.seed)) for ours in results.get(one.name, ())]
        wanted = [(seconds, other) for seconds, other in times if other is not None]
        quotients = [seconds / other for seconds, other in wanted if seconds is not None]
        if one is not PLAIN and quotients and len(quotients) == len(wanted):
            found[one.key] = statistics.median(quotients)
    return found


def table(results: Results, until: float) -> str:
    """Returns a row for each contender: its times, their ratios, and its metrics after its last epoch."""
    found, keys = ratios(results, until), {one.name: one.key for one in CONTENDERS}
    rows = []
    for name, of_one in results.items():
        ratio = found.get(keys[name])
        row = {
            "": name,
            f"s to {until:g}": _cell([one.training.seconds_to(until) for one in of_one], 1),
            f"/ {PLAIN.name}": "-" if ratio is None else f"{ratio:.2f}",
            "s in all": _cell([one.training.seconds for one in of_one], 1),
        }
        for figure, heading in FIGURES.items():
            row[heading] = _cell([one.evaluation[figure] if one.evaluation else None for one in of_one], 3)
        rows.append(row)
    frame = pd.DataFrame(rows)
    left = f"<{frame[''].str.len().max()}"
    return str(frame.to_string(index=False, formatters={"": lambda name: format(name, left)}))


def _cell(values: Sequence[float | None], digits: int) -> str:
    """Returns the mean of some values, and their range; if some are None, also how many are not."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    cell = f"{statistics.mean(known):.{digits}f}"
    if len(known) > 1:
        cell += f" ({min(known):.{digits}f}..{max(known):.{digits}f})"
    return cell if len(known) == len(values) else f"{cell}, {len(known)} of {len(values)}"
