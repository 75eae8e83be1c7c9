"""Writes one whole shard from its rows: one task, one file."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from converter import assignment, images, progress, storage
from converter.rejects import Reason, Reject
from converter.rows import Row
from schemas import example, layout
from schemas.metadata import ShardInfo
from schemas.statistics import Statistics
from schemas.tfrecord import ShardWriter

_T = TypeVar("_T")
_R = TypeVar("_R")


class Source(NamedTuple):
    """A row, and the file that it names."""

    row: Row
    file: storage.File


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What came of a shard.

    Attributes:
        split: name of its split.
        index: its place in the split, counted from 0 over all planned shards.
        shard: the shard, or None where every image of it was rejected: an empty file is never written.
        statistics: of its examples.
        rejects: rows whose image could not be used.
    """

    split: str
    index: int
    shard: ShardInfo | None
    statistics: Statistics
    rejects: tuple[Reject, ...]


def write_shard(
    directory: str, *, split: str, index: int, num_shards: int, sources: Iterable[Source], num_threads: int
) -> ShardResult:
    """Reads the images of a shard, proves them, and writes the shard and its index.

    Args:
        directory: of the dataset that is being put together.
        split: name of the split.
        index: of the shard in its split.
        num_shards: planned for the split.
        sources: the rows of the shard, at least one, in any order.
        num_threads: images read and decoded at a time; about twice as many are held in memory.

    Returns:
        What was written and what was rejected: the same for the same sources, whatever their order.

    Raises:
        OSError: the shard cannot be written.
    """
    ordered = sorted(sources, key=lambda source: (assignment.position(source.row.filename), source.row.filename))
    path = layout.shard(split, index, num_shards)
    statistics = Statistics(positives=(0,) * len(ordered[0].row.labels))
    rejects = []
    with ThreadPoolExecutor(num_threads) as executor, storage.create(f"{directory}/{path}") as file:
        writer = ShardWriter(file)
        for row, data, image in _map_in_order(executor, _read, ordered, window=2 * num_threads):
            if isinstance(image, images.ImageInfo):
                record = example.encode(
                    image=data, height=image.height, width=image.width, labels=row.labels, filename=row.filename
                )
                writer.write(record)
                statistics += Statistics.of(
                    labels=row.labels,
                    image_format=image.format,
                    height=image.height,
                    width=image.width,
                    image_bytes=len(data),
                    example_bytes=len(record),
                )
            else:
                rejects.append(Reject(row.line, row.filename, *image.args))
            progress.advance()
    if not writer.num_examples:
        storage.delete(f"{directory}/{path}")
        return ShardResult(split=split, index=index, shard=None, statistics=statistics, rejects=tuple(rejects))
    storage.write(f"{directory}/{layout.shard_index(path)}", writer.index)
    shard = ShardInfo(path=path, num_examples=writer.num_examples, num_bytes=writer.num_bytes, sha256=writer.sha256)
    return ShardResult(split=split, index=index, shard=shard, statistics=statistics, rejects=tuple(rejects))


def _read(source: Source) -> tuple[Row, bytes, images.ImageInfo | images.ImageError]:
    try:
        data = storage.read(source.file.path)
        return source.row, data, images.inspect(data)
    except images.ImageError as error:
        return source.row, b"", error
    except OSError as error:
        if not storage.is_local(source.file.path):
            raise  # Most failures of a store pass: the runner tries the shard again, and no image is lost to one.
        return source.row, b"", images.ImageError(Reason.UNREADABLE_FILE, error.strerror or str(error))


def _map_in_order(
    executor: ThreadPoolExecutor, function: Callable[[_T], _R], items: Sequence[_T], window: int
) -> Iterator[_R]:
    """Like `executor.map`, but never more than `window` items ahead: a shard of images need not fit in memory."""
    pending: collections.deque[Future[_R]] = collections.deque()
    for item in items:
        if len(pending) == window:
            yield pending.popleft().result()
        pending.append(executor.submit(function, item))
    while pending:
        yield pending.popleft().result()
