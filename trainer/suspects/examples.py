"""Collects features, labels, names and rows of all images of a run's datasets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from multihot.printable import printable
from schemas import duplicates, rows
from schemas.rows import RowPlace
from trainer.input import listing
from trainer.sources import Sources


class Examples(NamedTuple):
    """All images of all splits: split by split, and in a split dataset by dataset, in the order of evaluation.

    Attributes:
        classes: names of the classes of the run.
        splits: names of the splits.
        filenames: of the n images.
        split_of: number of the split of each image, int64 [n].
        source_of: number of the dataset of each image, int64 [n].
        places: of each dataset, the row of each image, by its file name; none for a dataset of an older version.
        groups: number of the group of near duplicates of each image, int64 [n]; other images are groups of their own.
    """

    classes: tuple[str, ...]
    splits: tuple[str, ...]
    filenames: list[str]
    split_of: np.ndarray
    source_of: np.ndarray
    places: list[dict[str, RowPlace]]
    groups: np.ndarray

    def place(self, example: int) -> tuple[str, str]:
        """Returns path and line of the row of an image; "" twice if they are not known."""
        found = self.places[self.source_of[example]].get(self.filenames[example])
        return (found.csv, str(found.line)) if found else ("", "")


def splits(sources: Sources) -> tuple[str, ...]:
    """Returns the names of all splits that have images, in their order."""
    names = dict.fromkeys(split.name for source in sources.each for split in source.info.splits)
    return tuple(name for name in names if sources.split(name).num_examples)


def collect(sources: Sources) -> Examples:
    """Lists the images of all splits, without features.

    Raises:
        UserError: a file of a dataset is damaged.
        OSError: a file cannot be read.
    """
    names = splits(sources)
    listed = [listing.examples(sources, name) for name in names]
    filenames = [filename for one in listed for filename in one.filenames]
    source_of = np.concatenate([one.sources for one in listed]).astype(np.int64)
    places = [rows.read(source.directory, names) for source in sources.each]
    return Examples(
        classes=sources.classes,
        splits=names,
        filenames=filenames,
        split_of=np.repeat(np.arange(len(names)), [len(one.filenames) for one in listed]),
        source_of=source_of,
        places=places,
        groups=_groups(sources, filenames, source_of),
    )


def _groups(sources: Sources, filenames: Sequence[str], source_of: np.ndarray) -> np.ndarray:
    """Returns the group of each image: the number of its first image."""
    groups = np.arange(len(filenames))
    listed = [{one.filename: one.group for one in duplicates.read(source.directory)} for source in sources.each]
    first: dict[tuple[int, str], int] = {}
    for i, (filename, source) in enumerate(zip(filenames, source_of.tolist(), strict=True)):
        group = listed[source].get(printable(filename))
        if group is not None:
            groups[i] = first.setdefault((source, group), i)
    return groups
