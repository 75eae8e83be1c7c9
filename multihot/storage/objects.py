"""Reads and writes the objects of stores: `gs://`, `s3://` and `az://`.

An object appears when it is complete, and not at all if its upload is cut off; so nothing is written under a temporary
name. Names are literal: `*`, `?` and `[` stand for themselves.
"""

import contextlib
import errno
import functools
import io
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from multihot.errors import UserError
from multihot.storage import connections
from multihot.storage.files import FileTooLargeError, StoreError

if TYPE_CHECKING:
    from obstore import Bytes, GetResult
    from obstore.store import ObjectStore

_T = TypeVar("_T")

# Bytes of a block in which a file is written. A store takes 10,000 blocks for a file, and none below 5 MB.
_BLOCK_BYTES = 8 << 20
# Bytes of the first block that is read of a file, and from each other place; the blocks after it double to the second
# number. So a record takes a short request, and a whole file few.
_FIRST_BYTES, _MOST_BYTES = 1 << 16, 8 << 20
# Objects that are copied at a time: a store copies them, and this machine waits.
_COPIES = 64
# Seconds before each further attempt after a connection broke. Obstore repeats what leads to no answer; but not what
# the store has begun to answer, and no request that it does not know to be harmless twice.
_PAUSES = (0.2, 1.0, 4.0)
_BROKEN = re.compile(r"(?!.*, after \d+ retries).*HTTP error: (?!builder error)", re.DOTALL)
# Objects that one request deletes.
_DELETED = 1000


class Object(NamedTuple):
    """Where an object is: its URL, the client of its bucket, and its key there."""

    url: str
    store: "ObjectStore"
    key: str


class Version(NamedTuple):
    """The version of an object: another one for each content that it has had."""

    e_tag: str | None
    version: str | None


def at(url: str) -> Object:
    """Returns where an object is, or a folder.

    Raises:
        UserError: there are no credentials for the store.
    """
    place = _unchecked(url)
    connections.check_credentials(url.partition("://")[0])
    return place


def _unchecked(url: str) -> Object:
    scheme, _, path = url.partition("://")
    name, _, key = path.partition("/")
    return Object(url, connections.bucket(scheme, name), key.strip("/"))


def _object_at(url: str) -> Object:
    """Returns where an object is. A request without its name would be one about the bucket."""
    place = at(url)
    if not place.key:
        raise StoreError(errno.EINVAL, "this is the name of a bucket, and of no object", url)
    return place


def check(url: str) -> None:
    """Checks that there is a client for a URL, without a request. See storage.check."""
    _unchecked(url)


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Raises errors of the client as errors of the system, with the URL in place of the client's words about it."""
    try:
        yield
    except Exception as error:
        raise _of_system(error, url) from error


def _of_system(error: Exception, url: str) -> Exception:
    """Returns the error of the system for an error of the client; any other error as it is."""
    from obstore import exceptions

    is_of_client = isinstance(error, OSError | ValueError | exceptions.BaseError) and not isinstance(error, UserError)
    if not is_of_client or getattr(error, "errno", None) is not None:
        return error
    # The type is that of the cause for some requests only: not for a listing, nor for a file that is being written.
    text, said = str(error), connections.sentence(error)
    if re.search(r"<Code>(NoSuchBucket|ContainerNotFound)<", text):
        return StoreError(errno.ENOENT, f"there is no such bucket: {said}", url)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", url)
    if isinstance(error, ValueError):  # A name with an empty folder, or with a control character.
        return StoreError(errno.EINVAL, f"no object can be opened by this name: {said}", url)
    if re.search(r"token request|://169\.254\.|/latest/api/token", text):
        return StoreError(errno.EACCES, f"there are no credentials for it: {said}", url)
    if re.search(r"status code: 40[13]\b", text):
        return StoreError(errno.EACCES, f"the store refuses access: {said}", url)
    return StoreError(errno.EIO, f"the store does not answer as it should: {said}", url)


def repeated(call: Callable[[], _T], url: str) -> _T:
    """Returns what a call returns, which is made again if the connection breaks.

    Raises:
        StoreError: the store refuses the request, or does not answer.
        FileNotFoundError: there is no such object.
    """
    pauses = list(_PAUSES)
    while True:
        # No context manager: it took 3 to 4 % of the processor time of an image (scripts/bench_store).
        try:
            return call()
        except Exception as error:
            if not pauses or not _BROKEN.match(str(error).partition("\n\n")[0]):
                raise _of_system(error, url) from error
        time.sleep(pauses.pop(0))


def size(url: str) -> int | None:
    """Returns the size of an object in bytes; None if there is none."""
    import obstore

    place = at(url)
    try:
        with _explained(url):
            return int(obstore.head(place.store, place.key)["size"]) if place.key else None
    except FileNotFoundError:
        return None


def read(url: str, max_bytes: int) -> bytes:
    """Returns the content of an object, by one request. See storage.read."""
    import obstore

    place = _object_at(url)

    def ask() -> "GetResult":
        result = obstore.get(place.store, place.key)
        if result.meta["size"] > max_bytes:
            raise FileTooLargeError(url, max_bytes)
        return result

    return _answer(ask, url)[1].to_bytes()


def _answer(ask: Callable[[], "GetResult"], url: str) -> tuple["GetResult", "Bytes"]:
    """Returns what a request answers, and makes it again if the answer is cut off."""

    def call() -> tuple["GetResult", "Bytes"]:
        result = ask()
        return result, result.bytes()

    return repeated(call, url)


def open_binary(url: str) -> BinaryIO:
    """Opens an object for reading, in blocks."""
    return io.BufferedReader(_Blocks(url), _FIRST_BYTES)


class _Blocks(io.RawIOBase):
    """An object as a file that can be read from any place. All of its bytes are of one version of the object."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._place, self._offset = _object_at(url), 0
        self._block, self._start, self._length = memoryview(b""), 0, _FIRST_BYTES
        # The first block says how many bytes there are, and of which version, so that a record takes one request.
        self._size, self._version = sys.maxsize, ""
        try:
            self._load(_FIRST_BYTES)
        except StoreError as error:
            # There is no first byte in an empty object.
            if not re.search("status code: 416|non-partial", str(error.__cause__)) or size(url) != 0:
                raise
            self._size = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        self._offset = max(0, base + offset)
        return self._offset

    def tell(self) -> int:
        return self._offset

    def readinto(self, buffer: Any) -> int:
        if self._offset >= self._size:
            return 0
        end = self._start + len(self._block)
        if not self._start <= self._offset < end:
            self._length = min(2 * self._length, _MOST_BYTES) if self._offset == end else _FIRST_BYTES
            self._load(max(self._length, len(buffer)))
        first = self._offset - self._start
        part = self._block[first : first + len(buffer)]
        buffer[: len(part)] = part
        self._offset += len(part)
        return len(part)

    def _load(self, length: int) -> None:
        """Reads a block from the present place."""
        start, stop = self._offset, min(self._offset + length, self._size)
        result, content = _answer(lambda: self._ask(start, stop), self._place.url)
        self._block, self._start = memoryview(content), start
        self._size, self._version = result.meta["size"], result.meta["e_tag"] or ""

    def _ask(self, start: int, end: int) -> "GetResult":
        import obstore
        from obstore import exceptions

        options: Any = {"range": (start, end), **({"if_match": self._version} if self._version else {})}
        try:
            return obstore.get(self._place.store, self._place.key, options=options)
        except exceptions.PreconditionError as error:
            raise StoreError(errno.ESTALE, "the object was replaced while it was read", self._place.url) from error


@contextlib.contextmanager
def create(url: str) -> Iterator[BinaryIO]:
    """Creates an object, which appears when it is complete. See storage.create."""
    import obstore

    place = _object_at(url)
    with _explained(url):
        writer = obstore.open_writer(place.store, place.key, buffer_size=_BLOCK_BYTES)
    yield _Writer(writer, url)  # type: ignore[misc]
    # Not after an exception: then nothing appears.
    with _explained(url):
        writer.close()


class _Writer(io.RawIOBase):
    """An object that is being written. To close it is for `create`, which does so when it is complete."""

    def __init__(self, writer: Any, url: str) -> None:
        super().__init__()
        self._writer, self._url = writer, url

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        with _explained(self._url):
            self._writer.write(content)
        return len(content)


def read_version(url: str) -> tuple[bytes, Version] | None:
    """Returns the content of a small object, and its version; None if there is no such object."""
    import obstore

    place = _object_at(url)
    try:
        result, content = _answer(lambda: obstore.get(place.store, place.key), url)
    except FileNotFoundError:
        return None
    return content.to_bytes(), Version(result.meta.get("e_tag"), result.meta.get("version"))


def replace_version(url: str, content: bytes, version: Version | None) -> Version | None:
    """Writes an object, if its version is still the given one; None stands for no object.

    Returns:
        The new version; None if the object has changed, and was left as it is. The content must be one that nobody
        else writes.
    """
    import obstore
    from obstore import exceptions

    place = _object_at(url)
    mode: Any = "create"
    if version:
        mode = {name: value for name, value in version._asdict().items() if value is not None}
    try:
        made = repeated(lambda: obstore.put(place.store, place.key, content, mode=mode), url)
    except FileNotFoundError:
        return None
    except StoreError as error:
        if not isinstance(error.__cause__, exceptions.AlreadyExistsError | exceptions.PreconditionError):
            raise
        # The answer to a first request may have been lost, which was then repeated.
        found = read_version(url)
        return found[1] if found and found[0] == content else None
    return Version(made["e_tag"], made["version"])


def copy(pairs: Iterable[tuple[str, str]]) -> None:
    """Copies objects within a bucket, several at a time, and replaces objects of the new names."""
    import obstore

    def copy_one(pair: tuple[str, str]) -> None:
        source, target = map(_object_at, pair)
        repeated(lambda: obstore.copy(source.store, source.key, target.key), source.url)

    with ThreadPoolExecutor(_COPIES) as executor:
        for _ in executor.map(copy_one, pairs):
            pass


def delete(urls: Collection[str]) -> None:
    """Deletes objects. Those that are not there are no error."""
    import obstore

    urls = list(urls)
    for batch in (urls[start : start + _DELETED] for start in range(0, len(urls), _DELETED)):
        places = list(map(at, batch))
        try:
            repeated(functools.partial(obstore.delete, places[0].store, [place.key for place in places]), batch[0])
        except FileNotFoundError:  # Some stores say so, and may have left others.
            for place in places:
                with contextlib.suppress(FileNotFoundError):
                    repeated(functools.partial(obstore.delete, place.store, place.key), place.url)
