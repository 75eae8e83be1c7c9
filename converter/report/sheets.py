"""Chooses the images on the contact sheets: of classes, of rare combinations of labels, of duplicates."""

import functools
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from converter.report import pictures
from converter.report.pictures import Place, SampledExample
from multihot import storage
from multihot.limits import Limits
from schemas.metadata import DatasetInfo

# A small picture has 5 kB, and all of them together 2 MB with thirty classes, 0.6 MB with five.
_OF_A_CLASS, _COMBINATIONS, _OF_A_COMBINATION, _GROUPS, _OF_A_GROUP = 8, 12, 3, 12, 4


class Picture(NamedTuple):
    """An image on a sheet.

    Attributes:
        filename: of the image.
        note: further text below the picture.
        place: of its record; None if it was not found.
    """

    filename: str
    note: str
    place: Place | None


class Sheet(NamedTuple):
    """Some images of a class, of a combination of labels, or of a group of duplicates.

    Attributes:
        title: names of the classes, or of the splits of the group.
        number: number of all images of the class, combination or group.
        pictures: some of these images.
    """

    title: tuple[str, ...]
    number: int
    pictures: list[Picture]


def of_classes(info: DatasetInfo, seen: Sequence[SampledExample], shown: Sequence[int]) -> list[Sheet]:
    """Returns a sheet for each class that is shown, with the first images of a sample."""
    numbers = info.statistics.positives
    sheets = {label: Sheet((info.classes[label],), numbers[label], []) for label in shown}
    for one in seen:
        for label in one.labels:
            if label in sheets:
                _add(sheets[label], one, _OF_A_CLASS)
    return list(sheets.values())


def of_rarest(info: DatasetInfo, seen: Sequence[SampledExample]) -> list[Sheet]:
    """Returns a sheet for each of the combinations of labels with the fewest images in a sample."""
    numbers = Counter(one.labels for one in seen)
    rarest = heapq.nsmallest(_COMBINATIONS, numbers, key=lambda labels: (numbers[labels], labels))
    sheets = {labels: Sheet(tuple(info.classes[i] for i in labels), numbers[labels], []) for labels in rarest}
    for one in seen:
        if one.labels in sheets:
            _add(sheets[one.labels], one, _OF_A_COMBINATION)
    return list(sheets.values())


def _add(sheet: Sheet, one: SampledExample, most: int) -> None:
    if len(sheet.pictures) < most:
        sheet.pictures.append(Picture(one.filename, one.split, one.place))


def of_duplicates(
    directory: str, info: DatasetInfo, rows: Iterable[dict[str, str]], limits: Limits
) -> tuple[list[Sheet], int]:
    """Returns a sheet for each of the first groups of duplicates, and the number of all groups.

    Args:
        directory: of the dataset.
        info: its manifest.
        rows: of duplicates.csv.
        limits: of an image.
    """
    num_groups = 0

    def groups() -> Iterator[list[dict[str, str]]]:
        nonlocal num_groups
        for _, group in itertools.groupby(rows, key=lambda row: row["group"]):
            num_groups += 1
            yield list(group)

    find = functools.partial(pictures.find, directory, info, limits)
    # Groups in several splits come first, since they make validation scores too high.
    chosen = heapq.nsmallest(_GROUPS, groups(), key=lambda group: len({row["split"] for row in group}) == 1)
    with storage.in_parallel(directory) as threads:
        # All are begun before any is waited for: in a store, each takes several requests, one after the other.
        begun = [_of_group(group, lambda split, name: threads.submit(find, split, name)) for group in chosen]
        return [each() for each in begun], num_groups


def _of_group(group: list[dict[str, str]], find: Callable[[str, str], Future[Place | None]]) -> Callable[[], Sheet]:
    first = {row["split"]: row for row in reversed(group)}
    ranked = sorted(group, key=lambda row: row is not first[row["split"]])  # An image of each split comes first.
    found = [(row, find(row["split"], row["filename"])) for row in ranked[:_OF_A_GROUP]]

    def sheet() -> Sheet:
        some = [Picture(row["filename"], f"{row['split']}, {row['kind']}", place.result()) for row, place in found]
        return Sheet(tuple(sorted(first)), len(group), some)

    return sheet
