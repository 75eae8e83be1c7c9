"""Counts the examples of a shard, a split or a whole dataset.

All counts are integers and sums, so that the sum over shards is the same for any order and any number of workers.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Self

from schemas import typed
from schemas.example import UNKNOWN

# The name of the most common format in `Statistics.formats`, which training decodes by an operation of its own.
JPEG = "jpeg"


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, extremes and the first two moments of a series of integers, without the series.

    Attributes:
        count: number of values.
        total: their sum.
        squares: the sum of their squares.
        minimum: the smallest; 0 if there are no values.
        maximum: the largest; 0 if there are no values.
    """

    count: int = 0
    total: int = 0
    squares: int = 0
    minimum: int = 0
    maximum: int = 0

    @classmethod
    def of(cls, value: int) -> Self:
        """Returns the moments of one value."""
        return cls(1, value, value * value, value, value)

    @classmethod
    def of_all(cls, values: Sequence[int]) -> Self:
        """Returns the moments of several values."""
        if not values:
            return cls()
        return cls(len(values), sum(values), sum(value * value for value in values), min(values), max(values))

    def __add__(self, other: "Moments") -> "Moments":
        if not self.count or not other.count:
            return self if self.count else other
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    @property
    def mean(self) -> float:
        """The mean; 0.0 if there are no values."""
        return self.total / self.count if self.count else 0.0

    @property
    def standard_deviation(self) -> float:
        """The population's standard deviation."""
        if not self.count:
            return 0.0
        # One division of exact integers: as floats, the difference of large squares would lose its digits.
        return math.sqrt((self.count * self.squares - self.total**2) / self.count**2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """The counts of a set of examples.

    Attributes:
        positives: for each class, the number of examples that are known to have it.
        unknown: for each class, the number of examples of which it is not known whether they have it; empty where the
            records have no feature `labels/known`.
        formats: number of images of each format, e.g. `{"jpeg": 2000}`.
        height: of the decoded images, pixels.
        width: of the decoded images, pixels.
        pixels: height * width of the decoded images.
        image_bytes: size of the encoded images.
        example_bytes: size of the serialized records, without framing.
        oriented: number of images to which their EXIF orientation was applied.
        resized: number of images that were made smaller.
        rescaled: number of images of 16 bits whose values were mapped to the range of 8 bits.
        transparent: number of images with transparency, which were laid on a background.
    """

    positives: tuple[int, ...]
    formats: Mapping[str, int] = dataclasses.field(default_factory=dict)
    height: Moments = Moments()
    width: Moments = Moments()
    pixels: Moments = Moments()
    image_bytes: Moments = Moments()
    example_bytes: Moments = Moments()
    oriented: int = 0
    resized: int = 0
    rescaled: int = 0
    unknown: tuple[int, ...] = dataclasses.field(default=(), metadata=typed.SPARSE)
    transparent: int = dataclasses.field(default=0, metadata=typed.SPARSE)

    @classmethod
    def of(
        cls,
        *,
        labels: Sequence[int],
        image_format: str,
        height: int,
        width: int,
        image_bytes: int,
        example_bytes: int,
        oriented: bool = False,
        resized: bool = False,
        rescaled: bool = False,
        transparent: bool = False,
        has_unknown: bool = False,
    ) -> Self:
        """Returns the statistics of one example."""
        return cls.of_all(
            labels=[labels],
            formats=[image_format],
            heights=[height],
            widths=[width],
            image_bytes=[image_bytes],
            example_bytes=[example_bytes],
            oriented=[oriented],
            resized=[resized],
            rescaled=[rescaled],
            transparent=[transparent],
            has_unknown=has_unknown,
        )

    @classmethod
    def of_all(
        cls,
        *,
        labels: Sequence[Sequence[int]],
        formats: Sequence[str],
        heights: Sequence[int],
        widths: Sequence[int],
        image_bytes: Sequence[int],
        example_bytes: Sequence[int],
        oriented: Sequence[bool],
        resized: Sequence[bool],
        rescaled: Sequence[bool] = (),
        transparent: Sequence[bool] = (),
        has_unknown: bool = False,
    ) -> Self:
        """Returns the statistics of one or more examples: faster than the sum of `of` for each.

        Labels may be UNKNOWN only with `has_unknown`, which says whether the records have the feature `labels/known`.
        """
        columns = tuple(zip(*labels, strict=True))
        return cls(
            positives=tuple(column.count(1) for column in columns) if has_unknown else tuple(map(sum, columns)),
            formats=dict(sorted(Counter(formats).items())),
            height=Moments.of_all(heights),
            width=Moments.of_all(widths),
            pixels=Moments.of_all([height * width for height, width in zip(heights, widths, strict=True)]),
            image_bytes=Moments.of_all(image_bytes),
            example_bytes=Moments.of_all(example_bytes),
            oriented=sum(oriented),
            resized=sum(resized),
            rescaled=sum(rescaled),
            unknown=tuple(column.count(UNKNOWN) for column in columns) if has_unknown else (),
            transparent=sum(transparent),
        )

    @property
    def num_examples(self) -> int:
        """The number of examples."""
        return self.example_bytes.count

    @property
    def num_bytes(self) -> int:
        """The size of all records in bytes, without framing."""
        return self.example_bytes.total

    def __add__(self, other: "Statistics") -> "Statistics":
        formats = {*self.formats, *other.formats}
        return Statistics(
            positives=tuple(a + b for a, b in zip(self.positives, other.positives, strict=True)),
            formats={name: self.formats.get(name, 0) + other.formats.get(name, 0) for name in sorted(formats)},
            height=self.height + other.height,
            width=self.width + other.width,
            pixels=self.pixels + other.pixels,
            image_bytes=self.image_bytes + other.image_bytes,
            example_bytes=self.example_bytes + other.example_bytes,
            oriented=self.oriented + other.oriented,
            resized=self.resized + other.resized,
            rescaled=self.rescaled + other.rescaled,
            # One of the two may have counted nothing yet.
            unknown=tuple(a + b for a, b in zip(self.unknown, other.unknown, strict=True))
            if self.unknown and other.unknown
            else self.unknown or other.unknown,
            transparent=self.transparent + other.transparent,
        )
