"""Reads and proves the images of some rows, several at a time."""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from converter import fingerprints, images, storage
from converter.fingerprints import Fingerprint
from converter.images import Image, ImageError, Preparation
from converter.matching import Source
from converter.rejects import Reason, Reject
from converter.rows import Row

_T = TypeVar("_T")
_R = TypeVar("_R")


# Images that one thread reads before it hands them over, and their bytes. On two threads an image of 16 kB takes 367 us
# of processor in batches of 1, 307 in batches of 8, 318 of 32, 322 of 128 (medians of three rounds, 4000 photographs).
_BATCH, _BATCH_BYTES = 32, 1 << 20


class Good(NamedTuple):
    """A row with its image, as it is stored."""

    row: Row
    image: Image
    fingerprint: Fingerprint


class _Proved(NamedTuple):
    row: Row
    image: Image
    digest: bytes
    views: NDArray[np.float64]


def read(sources: Iterable[Source], preparation: Preparation, num_threads: int) -> Iterator[list[Good | Reject]]:
    """Yields what becomes of each row, in order, some rows at a time.

    Args:
        sources: rows and the files that they name.
        preparation: what every image goes through.
        num_threads: batches of images that are read and decoded at a time; twice as many are held in memory.

    Raises:
        OSError: a store does not answer: most failures of one pass, and no image is to be lost to them.
    """
    work = functools.partial(_read_batch, preparation=preparation)
    if num_threads == 1:  # Two that take turns at the interpreter lock are slower than one.
        yield from map(work, _batches(sources))
        return
    with ThreadPoolExecutor(num_threads) as executor:
        yield from _map_in_order(executor, work, _batches(sources), window=2 * num_threads)


def _batches(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Cuts rows into batches of few bytes, of which one may be over the limit."""
    batch: list[Source] = []
    num_bytes = 0
    for source in sources:
        if batch and (len(batch) == _BATCH or num_bytes + source.file.size > _BATCH_BYTES):
            yield batch
            batch, num_bytes = [], 0
        batch.append(source)
        num_bytes += source.file.size
    if batch:
        yield batch


def _read_batch(sources: Sequence[Source], preparation: Preparation) -> list[Good | Reject]:
    found = [_read(source, preparation) for source in sources]
    proved = [one for one in found if isinstance(one, _Proved)]
    made = fingerprints.fingerprints(
        [one.row.filename for one in proved], [one.digest for one in proved], [one.views for one in proved]
    )
    each = iter(made)
    return [one if isinstance(one, Reject) else Good(one.row, one.image, next(each)) for one in found]


def _read(source: Source, preparation: Preparation) -> _Proved | Reject:
    row, path = source.row, source.file.path
    try:
        image = images.prepare(storage.read(path, preparation.max_bytes), preparation)
    except ImageError as error:
        return Reject(row.csv, row.line, row.filename, *error.args)
    except storage.FileTooLargeError as error:  # It has grown since it was listed.
        return Reject(row.csv, row.line, row.filename, Reason.TOO_LARGE, error.sentence)
    except OSError as error:
        if not storage.is_local(path):
            raise
        return Reject(row.csv, row.line, row.filename, Reason.UNREADABLE_FILE, error.strerror or str(error))
    return _Proved(row, image, fingerprints.digest(image.data), fingerprints.views(image.grey))


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
