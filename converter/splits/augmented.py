"""Recognizes the names of augmented versions of one image, and counts those in several splits.

Exporters write several versions of an image (sheared, turned, brighter) as files of their own, with a hash in each
name: NAME_jpg.rf.6e9487c1c77ad8c8.jpg. A validation image of which training has another version measures nothing.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

_VERSION = re.compile(r"(.+)\.rf\.[0-9A-Za-z]{8,}(?:\.\w+)?")


def original(filename: str) -> str | None:
    """Returns the part of a name that all versions of an image share; None if it is no name of a version."""
    if ".rf." not in filename:  # Most names end here.
        return None
    found = _VERSION.fullmatch(filename)
    return found[1] if found else None


def group_flag() -> str:
    """Returns the flag that keeps the versions of each image in one split."""
    return r"--group_pattern='(.*)\.rf\.'"


def num_split(versions: Iterable[tuple[str, str]]) -> int:
    """Returns the number of images that have versions in several splits.

    Args:
        versions: pairs of the name of an image, from `original`, and the split of a version.
    """
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for name, split in versions:
        splits[name].add(split)
    return sum(len(each) > 1 for each in splits.values())
