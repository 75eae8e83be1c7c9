"""Assigns splits that contain each label, and each pair of labels, in the same proportion.

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


def _with_pairs(labels: NDArray[np.bool_], num_splits: int) -> NDArray[np.bool_]:
    """Adds a column for each pair of labels: the rarest MAX_PAIRS pairs that have an image for every split."""
    together = np.triu(labels.T.astype(np.float32) @ labels.astype(np.float32), 1)
    one, other = np.nonzero(together >= num_splits)
    rarest = np.argsort(together[one, other], kind="stable")[:MAX_PAIRS]
    return np.hstack([labels, labels[:, one[rarest]] & labels[:, other[rarest]]])
