"""Makes a CSV of which some labels are wrong: by a seed, and in one of two ways.

random   labels of images and classes, drawn from all of them, are the other one
moved    the label of a class moves to the next class, as in sea for sunset: two wrong labels of one image
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

RULES = ("random", "moved")


class Table(NamedTuple):
    """A CSV with a column of file names, and one of 0 and 1 for each class.

    Attributes:
        header: names of all columns.
        names: of the images.
        labels: int64 [n, k].
    """

    header: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray


def read(path: str | Path) -> Table:
    """Reads a CSV."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        header, *rows = csv.reader(file)
    labels = np.array([[int(label) for label in labels] for _, *labels in rows], np.int64)
    return Table(tuple(header), tuple(name for name, *_ in rows), labels)


def write(path: str | Path, table: Table) -> None:
    """Writes a CSV."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [table.header, *([n, *row] for n, row in zip(table.names, table.labels, strict=True))]
        )


def flip(labels: np.ndarray, share: float, seed: int, rule: str) -> np.ndarray:
    """Returns labels of which a share is wrong, int64 [n, k].

    Args:
        labels: the right ones, 0 or 1, int64 [n, k].
        share: of the n * k labels that become wrong. If fewer can move, all that can are moved.
        seed: of the choice.
        rule: one of RULES.
    """
    rng = np.random.default_rng(seed)
    wrong, number = labels.copy(), round(share * labels.size)
    if rule == "random":
        chosen = rng.choice(labels.size, number, replace=False)
        wrong.flat[chosen] ^= 1
        return wrong
    for row, column in rng.permutation(np.argwhere(labels)):
        following = (column + 1) % labels.shape[1]
        changed = wrong[row] != labels[row]
        if 2 * (number // 2) <= (wrong != labels).sum():
            break
        if not labels[row, following] and not changed[[column, following]].any():
            wrong[row, column], wrong[row, following] = 0, 1
    return wrong


def precision_and_recall(wrong: Sequence[tuple[str, str]], suspects: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Returns precision and recall of as many suspects as there are wrong labels.

    Args:
        wrong: image and class of each wrong label.
        suspects: image and class of each suspect, the first one first.
    """
    first = set(suspects[: len(wrong)])
    right = len(first & set(wrong))
    return (right / len(first) if first else 0.0), right / len(wrong)
