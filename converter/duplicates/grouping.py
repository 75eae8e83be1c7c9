"""Joins images that are the same or nearly the same into groups, and counts those in several splits.

fingerprints.py -> neighbours.py -> links -> Groups -> Member -> duplicates.csv
"""

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from converter.dataset.lists import DUPLICATES_COLUMNS, inert_csv
from converter.duplicates.fingerprints import Fingerprint


class Groups:
    """Which names are connected, directly or through others. The same for links in any order, however merged."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}  # No name's parent is greater than the name.

    def add(self, one: str, other: str) -> None:
        """Connects two names."""
        first, second = self._root(one), self._root(other)
        if first > second:
            first, second = second, first
        self._parent[second] = first

    def merge(self, other: "Groups") -> None:
        """Takes all connections of another one in, which stays as it is."""
        for name, parent in other._parent.items():
            self.add(name, parent)

    def result(self) -> dict[str, str]:
        """Returns for each name that was added the smallest of its group, sorted by name."""
        return {name: self._root(name) for name in sorted(self._parent)}

    def _root(self, name: str) -> str:
        parent = self._parent
        above = parent.setdefault(name, name)
        while above != name:
            parent[name] = above = parent[above]  # Halves the path for the next one.
            name, above = above, parent[above]
        return name


class Member(NamedTuple):
    """An image of a group of duplicates.

    Attributes:
        group: the smallest file name of the group.
        filename: of the image.
        split: that it is in.
        digest: of its file.
    """

    group: str
    filename: str
    split: str
    digest: bytes


def located(one: Fingerprint, split: str) -> Fingerprint:
    """Returns a fingerprint under a name that tells all that a Member is made of; such names sort as file names do."""
    return one._replace(filename="\0".join((one.filename, split, one.digest.hex())))


def filename(one: Fingerprint) -> str:
    """Returns the name of a fingerprint as it was before it was `located`."""
    return one.filename.split("\0")[0]


def members(groups: Mapping[str, str]) -> Iterator[Member]:
    """Yields the members of groups of `located` fingerprints."""
    for name, first in groups.items():
        filename, split, digest = name.split("\0")
        yield Member(first.split("\0")[0], filename, split, bytes.fromhex(digest))


class Leaks(NamedTuple):
    """What is wrong with the splits.

    Attributes:
        num_groups: groups of duplicates that are in more than one split.
        num_images: images of those groups.
    """

    num_groups: int
    num_images: int


def leaks(members: Iterable[Member]) -> Leaks:
    """Counts the duplicates that are in several splits."""
    sizes = [len(group) for group in _groups(members) if len({member.split for member in group}) > 1]
    return Leaks(len(sizes), sum(sizes))


def to_csv(members: Iterable[Member]) -> str:
    """Returns the text of duplicates.csv: a line for each image that has a duplicate, sorted by group and name.

    `kind` is `exact` where another image of the group has the same bytes, and `near` where none has.
    """
    rows = []
    for group in _groups(members):
        copies = collections.Counter(member.digest for member in group)
        for member in group:
            kind = "exact" if copies[member.digest] > 1 else "near"
            rows.append((member.group, member.filename, member.split, kind))
    return inert_csv(DUPLICATES_COLUMNS, rows)


def _groups(members: Iterable[Member]) -> Iterator[list[Member]]:
    for _, group in itertools.groupby(sorted(members), key=lambda member: member.group):
        listed = list(group)
        if len(listed) > 1:
            yield listed
