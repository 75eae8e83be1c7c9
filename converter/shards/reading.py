"""Reads and proves the images of some rows, several at a time.

A row is rejected if its image cannot be used because of its file or the bytes in it. If the cause is the machine
(memory, open files, a network), rejecting the row would lose a good image, and another run would reject other rows. So
the image is read again a few times, and then the run fails.
"""

import collections
import contextlib
import errno
import functools
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from converter.duplicates import fingerprints, lookalikes
from converter.duplicates.fingerprints import Fingerprint
from converter.duplicates.lookalikes import Picture
from converter.options import ConvertOptions
from converter.rejects import Reason, Reject
from converter.shards.batches import Batch
from converter.shards.matching import Source
from converter.table.row import Row
from multihot import storage
from multihot.errors import UserError
from multihot.images import prove
from multihot.images.background import parse_colour
from multihot.images.decoders import DecoderError
from multihot.images.prove import Image, ImageError, Preparation
from multihot.storage import ahead

_T = TypeVar("_T")
_R = TypeVar("_R")

# A source, and a function that returns the content of its file, or raises what storage.read does.
_Item = tuple[Source, Callable[[], bytes]]


# Images, and their bytes, in a batch that one thread reads. On two threads an image of 16 kB takes 367 us of processor
# time in batches of 1, 307 in batches of 8, 318 in 32, 322 in 128 (medians of three rounds, 4000 photographs).
_BATCH, _BATCH_BYTES = 32, 1 << 20
# Bytes of all batches that one process holds in memory: without a limit, 200 threads of large images could hold any
# number.
_AHEAD_BYTES = 1 << 28


# Seconds before each further attempt to read an image.
_PAUSES = (0.1, 0.5, 2.0, 4.0)
# Error numbers whose cause is the file. All other errors are of the machine, and fail the run.
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR))  # Removed, or its folder was, since the folder was listed.
_UNREADABLE = frozenset(
    (
        errno.EACCES,  # Its permissions,
        errno.EPERM,  # or other rights.
        errno.EISDIR,  # It has become a folder,
        errno.ENXIO,  # a socket,
        errno.ELOOP,  # a link in a circle,
        errno.ENAMETOOLONG,  # or a link with a long target.
        errno.EIO,  # The disk cannot read these bytes,
        errno.EBADMSG,  # their checksum is wrong,
        getattr(errno, "EUCLEAN", errno.EIO),  # or what the file system notes of the file is.
    )
)
_GOES_ON = (
    "It is not rejected, since it may be sound. Finished shards are kept: the same command continues with the others"
)


class PreparedRow(NamedTuple):
    """A row with its image in the form in which it is stored."""

    row: Row
    image: Image
    fingerprint: Fingerprint


class _Proved(NamedTuple):
    row: Row
    image: Image
    digest: bytes
    views: NDArray[np.float64]


def preparation(options: ConvertOptions) -> Preparation:
    """Returns the settings for every image of a conversion."""
    return Preparation(
        max_pixels=options.max_pixels,
        max_bytes=options.max_image_bytes,
        resize_shorter=options.resize_shorter,
        keep_damaged=options.keep_damaged,
        rescale_16bit=options.rescale_16bit,
        background=parse_colour(options.background),
    )


def read(sources: Iterable[Source], preparation: Preparation, num_threads: int) -> Iterator[list[PreparedRow | Reject]]:
    """Yields each row with its image, or as a Reject: in order, in lists of several rows.

    Args:
        sources: rows and the files that they name.
        preparation: settings for every image.
        num_threads: batches of images that are read and decoded at a time; up to twice as many are held in memory.

    Raises:
        UserError: an image cannot be read or decoded because of the machine or of the store.
    """
    work = functools.partial(_read_batch, preparation=preparation)
    with contextlib.ExitStack() as stack:
        # After an error, requests that have not begun are of no use.
        batches = _batches(stack.enter_context(contextlib.closing(_contents(sources, preparation.max_bytes))))
        if num_threads == 1:  # A second thread would compete with this one for the interpreter lock.
            yield from map(work, batches)
            return
        executor = stack.enter_context(ThreadPoolExecutor(num_threads))
        yield from _map_in_order(executor, work, batches, 2 * num_threads, num_bytes=_num_bytes)


def _contents(sources: Iterable[Source], max_bytes: int) -> Generator[_Item]:
    """Yields each source with a function that returns the content of its file."""
    sources = iter(sources)
    first = next(sources, None)
    if first is None:
        return
    sources = itertools.chain([first], sources)
    if storage.is_local(first.file.path):
        for source in sources:
            yield source, functools.partial(storage.read, source.file.path, max_bytes)
        return
    yield from ahead.read(sources, lambda source: source.file, max_bytes)


def pictured(
    names: Sequence[str], sources: Sequence[Source], preparation: Preparation, num_threads: int
) -> Batch[tuple[Fingerprint, Picture]]:
    """Reads images a second time, and returns the fingerprints of drawings, under the given names, with their pictures.

    Images that are no drawings are left out, and so are images that cannot be read any more.

    Args:
        names: names for the fingerprints.
        sources: rows and the files that they name.
        preparation: as in `read`.
        num_threads: as in `read`.

    Raises:
        UserError: as in `read`.
    """
    found = itertools.chain.from_iterable(read(sources, preparation, num_threads))
    pairs = Batch[tuple[Fingerprint, Picture]]()
    for name, one in zip(names, found, strict=True):
        if not isinstance(one, Reject):
            picture = lookalikes.picture(one.image)
            if picture:
                pairs.append((one.fingerprint._replace(filename=name), picture))
    return pairs


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Cuts rows into batches of at most _BATCH images and _BATCH_BYTES; one larger image is a batch alone."""
    batch: list[_Item] = []
    num_bytes = 0
    for item in items:
        size = item[0].file.size
        if batch and (len(batch) == _BATCH or num_bytes + size > _BATCH_BYTES):
            yield batch
            batch, num_bytes = [], 0
        batch.append(item)
        num_bytes += size
    if batch:
        yield batch


def _num_bytes(batch: Sequence[_Item]) -> int:
    return sum(source.file.size for source, _ in batch)


def _read_batch(batch: Sequence[_Item], preparation: Preparation) -> list[PreparedRow | Reject]:
    found = [_read(source, load, preparation) for source, load in batch]
    proved = [one for one in found if isinstance(one, _Proved)]
    made = fingerprints.fingerprints(
        [one.row.filename for one in proved], [one.digest for one in proved], [one.views for one in proved]
    )
    each = iter(made)
    return [one if isinstance(one, Reject) else PreparedRow(one.row, one.image, next(each)) for one in found]


def _read(source: Source, load: Callable[[], bytes], preparation: Preparation) -> _Proved | Reject:
    row, path = source.row, source.file.path
    pauses = list(_PAUSES)
    while True:
        try:
            image = prove.prepare(load(), preparation)
            return _Proved(row, image, fingerprints.digest(image.data), fingerprints.views(image.grey))
        except ImageError as error:
            return Reject(row.csv, row.line, row.filename, *error.args)
        except storage.FileTooLargeError as error:  # The file has grown since it was listed.
            return Reject(row.csv, row.line, row.filename, Reason.TOO_LARGE, error.sentence)
        except storage.StoreError as error:
            # The request has been repeated, and the cause is no file.
            raise UserError(f"{path} cannot be read: {error.strerror}. {_GOES_ON}") from error
        except (MemoryError, DecoderError, OSError) as error:
            rejected = _rejection(error)
            # Reading a disk may succeed after a moment. Other errors of a file, such as permissions, stay.
            if rejected and (not pauses or getattr(error, "errno", None) != errno.EIO):
                return Reject(row.csv, row.line, row.filename, *rejected)
            if not pauses:
                raise UserError(_sentence(error, path)) from error
        time.sleep(pauses.pop(0))


def _rejection(error: Exception) -> tuple[Reason, str] | None:
    """Returns the reason and a detail if the file is the cause of an error; None if the machine is."""
    if isinstance(error, OSError) and error.errno in _GONE:
        return Reason.MISSING_FILE, "the file was there when the folder was listed, and is gone"
    if isinstance(error, OSError) and error.errno in _UNREADABLE:
        return Reason.UNREADABLE_FILE, error.strerror or str(error)
    return None


def _sentence(error: Exception, path: str) -> str:
    """Returns the message for an image that cannot be read: the cause, and what to do."""
    number = getattr(error, "errno", None)
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        todo = "There is not enough memory to read and decode it. Free some, or read fewer at a time: --num_threads=1"
    elif number in (errno.EMFILE, errno.ENFILE):
        todo = "Allow more open files (ulimit -n), or read fewer at a time: --num_threads=1"
    else:
        todo = "Look at the disk or the network"
    return f"{path} cannot be used, in {len(_PAUSES) + 1} attempts: {words}. {todo}. {_GOES_ON}"


def _map_in_order(
    executor: ThreadPoolExecutor,
    function: Callable[[_T], _R],
    items: Iterable[_T],
    window: int,
    num_bytes: Callable[[_T], int] = lambda item: 0,
) -> Iterator[_R]:
    """Yields the results of a function in order, like `executor.map`, but calls it for few items ahead.

    A shard of images need not fit in memory.

    Args:
        executor: runs the calls.
        function: called with each item.
        items: the arguments.
        window: largest number of calls that run, or whose results wait, at a time.
        num_bytes: from an item to its size; the items of these calls have up to _AHEAD_BYTES, unless there is only one.
    """
    pending: collections.deque[tuple[Future[_R], int]] = collections.deque()
    held = 0
    for item in items:
        size = num_bytes(item)
        while pending and (len(pending) == window or held + size > _AHEAD_BYTES):
            future, done = pending.popleft()
            held -= done
            yield future.result()
        pending.append((executor.submit(function, item), size))
        held += size
    while pending:
        yield pending.popleft()[0].result()
