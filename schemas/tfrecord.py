"""Writes and reads shards, and the text of their indexes.

A shard is a sequence of records and nothing else, each framed as TFRecord frames it (little endian):

    +----------------+--------------------+-----------------+----------------------+
    | length  uint64 | masked crc of the  | payload         | masked crc of the    |
    |                | length      uint32 | `length` bytes  | payload       uint32 |
    +----------------+--------------------+-----------------+----------------------+
    ^ offset                              12                12 + length            16 + length = size of the record

Its index has a line `<offset> <size>` for each record, the format of DALI's `tfrecord2idx` and of PyPI `tfrecord`.

`tf.io.TFRecordWriter` is not used, since a shard is written to any file system of Beam, and since offset, size and
digest are known here without reading the shard again. Programs that look for damage read shards by this module, since
TensorFlow does not report the offset of damage.
"""

import hashlib
import io
import struct
from typing import BinaryIO, Self

import google_crc32c

FRAMING_BYTES = 16
# The longest message of protobuf: a longer record could not be parsed.
MAX_RECORD_BYTES = (1 << 31) - 1

_HEADER_BYTES, _CRC_BYTES = 12, 4
_BLOCK_BYTES = 1 << 20


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    # Masked, since a crc of bytes that contain crcs is weak (the reason that the log format of LevelDB gives).
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class _Shard:
    """Counts the records of a shard for its manifest entry, and collects its index.

    Attributes:
        num_examples: number of records so far.
        num_bytes: size of their payloads, without framing; numBytes in tensorflow-datasets.
    """

    def __init__(self) -> None:
        self.num_examples = 0
        self.num_bytes = 0
        self._sha256 = hashlib.sha256()
        self._index: list[str] = []

    @property
    def file_bytes(self) -> int:
        """The size of the records so far with framing, which is the offset of the next one."""
        return self.num_bytes + self.num_examples * FRAMING_BYTES

    @property
    def sha256(self) -> str:
        """The hex digest of the file so far."""
        return self._sha256.hexdigest()

    @property
    def index(self) -> str:
        """The text of the shard's index."""
        return "".join(self._index)

    def _count(self, payload_bytes: int) -> None:
        self._index.append(f"{self.file_bytes} {payload_bytes + FRAMING_BYTES}\n")
        self.num_examples += 1
        self.num_bytes += payload_bytes


class ShardWriter(_Shard):
    """Writes records to an open file, and collects their manifest entry and index."""

    def __init__(self, file: BinaryIO):
        super().__init__()
        self._file = file

    def write(self, *payloads: bytes) -> None:
        """Appends records in one write: a system call for each takes as long as their crcs and the digest.

        Raises:
            ValueError: a record is longer than MAX_RECORD_BYTES. No record is written.
        """
        framed: list[bytes] = []
        longest = max(map(len, payloads), default=0)
        if longest > MAX_RECORD_BYTES:
            raise ValueError(f"A record must have at most {MAX_RECORD_BYTES} bytes. Received: {longest}")
        for payload in payloads:
            length = struct.pack("<Q", len(payload))
            framed += (
                length,
                struct.pack("<I", _masked_crc(length)),
                payload,
                struct.pack("<I", _masked_crc(payload)),
            )
            self._count(len(payload))
        # Large records are written one by one, without copying them into one block.
        for records in framed if longest > _BLOCK_BYTES else (b"".join(framed),):
            self._file.write(records)
            self._sha256.update(records)


class RecordError(Exception):
    """A damaged record.

    Attributes:
        offset: of the record in the file, bytes.
        sentence: description of the damage.
    """

    def __init__(self, offset: int, sentence: str):
        super().__init__(f"byte {offset}: {sentence}")
        self.offset, self.sentence = offset, sentence


class ShardReader(_Shard):
    """Reads records from an open file, checks both crcs, and collects the correct manifest entry and index.

    It is an iterator over `(offset, payload)`. At a damaged record `next` raises RecordError, and may be called again:
    after a payload with a wrong crc, or one that is too long, the iterator continues, since the length was right; after
    any other damage the start of the next record is unknown, and the iterator ends. Memory holds one record of at most
    `max_record_bytes`, for any value of the length field.

    Attributes:
        broken: whether the iterator has ended before the last record. `sha256` covers the whole file nevertheless.
    """

    def __init__(self, file: BinaryIO, max_record_bytes: int = MAX_RECORD_BYTES):
        """Stores the arguments.

        Args:
            file: the open shard, at the start of a record.
            max_record_bytes: longer records are skipped, block by block, and raise RecordError.
        """
        super().__init__()
        self.broken = False
        self._file, self._max_record_bytes = file, min(max_record_bytes, MAX_RECORD_BYTES)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[int, bytes]:
        """Returns the next record.

        Raises:
            RecordError: the record is damaged.
            StopIteration: there are no more records.
        """
        offset = self.file_bytes
        header = self._read(_HEADER_BYTES)
        if not header:
            raise StopIteration
        payload_bytes = self._length(offset, header)
        if payload_bytes > self._max_record_bytes:
            self._skip(offset, payload_bytes)
            most = self._max_record_bytes
            raise RecordError(offset, f"the record has {payload_bytes} bytes; up to {most} are read")
        payload, crc = self._read(payload_bytes), self._read(_CRC_BYTES)
        self._check_end(offset, payload_bytes + _CRC_BYTES - len(payload) - len(crc))
        self._count(payload_bytes)
        if struct.unpack("<I", crc) != (_masked_crc(payload),):
            raise RecordError(offset, "the crc of the payload is wrong")
        return offset, payload

    def _length(self, offset: int, header: bytes) -> int:
        if len(header) < _HEADER_BYTES:
            raise self._lost(offset, f"the file ends in the length of a record, after {len(header)} bytes")
        length, crc = struct.unpack("<QI", header)
        if crc != _masked_crc(header[:8]):
            raise self._lost(offset, "the crc of the length is wrong; what follows cannot be read")
        if length > MAX_RECORD_BYTES:
            raise self._lost(offset, f"a record of {length} bytes is too long; what follows cannot be read")
        return int(length)

    def _skip(self, offset: int, payload_bytes: int) -> None:
        """Skips a record, which only counts in the digest."""
        left = payload_bytes + _CRC_BYTES
        while left and (block := self._read(min(left, _BLOCK_BYTES))):
            left -= len(block)
        self._check_end(offset, left)
        self._count(payload_bytes)

    def _check_end(self, offset: int, missing: int) -> None:
        if missing:
            raise self._lost(offset, f"the file ends {missing} bytes before the end of this record")

    def _lost(self, offset: int, sentence: str) -> RecordError:
        """Skips the rest of the file, which only counts in the digest, and ends the iterator."""
        self.broken = True
        while self._read(_BLOCK_BYTES):
            pass
        return RecordError(offset, sentence)

    def _read(self, num_bytes: int) -> bytes:
        """Returns this number of bytes; fewer at the end of the file.

        It reads in blocks, since `read` allocates the memory before it knows the size of the file.
        """
        block = self._file.read(min(num_bytes, _BLOCK_BYTES))
        self._sha256.update(block)
        if len(block) == num_bytes or not block:
            return block
        blocks = io.BytesIO()  # Unlike `join`, `getvalue` does not copy the bytes.
        while block:
            blocks.write(block)
            block = self._file.read(min(num_bytes - blocks.tell(), _BLOCK_BYTES))
            self._sha256.update(block)
        return blocks.getvalue()
