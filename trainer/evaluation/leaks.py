"""Finds images of a split that a model may have seen in its training: they make its figures too good."""

from collections.abc import Iterable

import numpy as np

from multihot.printable import printable
from schemas import duplicates
from trainer.input.listing import Listing
from trainer.sources import Sources


def duplicated(listing: Listing, sources: Sources, split: str) -> np.ndarray:
    """Returns the numbers of the images that are the same as one of another split of their dataset, or nearly.

    Args:
        listing: the examples of the split.
        sources: the datasets, whose duplicates.csv is read.
        split: its name.

    Raises:
        UserError: a list of duplicates is damaged.
        OSError: it cannot be read.
    """
    found: list[int] = []
    for i, source in enumerate(sources.each):
        if not source.info.leaks.get("num_images"):
            continue
        splits: dict[str, set[str]] = {}
        members: dict[str, list[str]] = {}
        for one in duplicates.read(source.directory):
            splits.setdefault(one.group, set()).add(one.split)
            if one.split == split:
                members.setdefault(one.group, []).append(one.filename)
        leaked = {name for group, names in members.items() if len(splits[group]) > 1 for name in names}
        numbers = np.flatnonzero(listing.sources == i)
        found.extend(int(number) for number in numbers if printable(listing.filenames[number]) in leaked)
    return np.array(found, np.int64)


def trained_on(sources: Sources, split: str, fingerprints: Iterable[str], train_split: str) -> list[str]:
    """Returns the folders of the datasets that a model was trained on, if the split is the one that it was trained on.

    Args:
        sources: the datasets that are evaluated.
        split: its name.
        fingerprints: of the datasets that the model was trained on.
        train_split: the split that it was trained on.
    """
    known = set(fingerprints) if split == train_split else set()
    return [source.directory for source in sources.having(split) if source.info.fingerprint in known]
