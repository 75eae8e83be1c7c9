"""Reads one shard again, in full, and reports every fault in it."""

import dataclasses
import posixpath
from collections.abc import Callable, Iterator
from typing import NamedTuple

from converter.rejects import Reason
from multihot import storage
from multihot.errors import UserError
from multihot.images import decoders, headers, prove
from multihot.limits import DEFAULT, Limits
from multihot.printable import printable
from schemas import example
from schemas.example import Example
from schemas.metadata import ShardInfo
from schemas.statistics import Statistics
from schemas.tfrecord import RecordError, ShardReader


class Problem(NamedTuple):
    """A fault of a dataset.

    Attributes:
        path: of the file, relative to the dataset's folder.
        offset: of the faulty record in the file, bytes; None if the fault is not in one record.
        sentence: description of the fault.
    """

    path: str
    offset: int | None
    sentence: str

    def __str__(self) -> str:
        return printable(f"{self.path}{'' if self.offset is None else f' at byte {self.offset}'}: {self.sentence}")


@dataclasses.dataclass(kw_only=True)
class Checked:
    """The result of reading a shard.

    Attributes:
        shard: its entry in the manifest.
        statistics: of the examples that could be read.
        problems: the faults.
        filenames: of the examples that could be read, with the offsets of their records.
        index: the text that its index must have; None if the end of the shard was not reached.
        complete: whether all examples could be read, so that the statistics are complete.
    """

    shard: ShardInfo
    statistics: Statistics
    problems: list[Problem] = dataclasses.field(default_factory=list)
    filenames: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    index: str | None = None
    complete: bool = False

    def problem(self, sentence: str, offset: int | None = None) -> None:
        """Adds a fault of the shard, or of the record at an offset."""
        self.problems.append(Problem(self.shard.path, offset, sentence))


def check_shard(
    path: str,
    shard: ShardInfo,
    num_classes: int,
    decode: Callable[[str], bool],
    limits: Limits = DEFAULT,
    has_unknown: bool = False,
) -> Checked:
    """Reads a shard from its start to its end, once, and holds one record of it in memory at a time.

    Args:
        path: of the shard.
        shard: its entry in the manifest of the dataset.
        num_classes: of the dataset.
        decode: returns from the name of an image whether to decode it.
        limits: of an image.
        has_unknown: whether the records of the dataset have the feature `labels/known`.

    Returns:
        The result. A shard that cannot be read is a problem in it, and raises no error.

    Raises:
        UserError: there is not enough memory to decode an image, or a decoder fails for another reason than the image.
    """
    checked = Checked(shard=shard, statistics=Statistics(positives=(0,) * num_classes))
    try:
        with storage.open_binary(path) as file:
            reader = ShardReader(file, limits.max_record_bytes)
            for offset, payload in _records(reader, checked):
                _check_record(checked, offset, payload, num_classes, has_unknown, decode, limits)
    except OSError as error:
        checked.problem(f"cannot be read: {error}")
        return checked
    if reader.sha256 != shard.sha256:
        checked.problem(f"its sha256 is {reader.sha256}; the manifest says {shard.sha256}")
    if not reader.broken:
        _check_totals(checked, reader)
    return checked


def _records(reader: ShardReader, checked: Checked) -> Iterator[tuple[int, bytes]]:
    """Yields the intact records, and adds a problem for each of the others."""
    while True:
        try:
            yield next(reader)
        except RecordError as error:
            checked.problem(error.sentence, error.offset)
        except StopIteration:
            return


def _check_totals(checked: Checked, reader: ShardReader) -> None:
    checked.index = reader.index
    checked.complete = len(checked.filenames) == reader.num_examples
    for name, found in (("num_examples", reader.num_examples), ("num_bytes", reader.num_bytes)):
        if found != getattr(checked.shard, name):
            checked.problem(f"its {name} is {found}; the manifest says {getattr(checked.shard, name)}")


def _check_record(
    checked: Checked,
    offset: int,
    payload: bytes,
    num_classes: int,
    has_unknown: bool,
    decode: Callable[[str], bool],
    limits: Limits,
) -> None:
    try:
        one = example.decode(payload, num_classes, has_unknown)
        image_format = _image_format(one.image)
        if not _is_relative(one.filename):
            raise ValueError(f"the filename must be relative, with '/' and without '..'. Received: {one.filename!r}")
        if decode(one.filename):
            _check_image(one, limits)
    except UserError:  # The machine is the cause, and not the record.
        raise
    except ValueError as error:
        checked.problem(str(error), offset)
        return
    checked.filenames.append((one.filename, offset))
    checked.statistics += Statistics.of(
        labels=one.labels,
        image_format=image_format,
        height=one.height,
        width=one.width,
        image_bytes=len(one.image),
        example_bytes=len(payload),
        has_unknown=has_unknown,
    )


def _is_relative(filename: str) -> bool:
    normal = posixpath.normpath(filename) == filename and "\\" not in filename
    return normal and not filename.startswith("/") and ".." not in filename.split("/")


def _check_image(one: Example, limits: Limits) -> None:
    """Decodes an image as training does.

    Raises:
        ValueError: the image cannot be decoded, is too large, or has another size than in its record.
    """
    try:
        with decoders.told(repr(one.filename)):
            height, width = prove.size(one.image, limits.max_pixels)
    except headers.ImageError as error:
        verb = "was not" if error.args[0] == Reason.TOO_LARGE else "cannot be"
        raise ValueError(f"{one.filename!r} {verb} decoded: {error.args[1]}") from error
    if (one.height, one.width) != (height, width):
        raise ValueError(
            f"{one.filename!r} is {height} pixels high and {width} wide; its record says {one.height} and {one.width}"
        )


def _image_format(data: bytes) -> str:
    try:
        return headers.format_of(data)
    except headers.ImageError as error:
        raise ValueError(f"the image is of no format that is stored: {error.args[1]}") from error
