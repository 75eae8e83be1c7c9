"""Every label, and every pair of labels, has its share in every split."""

from collections import Counter
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from converter.parsing import parse_splits
from converter.splits import assignment
from converter.splits.stratify import MAX_PAIRS, stratify, stratify_groups

_SPLITS = parse_splits("train=0.8,validation=0.2")
_THIRDS = [(name, Fraction(1, 3)) for name in "abc"]


def _names(n: int) -> list[str]:
    return [f"{i}.jpg" for i in range(n)]


def _labels(n: int, k: int, seed: int = 0) -> NDArray[np.uint8]:
    """Returns labels of which each is rarer than the one before."""
    random = np.random.default_rng(seed)
    return (random.random((n, k)) < 0.5 / np.arange(1, k + 1)).astype(np.uint8)


def _largest_deviation(columns: NDArray[Any], chosen: list[str], splits: list[tuple[str, Fraction]]) -> float:
    """Returns by how many images a column is off its share in a split."""
    in_split = np.array([[name == split for name in chosen] for split, _ in splits]).astype(int)
    shares = np.outer([float(fraction) for _, fraction in splits], columns.sum(axis=0))
    return float(np.abs(in_split @ columns.astype(int) - shares).max())


def _pairs(labels: NDArray[Any]) -> NDArray[Any]:
    return np.stack([labels[:, i] & labels[:, j] for i, j in combinations(range(labels.shape[1]), 2)], axis=1)


@pytest.mark.parametrize("splits", [_SPLITS, parse_splits("train=0.7,validation=0.2,test=0.1"), _THIRDS])
def test_labels_and_pairs_and_sizes_have_their_share(splits: list[tuple[str, Fraction]]) -> None:
    names, labels = _names(1000), _labels(1000, 5)
    by_name = stratify(names, labels, splits)
    chosen = [by_name[name] for name in names]
    assert _largest_deviation(labels, chosen, splits) < 1
    assert _largest_deviation(_pairs(labels), chosen, splits) < 1
    assert _largest_deviation(np.ones((1000, 1)), chosen, splits) <= 2


def test_a_label_of_five_images_is_in_both_splits() -> None:
    labels = np.zeros((1000, 2), np.uint8)
    labels[:500, 0] = 1
    labels[495:500, 1] = 1
    chosen = stratify(_names(1000), labels, _SPLITS)
    assert Counter(chosen[f"{i}.jpg"] for i in range(495, 500)) == {"train": 4, "validation": 1}


@given(st.permutations(range(40)))
def test_the_order_of_the_rows_does_not_matter(order: list[int]) -> None:
    names, labels = _names(40), _labels(40, 3)
    assert stratify([names[i] for i in order], labels[order], _SPLITS) == stratify(names, labels, _SPLITS)


@given(st.integers(0, 12), st.integers(1, 4), st.sampled_from([_SPLITS, _THIRDS]), st.integers(0, 99))
def test_every_image_has_one_of_the_splits(n: int, k: int, splits: list[tuple[str, Fraction]], seed: int) -> None:
    names = _names(n)
    chosen = stratify(names, _labels(n, k, seed), splits)
    assert set(chosen) == set(names)
    assert set(chosen.values()) <= {name for name, _ in splits}


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("k", [1, 3])
def test_labels_that_tell_no_images_apart_leave_the_sizes(label: int, k: int) -> None:
    chosen = stratify(_names(90), np.full((90, k), label, np.uint8), _THIRDS)
    assert Counter(chosen.values()) == {"a": 30, "b": 30, "c": 30}


def test_images_without_labels_fill_the_splits_up() -> None:
    labels = np.zeros((100, 2), np.uint8)
    labels[:10, 0] = 1
    chosen = stratify(_names(100), labels, _SPLITS)
    assert Counter(chosen.values()) == {"train": 80, "validation": 20}
    assert Counter(chosen[f"{i}.jpg"] for i in range(10)) == {"train": 8, "validation": 2}


def test_many_classes_are_bounded() -> None:
    labels = _labels(500, 60, seed=1)
    assert (labels.T.astype(int) @ labels > 1).sum() > 2 * MAX_PAIRS
    assert len(stratify(_names(500), labels, _SPLITS)) == 500


# If this changes, so does every dataset that is split in this way.
def test_assignment_never_changes() -> None:
    chosen = stratify(_names(20), _labels(20, 3), _THIRDS)
    assert "".join(chosen[name] for name in _names(20)) == "ccabcbacaacabccbbaab"


def test_the_real_labels_are_spread_better_than_by_hash(miml: Path) -> None:
    table = pd.read_csv(miml / "miml_labels_1.csv")
    names, labels = list(table.iloc[:, 0]), table.iloc[:, 1:].to_numpy(np.uint8)
    by_name = stratify(names, labels, _SPLITS)
    chosen = [by_name[name] for name in names]
    hashed = [assignment.split(name, _SPLITS) for name in names]
    for columns in (labels, _pairs(labels)):
        assert _largest_deviation(columns, chosen, _SPLITS) <= 0.5
        assert _largest_deviation(columns, hashed, _SPLITS) > 4


def _in_groups(n: int, num_groups: int, k: int, seed: int = 0) -> tuple[list[str], NDArray[np.uint8]]:
    """Returns the groups of images, and labels that most images of a group share."""
    random = np.random.default_rng(seed)
    members = random.integers(0, num_groups, n)
    shared = random.random((num_groups, k)) < 0.5 / np.arange(1, k + 1)
    own = random.random((n, k))
    labels = (shared[members] & (own < 0.8)) | (own > 0.98)
    return [f"patient {i}" for i in members], labels.astype(np.uint8)


@pytest.mark.parametrize(("n", "num_groups", "k", "most"), [(2000, 200, 5, 4), (2000, 700, 5, 1), (5000, 800, 20, 2)])
@pytest.mark.parametrize("splits", [_SPLITS, parse_splits("train=0.7,validation=0.2,test=0.1")])
def test_groups_stay_whole_and_labels_have_their_share(
    n: int, num_groups: int, k: int, most: float, splits: list[tuple[str, Fraction]]
) -> None:
    groups, labels = _in_groups(n, num_groups, k)
    by_group = stratify_groups(groups, labels, splits)
    assert set(by_group) == set(groups)
    chosen = [by_group[group] for group in groups]
    columns = np.column_stack([labels, np.ones(n, int)])
    assert _largest_deviation(columns, chosen, splits) <= most
    hashed = [assignment.split(group, splits) for group in groups]
    assert _largest_deviation(columns, hashed, splits) > 10 * most


@given(st.permutations(range(60)))
def test_the_order_of_the_rows_of_groups_does_not_matter(order: list[int]) -> None:
    groups, labels = _in_groups(60, 12, 3)
    assert stratify_groups([groups[i] for i in order], labels[order], _THIRDS) == stratify_groups(
        groups, labels, _THIRDS
    )


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 4), st.sampled_from([_SPLITS, _THIRDS]))
def test_every_group_has_one_of_the_splits(n: int, num_groups: int, k: int, splits: list[tuple[str, Fraction]]) -> None:
    groups, labels = _in_groups(n, num_groups, k)
    chosen = stratify_groups(groups, labels, splits)
    assert set(chosen) == set(groups)
    assert set(chosen.values()) <= {name for name, _ in splits}


@pytest.mark.parametrize("assign", [stratify, stratify_groups])
def test_unknown_labels_count_as_0(assign: Any) -> None:
    names, labels = _names(40), _labels(40, 3)
    unknown = np.where((labels == 0) & (np.arange(40) % 3 == 0)[:, None], 2, labels).astype(np.uint8)
    assert assign(names, unknown, _SPLITS) == assign(names, labels, _SPLITS)


# If this changes, so does every dataset that is split in this way.
def test_assignment_of_groups_never_changes() -> None:
    groups, labels = _in_groups(60, 20, 3)
    chosen = stratify_groups(groups, labels, _THIRDS)
    assert "".join(chosen.get(f"patient {i}", "-") for i in range(20)) == "acba-abbaccbbacccbcb"
