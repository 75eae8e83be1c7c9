"""Assigns splits that contain each label, and each pair of labels, in the same proportion; groups stay whole.

The split of an image then depends on the whole CSV: adding a row can move other images, which never happens with the
hash of a name (assignment.py). One process assigns all splits, with all labels in memory.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from converter.splits import assignment

# Largest number of pairs of labels: all 190 pairs of 20 classes. Time grows with the square of this number.
MAX_PAIRS = 200
# Rounds in which groups are moved at most.
_ROUNDS = 20


def stratify(names: Sequence[str], labels: NDArray[np.uint8], splits: Sequence[tuple[str, Fraction]]) -> dict[str, str]:
    """Assigns images to splits by iterative stratification (Sechidis et al., 2011) of labels and pairs of labels.

    On two cores it takes 0.1 to 0.2 s for 20 000 images with five classes and 0.5 to 0.9 s for 100 000; with twenty
    classes, 0.4 to 0.6 s and 2 to 4 s. On the 2000 photographs of MIML, split 0.8 to 0.2, the number of images with any
    label or pair of labels differs from its share by at most half an image; with a split by hash by up to 5, and by up
    to 6 for pairs if only labels are stratified. With twenty classes and many labels per image, some labels of 2000
    images differ as much as with a split by hash (20 images), and less with more images.

    Args:
        names: of the images, each once, in any order.
        labels: 0, 1 or UNKNOWN, [n, k], in the same order; an unknown label counts as 0.
        splits: names with their fractions, which sum to 1. Membership depends on their order.

    Returns:
        The name of the split of each image: the same for any order of the rows.
    """
    # The import loads scikit-learn, which takes a second, and most conversions are split by hash.
    from iterstrat.ml_stratifiers import IterativeStratification

    order = sorted(range(len(names)), key=lambda i: (assignment.position(names[i]), names[i]))
    columns = _with_pairs(labels[order] == 1, len(splits))
    fractions = np.array([float(fraction) for _, fraction in splits])
    chosen = IterativeStratification(columns, fractions, np.random.RandomState(0))
    return {names[i]: splits[split][0] for i, split in zip(order, chosen, strict=True)}


def stratify_groups(
    groups: Sequence[str], labels: NDArray[np.uint8], splits: Sequence[tuple[str, Fraction]]
) -> dict[str, str]:
    """Assigns groups of images to splits, each as a whole, so that the splits have their shares of labels and images.

    Groups are dealt out from the largest to the smallest, each to the split that lacks most of what the group has; then
    single groups are moved to other splits as long as that makes the shares more even. Labels are those of five and of
    twenty classes that most images of a group share; the split is 0.8 to 0.2; a deviation is the largest one of any
    label, in images:

        2000 images in 200 groups        3, and 59 with a split by hash
        20 000 images in 2994 groups     0.6 and 93; 0.2 s on one core
        100 000 images in 28 938 groups  0.4 and 134; 1.9 s

    Args:
        groups: the name of the group of each image, in any order.
        labels: of the images, as in `stratify`.
        splits: as in `stratify`.

    Returns:
        The name of the split of each group: the same for any order of the rows.
    """
    names = sorted(set(groups))
    numbers = {name: i for i, name in enumerate(names)}
    members = np.array([numbers[name] for name in groups], int)
    # The last column counts the images.
    counts = np.zeros((len(names), labels.shape[1] + 1), np.int64)
    np.add.at(counts, members, np.column_stack([labels == 1, np.ones(len(labels), bool)]))
    totals = counts.sum(axis=0)
    # Whole numbers, of which all machines compute the same sums. A surplus counts thousandths of an image. An image too
    # many of a rare label is worse than one of a frequent label.
    weights = np.maximum((1 << 20) // np.maximum(totals, 1), 1)
    surplus = np.array([[-round(fraction * int(total) * 1000) for total in totals] for _, fraction in splits])
    counts *= 1000
    chosen = np.zeros(len(names), int)
    order = sorted(range(len(names)), key=lambda i: (-counts[i, -1], assignment.position(names[i]), names[i]))
    for i in order:
        chosen[i] = _best(surplus, counts[i], weights)
        surplus[chosen[i]] += counts[i]
    for _ in range(_ROUNDS):
        num_moved = 0
        for i in order:
            surplus[chosen[i]] -= counts[i]
            best = _best(surplus, counts[i], weights, now=chosen[i])
            num_moved += best != chosen[i]
            chosen[i] = best
            surplus[best] += counts[i]
        if not num_moved:
            break
    return {name: splits[split][0] for name, split in zip(names, chosen, strict=True)}


def _best(surplus: NDArray[np.int64], added: NDArray[np.int64], weights: NDArray[np.int64], now: int = 0) -> int:
    """Returns the split to which a group is best added: where the sum of weighted squares of surpluses grows least.

    Args:
        surplus: of each split and column, without the group.
        added: columns of the group.
        weights: of the columns.
        now: the split that is taken unless another one is better.
    """
    growth = (2 * surplus + added) @ (weights * (added // 1000))
    best = int(growth.argmin())
    return best if growth[best] < growth[now] else now


def _with_pairs(labels: NDArray[np.bool_], num_splits: int) -> NDArray[np.bool_]:
    """Adds a column for each pair of labels: the rarest MAX_PAIRS pairs that have an image for every split."""
    together = np.triu(labels.T.astype(np.float32) @ labels.astype(np.float32), 1)
    one, other = np.nonzero(together >= num_splits)
    rarest = np.argsort(together[one, other], kind="stable")[:MAX_PAIRS]
    return np.hstack([labels, labels[:, one[rarest]] & labels[:, other[rarest]]])
