"""Opens the contents of a compressed table: gzip, bzip2, xz, Zstandard, or a ZIP archive with one CSV in it.

Contents are decompressed as they are read, so that a table of any size takes the memory of some blocks.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from converter.text import some
from multihot import storage
from multihot.errors import UserError

# First bytes of compressed files. Their names do not matter, since browsers and tools change endings.
_KINDS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_ZIP = b"PK\x03\x04"
# Exceptions of the decompressors for files that are damaged or end too early; pyarrow and bz2 raise OSError.
_DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError)
_BLOCK_BYTES = 1 << 16
# Longest line. A compressed file of a megabyte can hold a line that does not fit in memory.
_MAX_LINE_BYTES = 1 << 28
# Bytes of contents from which the size of all contents is estimated.
_SAMPLE_BYTES = 1 << 20


class Contents(io.RawIOBase):
    """The contents of a compressed file, as they are decompressed.

    Attributes:
        num_bytes: size of the contents, where the file tells; 0 otherwise.
    """

    def __init__(self, path: str, kind: str, source: Any, num_bytes: int = 0):
        self._path, self._kind, self._source, self.num_bytes = path, kind, source, num_bytes
        self._line_bytes = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads some bytes.

        Raises:
            UserError: the file is damaged, or a line is too long.
        """
        with _undamaged(self._path, self._kind):
            block = self._source.read(len(buffer))
        end = block.rfind(b"\n")
        self._line_bytes = len(block) - end - 1 if end >= 0 else self._line_bytes + len(block)
        if self._line_bytes > _MAX_LINE_BYTES:
            raise UserError(f"{self._path} is no table: a line has more than {_MAX_LINE_BYTES >> 20} MB.")
        buffer[: len(block)] = block
        return len(block)


@contextlib.contextmanager
def open_contents(path: str) -> Iterator[tuple[BinaryIO, bytes]]:
    """Opens a file, decompressed if it is compressed, and returns it with its first bytes.

    Raises:
        UserError: there is no such file, it cannot be opened or decompressed, or a ZIP archive has no or several CSVs.
    """
    with storage.open_file(path) as file:
        contents = _contents(path, file)
        if contents is None:
            yield file, _head(file)
        else:
            with io.BufferedReader(contents, _BLOCK_BYTES) as buffered:
                yield buffered, buffered.peek(512)


def content_bytes(path: str) -> int:
    """Returns the size of the contents of a file; that of a compressed file is estimated from its beginning."""
    with storage.open_file(path) as file:
        contents = _contents(path, file)
        if contents is None:
            return storage.size(path)
        if contents.num_bytes:
            return contents.num_bytes
        num_bytes = len(io.BufferedReader(contents, _BLOCK_BYTES).read(_SAMPLE_BYTES))
        if num_bytes < _SAMPLE_BYTES:
            return num_bytes
        return num_bytes * storage.size(path) // max(1, file.tell())


def _head(file: BinaryIO) -> bytes:
    head = file.read(512)
    file.seek(0)
    return head


def _contents(path: str, file: BinaryIO) -> Contents | None:
    """Returns the contents of a compressed file; None for a file that is not compressed, or is a workbook."""
    head = _head(file)
    if head.startswith(_ZIP):
        return _zipped(path, file)
    kind = next((kind for start, kind in _KINDS if head.startswith(start)), "")
    if not kind:
        return None
    with _undamaged(path, kind):
        return Contents(path, kind, _decompressed(kind, file))


def _decompressed(kind: str, file: BinaryIO) -> Any:
    match kind:
        case "gzip":
            return gzip.GzipFile(fileobj=file)
        case "bzip2":
            return bz2.BZ2File(file)
        case "xz":
            return lzma.LZMAFile(file)
        case _:
            return pa.CompressedInputStream(file, kind)


def _zipped(path: str, file: BinaryIO) -> Contents | None:
    with _undamaged(path, "ZIP"):
        archive = zipfile.ZipFile(file)
    names = archive.namelist()
    # Workbooks of Excel and of LibreOffice are ZIP archives with these files.
    if "[Content_Types].xml" in names or "mimetype" in names:
        file.seek(0)
        return None
    # macOS adds a folder with a hidden file for each file.
    files = [name for name in names if not name.endswith("/") and not posixpath.basename(name).startswith(".")]
    tables = [name for name in files if name.lower().endswith((".csv", ".tsv"))] or files
    if len(tables) != 1:
        raise UserError(
            f"{path} is a ZIP archive of {len(tables)} tables: {some(tables)}. Unpack it, and name one of them."
            if tables
            else f"{path} is a ZIP archive without a table."
        )
    with _undamaged(path, "ZIP"):
        return Contents(path, "ZIP", archive.open(tables[0]), archive.getinfo(tables[0]).file_size)


@contextlib.contextmanager
def _undamaged(path: str, kind: str) -> Iterator[None]:
    """Turns the errors of decompressors into UserError."""
    try:
        yield
    except _DAMAGED as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise UserError(
            f"{path} is compressed ({kind}) and cannot be decompressed: {reason}. Was all of it downloaded?"
        ) from error
