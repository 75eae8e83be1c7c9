"""scripts/bench_suspects: the labels that it flips, its figures, and the programs that it runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import flipped
import same_images
import suspects


@pytest.fixture
def labels() -> np.ndarray:
    """Returns labels of which some can move: int64 [200, 5]."""
    return np.random.default_rng(0).integers(0, 2, (200, 5))


@pytest.mark.parametrize("rule", flipped.RULES)
def test_a_share_of_the_labels_is_wrong_and_the_same_for_a_seed(labels: np.ndarray, rule: str) -> None:
    wrong = flipped.flip(labels, 0.05, 1, rule)
    assert (wrong != labels).sum() == 50
    assert (flipped.flip(labels, 0.05, 1, rule) == wrong).all()
    assert (flipped.flip(labels, 0.05, 2, rule) != wrong).any()


def test_moved_labels_go_to_the_next_class(labels: np.ndarray) -> None:
    wrong = flipped.flip(labels, 0.05, 1, "moved")
    assert (wrong.sum(axis=1) == labels.sum(axis=1)).all()
    for row in np.flatnonzero((wrong != labels).any(axis=1)):
        lost, gained = np.flatnonzero(wrong[row] < labels[row]), np.flatnonzero(wrong[row] > labels[row])
        assert set((lost + 1) % 5) == set(gained)
    assert (flipped.flip(np.ones((3, 2), np.int64), 0.5, 1, "moved") == 1).all()


def test_precision_and_recall_are_those_of_as_many_suspects() -> None:
    wrong = [("a", "sea"), ("b", "sea"), ("c", "sea"), ("d", "sea")]
    suspected = [("a", "sea"), ("a", "sun"), ("c", "sea"), ("x", "sea"), ("d", "sea")]
    assert flipped.precision_and_recall(wrong, suspected) == (0.5, 0.5)
    assert flipped.precision_and_recall(wrong, suspected[:2]) == (0.5, 0.25)
    assert flipped.precision_and_recall(wrong, []) == (0, 0)


def test_figures_of_the_seeds_are_put_together() -> None:
    found = [suspects.Found(0.05, "random", 0, 0.9, 0.8), suspects.Found(0.05, "random", 1, 0.8, 0.8)]
    assert suspects.means(found) == ["5% random: precision 0.850 ± 0.071, recall 0.800 ± 0.000 (2 seeds)"]
    assert suspects.line(found[0]) == "5% random, seed 0: precision 0.900, recall 0.800"
    found = [one._replace(loss=loss, loss_uncorrected=0.01) for one, loss in zip(found, (0.001, 0.003), strict=True)]
    lost = "mean average precision lost: 0.0020 ± 0.0014, without corrections 0.0100 ± 0.0000"
    assert suspects.means(found)[0].endswith(f"(2 seeds); {lost}")
    assert suspects.line(found[0]).endswith("mean average precision lost: 0.0010, without corrections 0.0100")


def test_a_table_is_written_as_it_was_read(tmp_path: Path) -> None:
    rows = [["file", "sea, sun"], ["1.jpg", "0"], ["2.jpg", "1"]]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    flipped.write(tmp_path / "other.csv", flipped.read(tmp_path / "labels.csv"))
    with (tmp_path / "other.csv").open(newline="") as file:
        assert list(csv.reader(file)) == rows


@pytest.mark.extended
@pytest.mark.slow
def test_all_programs_run_one_after_the_other(tmp_path: Path) -> None:
    table, images = same_images.draw(tmp_path / "drawn", 60)
    (tmp_path / "work").mkdir()
    flags = ["--epochs=1", "--image_size=32", "--train_sizes=32x1"]
    found = suspects.measure(table, images, tmp_path / "work", 0.1, "random", 3, flags, accept=True)
    assert found[:3] == (0.1, "random", 3)
    assert 0 <= found.recall <= found.precision <= 1
    assert found.loss is not None
    assert abs(found.loss) < 1
    with (tmp_path / "work" / "corrections.csv").open(newline="") as file:
        corrections = list(csv.DictReader(file))
    manifest = json.loads((tmp_path / "work/bench/1.0.0/manifest.json").read_text())
    assert len(corrections) == manifest["corrected"] > 0
