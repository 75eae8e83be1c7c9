"""Lists the images of groups of duplicates, and counts those in several splits.

groups of names (components.py) -> Member -> duplicates.csv
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from converter.dataset.sorting import Sorted
from converter.duplicates.fingerprints import Fingerprint


class Member(NamedTuple):
    """An image in a group of duplicates.

    Attributes:
        group: the smallest file name of the group.
        filename: name of the image.
        split: its split.
        digest: digest of its file.
    """

    group: str
    filename: str
    split: str
    digest: bytes


def members(fingerprints: Iterable[Fingerprint], split: str, groups: Mapping[str, str]) -> Iterator[Member]:
    """Yields the images that are in a group.

    Args:
        fingerprints: of images, by their file names.
        split: of these images.
        groups: from each file name that has duplicates to the first file name of its group.
    """
    for one in fingerprints:
        if one.filename in groups:
            yield Member(groups[one.filename], one.filename, split, one.digest)


class Leaks(NamedTuple):
    """The number of duplicates in several splits.

    Attributes:
        num_groups: number of groups of duplicates with images in more than one split.
        num_images: number of images in these groups.
    """

    num_groups: int
    num_images: int


def leaks(members: Iterable[Member]) -> Leaks:
    """Counts the groups of duplicates that are in several splits, and their images.

    Args:
        members: of all groups, one group after the other.
    """
    num_groups = num_images = 0
    for group in _groups(members):
        if len({member.split for member in group}) > 1:
            num_groups, num_images = num_groups + 1, num_images + len(group)
    return Leaks(num_groups, num_images)


def rows(members: Iterable[Member]) -> Iterable[tuple[str, str, str, str]]:
    """Returns the rows of duplicates.csv: one for each image that has a duplicate, sorted by group and name.

    `kind` is `exact` if another image of the group has the same bytes, and `near` otherwise.

    Args:
        members: of all groups, sorted.
    """
    return Sorted(_rows(members))


def _rows(members: Iterable[Member]) -> Iterator[tuple[str, str, str, str]]:
    for group in _groups(members):
        # The first name of a group can be that of an image that was rejected later.
        first = group[0].filename
        copies = collections.Counter(member.digest for member in group)
        for member in group:
            kind = "exact" if copies[member.digest] > 1 else "near"
            yield first, member.filename, member.split, kind


def _groups(members: Iterable[Member]) -> Iterator[list[Member]]:
    for _, group in itertools.groupby(members, key=lambda member: member.group):
        listed = list(group)
        if len(listed) > 1:
            yield listed
