"""Finds connected components: groups of images that links connect, directly or through others.

links of indices -> components, fewest: within one task
links of names   -> Groups:             across tasks
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

# Links that Groups holds before it reduces them: less than 1 GB. Each band that two images share gives the same link,
# so all tasks together find up to seven times as many links as are needed.
_MAX_HELD = 4_000_000


class Links(NamedTuple):
    """Pairs of connected images: their names, str [n] and [n]."""

    ones: NDArray[np.object_]
    others: NDArray[np.object_]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yields the pairs of names."""
        return zip(self.ones.tolist(), self.others.tolist(), strict=True)


def components(ones: NDArray[np.intp], others: NDArray[np.intp], number: int) -> NDArray[np.int32]:
    """Returns the number of the group of each of `number` images, as the links connect them: int32 [number]."""
    graph = scipy.sparse.coo_array((np.ones(len(ones), np.int8), (ones, others)), (number, number))
    component: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return component


def fewest(links: NDArray[np.intp], number: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the fewest links that connect the same groups: from the first image of a group to each of the others."""
    group = components(links[0], links[1], number)
    _, first = np.unique(group, return_index=True)
    rest = np.flatnonzero(first[group] != np.arange(number))
    return first[group[rest]], rest


class Groups:
    """Groups of names that links of several tasks connect: the same for any order of links and merges."""

    def __init__(self) -> None:
        self._links: list[Links] = []
        self._num_links = 0
        self._max_links = _MAX_HELD

    def add(self, links: Links) -> None:
        """Adds links."""
        self._links.append(links)
        self._num_links += len(links.ones)
        if self._num_links > self._max_links:
            reduced = self._reduced()
            self._links, self._num_links = [reduced], len(reduced.ones)
            self._max_links = max(_MAX_HELD, 2 * self._num_links)

    def merge(self, other: "Groups") -> None:
        """Adds all links of other groups, which stay unchanged."""
        for links in other._links:
            self.add(links)

    def result(self) -> dict[str, str]:
        """Returns for each name the smallest name of its group."""
        firsts, names = self._reduced()
        return dict(zip(names.tolist(), firsts.tolist(), strict=True))

    def _reduced(self) -> Links:
        """Returns one link for each name: from the smallest name of its group."""
        ones, others = ([name for links in self._links for name in links[end].tolist()] for end in (0, 1))
        numbers = {name: number for number, name in enumerate(dict.fromkeys(itertools.chain(ones, others)))}
        first_ends, other_ends = (np.array([numbers[name] for name in ends], np.intp) for ends in (ones, others))
        group = components(first_ends, other_ends, len(numbers)).tolist()
        first: dict[int, str] = {}
        for number, name in zip(group, numbers, strict=True):
            if name <= first.setdefault(number, name):
                first[number] = name
        return Links(np.array([first[number] for number in group], object), np.array(list(numbers), object))
