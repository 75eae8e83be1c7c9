"""Defines ConversionResult, the results of all steps before the commit, and makes the manifest of them."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Self

from converter.dataset.sorting import Sorted
from converter.duplicates import grouping
from converter.duplicates.grouping import Member
from converter.options import ConvertOptions
from converter.rejects import Damaged, Reject
from converter.shards.writing import ShardResult
from multihot.images.prove import JPEG_QUALITY
from schemas import layout
from schemas.metadata import DatasetInfo, ShardInfo, SplitInfo
from schemas.statistics import Statistics

# Up to so many files, and up to this share of them, may have rows of different labels by mistake. If more do, the rows
# are parts of the labels of an image: without these files, images with one label alone would be left.
_FEW, _FEW_OF = 2, Fraction(1, 100)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionResult:
    """The results of all steps before the commit.

    Attributes:
        results: the result of every shard, by split and index, without its rejects.
        rejects: all rejected rows, in the order of the CSV.
        num_rows: number of rows in the CSV, counted by the step that reads them.
        unlisted: names of the files in the folder of images that no row names.
        duplicates: images that are the same as others or nearly the same, by group and name.
        damaged: the rows whose image is damaged and was kept, in the order of the CSV.
        num_differing: number of files whose rows differ in their labels alone.
        num_merged: number of rows that have been merged with others.
        num_augmented: number of images that have augmented versions in several splits.
        num_corrected: number of labels that were corrected.
        num_embedded: number of images that have a row in the file of features.
        num_featured: number of rows of that file.
    """

    results: tuple[ShardResult, ...]
    rejects: Sorted[Reject]
    num_rows: int
    unlisted: Sorted[str]
    duplicates: Sorted[Member]
    damaged: Sorted[Damaged]
    num_differing: int = 0
    num_merged: int = 0
    num_augmented: int = 0
    num_corrected: int = 0
    num_embedded: int = 0
    num_featured: int = 0

    @classmethod
    def of(
        cls,
        *,
        results: Iterable[ShardResult],
        rejects: Iterable[Reject],
        num_rows: int,
        unlisted: Iterable[str] = (),
        duplicates: Iterable[Member] = (),
        damaged: Iterable[Damaged] = (),
        num_differing: int = 0,
        num_merged: int = 0,
        num_augmented: int = 0,
        num_corrected: int = 0,
        num_embedded: int = 0,
        num_featured: int = 0,
    ) -> Self:
        """Sorts what runners deliver in any order. Rows that are still in results are put to the others."""
        results = tuple(sorted(results, key=lambda result: (result.split, result.index)))
        return cls(
            results=tuple(result.without_rows() for result in results),
            rejects=Sorted(itertools.chain(rejects, *(result.rejects for result in results))),
            num_rows=num_rows,
            unlisted=Sorted(unlisted),
            duplicates=Sorted(duplicates),
            damaged=Sorted(itertools.chain(damaged, *(result.damaged for result in results))),
            num_differing=num_differing,
            num_merged=num_merged,
            num_augmented=num_augmented,
            num_corrected=num_corrected,
            num_embedded=num_embedded,
            num_featured=num_featured,
        )

    @property
    def num_examples(self) -> int:
        """The number of examples in all shards."""
        return sum(result.provenance.statistics.num_examples for result in self.results)

    @property
    def has_row_for_each_label(self) -> bool:
        """Whether the table seems to have a row for each label: more than a few files have rows of different labels."""
        number = self.num_differing
        return number > _FEW and number > _FEW_OF * (self.num_examples + number)

    @property
    def shards(self) -> dict[str, int]:
        """The number of shards that were written, and of those that were reused from an earlier run."""
        reused = sum(result.reused for result in self.results)
        return {"written": len(self.results) - reused, "reused": reused}


def final(conversion_result: ConversionResult) -> Iterator[tuple[ShardResult, ShardInfo]]:
    """Yields each result that has a shard, with the shard under its final number: empty shards leave no gap."""
    for _, group in itertools.groupby(conversion_result.results, key=lambda result: result.split):
        written = [(result, result.shard) for result in group if result.shard]
        for i, (result, shard) in enumerate(written):
            yield result, dataclasses.replace(shard, path=layout.shard(result.split, i, len(written)))


def info(options: ConvertOptions, classes: tuple[str, ...], conversion_result: ConversionResult) -> DatasetInfo:
    """Returns the content of the manifest.

    Args:
        options: of the conversion.
        classes: in the order of the label vector.
        conversion_result: the results of all steps.
    """
    written = list(final(conversion_result))
    order = options.split_order
    # Splits without images are left out. The order is the one of the flags, or by name if a column holds the names.
    names = {result.split for result, _ in written}
    splits = []
    for name in sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name)):
        mine = [(result.provenance.statistics, shard) for result, shard in written if result.split == name]
        statistics = sum((statistics for statistics, _ in mine), Statistics(positives=(0,) * len(classes)))
        splits.append(SplitInfo(name=name, shards=tuple(shard for _, shard in mine), statistics=statistics))
    encoded_anew = conversion_result.damaged or any(
        split.statistics.oriented or split.statistics.resized for split in splits
    )
    return DatasetInfo(
        name=options.name,
        version=options.version,
        classes=classes,
        splits=tuple(splits),
        rejects=dict(sorted(Counter(reject.reason.value for reject in conversion_result.rejects).items())),
        unlisted=len(conversion_result.unlisted),
        leaks=grouping.leaks(conversion_result.duplicates)._asdict(),
        resize_shorter=options.resize_shorter,
        jpeg_quality=JPEG_QUALITY if encoded_anew else 0,
        damaged=len(conversion_result.damaged),
        background=options.background if any(split.statistics.transparent for split in splits) else "",
        merged_rows=conversion_result.num_merged,
        augmented=conversion_result.num_augmented,
        corrected=conversion_result.num_corrected,
        featured=conversion_result.num_embedded,
        unused_features=conversion_result.num_featured - conversion_result.num_embedded,
    )
