"""Parts a split into slices: by the size of the images, their group, or the table of their rows."""

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from multihot.errors import UserError
from schemas import rows
from trainer.input.listing import Listing
from trainer.sources import Sources

BY = ("image_size", "group", "csv")
# Slices of a kind. The rest is one more slice, and so are images without a note.
_MOST_SLICES = 30
_NOT_NOTED = "not noted"


class Slice(NamedTuple):
    """Some images of a split.

    Attributes:
        name: for people.
        images: their numbers in the split, ascending.
    """

    name: str
    images: np.ndarray


def find(by: str, listing: Listing, sources: Sources, split: str) -> list[Slice]:
    """Returns the slices of a split: each image is in one of them.

    Args:
        by: `image_size`, `group` or `csv`.
        listing: the examples of the split.
        sources: the datasets.
        split: its name.

    Raises:
        UserError: no dataset has notes about groups, or about the rows of its examples.
    """
    if by == "image_size":
        return _by_size(listing.sizes)
    return _by_name(_names(by, listing, sources, split))


def not_noted(parts: Mapping[str, Sequence[Slice]]) -> Iterator[str]:
    """Yields a sentence for each kind of slices of which some images have no notes.

    Args:
        parts: the slices, by their kind.
    """
    for by, each in parts.items():
        for one in each:
            if one.name == _NOT_NOTED:
                total = sum(len(other.images) for other in each)
                number = f"{len(one.images):,} of {total:,} images"
                yield f"--slice_by={by}: {number} have no note about it: they are the slice {_NOT_NOTED!r}."


def _by_size(sizes: np.ndarray) -> list[Slice]:
    """Returns up to four slices of about as many images each, by the shorter side of the image."""
    shorter = sizes.min(axis=1)
    edges = np.unique(np.quantile(shorter, [0.25, 0.5, 0.75], method="higher"))
    places = np.searchsorted(edges, shorter, side="right")
    found = []
    for place in np.unique(places):
        inside = np.flatnonzero(places == place)
        least, most = shorter[inside].min(), shorter[inside].max()
        extent = f"{least} pixels" if least == most else f"{least} to {most} pixels"
        found.append(Slice(f"shorter side {extent}", inside))
    return found


def _names(by: str, listing: Listing, sources: Sources, split: str) -> list[str]:
    """Returns the name of the slice of each image."""
    result = [""] * len(listing.filenames)
    each = [rows.read(source.directory, [split]) for source in sources.each]
    # Only the ends of paths are shown: the rest is the same, and a table has little room for it.
    tables = _ends({place.csv for places in each for place in places.values()})
    datasets = _ends({source.directory.rstrip("/") for source in sources.each})
    noted = False
    for i, (source, places) in enumerate(zip(sources.each, each, strict=True)):
        # Groups of one name in several datasets are several groups.
        several = f"{datasets[source.directory.rstrip('/')]}: " if len(sources.each) > 1 else ""
        noted |= any(place.group for place in places.values()) if by == "group" else bool(places)
        for number in np.flatnonzero(listing.sources == i):
            place = places.get(listing.filenames[number])
            name = "" if place is None else place.group if by == "group" else tables[place.csv]
            result[number] = f"{several}{name}" if name else ""
    if not noted:
        folders = ", ".join(source.directory for source in sources.each)
        missing = (
            "it was converted without groups (--group_column, --group_pattern), or by a version of multihot that did "
            "not note them"
            if by == "group"
            else "it was converted by a version of multihot that did not note them"
        )
        raise UserError(
            f"--slice_by={by}: {folders} has no notes about {'groups' if by == 'group' else 'the rows of its images'}: "
            f"{missing}. Convert again, or leave the flag out."
        )
    return result


def _ends(paths: Collection[str]) -> dict[str, str]:
    """Returns the end of each path, without the folders that all of them have; a single path has its last part."""
    parts = {path: path.split("/") for path in paths}
    levels = zip(*(one[:-1] for one in parts.values()), strict=False)
    first = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, levels))
    return {path: "/".join(one[first:]) for path, one in parts.items()}


def _by_name(names: Sequence[str]) -> list[Slice]:
    """Returns a slice for each name, the most frequent first, one for the rest, and one for images without a name."""
    counts = Counter(name for name in names if name)
    common = sorted(counts.most_common(_MOST_SLICES), key=lambda item: (-item[1], item[0]))
    places = {name: i for i, (name, _) in enumerate(common)}
    numbers = np.array([places.get(name, len(common) if name else -1) for name in names], np.int64)
    titles = [*(name for name, _ in common), f"{len(counts) - len(common):,} more"]
    found = [Slice(title, np.flatnonzero(numbers == i)) for i, title in enumerate(titles)]
    found.append(Slice(_NOT_NOTED, np.flatnonzero(numbers < 0)))
    return [one for one in found if len(one.images)]
