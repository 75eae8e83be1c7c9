"""Reads and proves the images of some rows, several at a time."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from converter import duplicates, images, storage
from converter.duplicates import Fingerprint
from converter.images import Image, ImageError, Preparation
from converter.matching import Source
from converter.rejects import Reason, Reject
from converter.rows import Row

_T = TypeVar("_T")
_R = TypeVar("_R")


class Good(NamedTuple):
    """A row with its image, as it is stored: without its pixels, which are large."""

    row: Row
    image: Image
    fingerprint: Fingerprint


def read(sources: Iterable[Source], preparation: Preparation, num_threads: int) -> Iterator[Good | Reject]:
    """Yields what becomes of each row, in order.

    Args:
        sources: rows and the files that they name.
        preparation: what every image goes through.
        num_threads: images read and decoded at a time; about twice as many are held in memory.

    Raises:
        OSError: a store does not answer: most failures of one pass, and no image is to be lost to them.
    """
    with ThreadPoolExecutor(num_threads) as executor:
        yield from _map_in_order(executor, lambda source: _read(source, preparation), sources, window=2 * num_threads)


def _read(source: Source, preparation: Preparation) -> Good | Reject:
    row, path = source.row, source.file.path
    try:
        image = images.prepare(storage.read(path), preparation)
        # While there are pixels: decoding them again would cost more than all the rest.
        fingerprint = duplicates.fingerprint(row.filename, image.data, image.pixels)
        return Good(row, image._replace(pixels=images.NO_PIXELS), fingerprint)
    except ImageError as error:
        return Reject(row.csv, row.line, row.filename, *error.args)
    except OSError as error:
        if not storage.is_local(path):
            raise
        return Reject(row.csv, row.line, row.filename, Reason.UNREADABLE_FILE, error.strerror or str(error))


def _map_in_order(
    executor: ThreadPoolExecutor, function: Callable[[_T], _R], items: Iterable[_T], window: int
) -> Iterator[_R]:
    """Like `executor.map`, but never more than `window` items ahead: a shard of images need not fit in memory."""
    pending: collections.deque[Future[_R]] = collections.deque()
    for item in items:
        if len(pending) == window:
            yield pending.popleft().result()
        pending.append(executor.submit(function, item))
    while pending:
        yield pending.popleft().result()
