"""The file format of a shard, and of its index.

A shard is a sequence of records and nothing else, each framed as TFRecord frames it (little endian):

    +----------------+--------------------+-----------------+----------------------+
    | length  uint64 | masked crc of the  | payload         | masked crc of the    |
    |                | length      uint32 | `length` bytes  | payload       uint32 |
    +----------------+--------------------+-----------------+----------------------+
    ^ offset                              12                12 + length            16 + length = size of the record

Its index has a line `<offset> <size>` for each record: what DALI's `tfrecord2idx` and PyPI `tfrecord` write and read.

The bytes are written here and not by `tf.io.TFRecordWriter` because a shard goes to any file system that Beam can write
to, and because offset, size and digest are then known without reading the shard again. They are read here by those
that look for damage, because TensorFlow does not say at which byte it found any.
"""

import hashlib
import io
import struct
from typing import BinaryIO, Self

import google_crc32c

FRAMING_BYTES = 16
# No message of protobuf is longer: a longer record could not be parsed.
MAX_RECORD_BYTES = (1 << 31) - 1

_HEADER_BYTES, _CRC_BYTES = 12, 4
_BLOCK_BYTES = 1 << 20


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    # Masked, since the crc of bytes that themselves hold crcs is a weak one (the LevelDB log format's reason).
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class _Shard:
    """What the manifest and the index say of the records of a shard.

    Attributes:
        num_examples: records so far.
        num_bytes: of their payloads, without framing: what tensorflow-datasets calls numBytes.
    """

    def __init__(self) -> None:
        self.num_examples = 0
        self.num_bytes = 0
        self._sha256 = hashlib.sha256()
        self._index: list[str] = []

    @property
    def file_bytes(self) -> int:
        """Size of the records so far, and the offset of the next one."""
        return self.num_bytes + self.num_examples * FRAMING_BYTES

    @property
    def sha256(self) -> str:
        """Hex digest of the file so far."""
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
    """Writes records to an open file, and keeps what the manifest and the index say of them."""

    def __init__(self, file: BinaryIO):
        super().__init__()
        self._file = file

    def write(self, *payloads: bytes) -> None:
        """Appends records, at once: a call of the system for each costs as much as their crcs and the digest.

        Raises:
            ValueError: a record is longer than MAX_RECORD_BYTES. None of them is written.
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
        # Large records are not copied once more.
        for records in framed if longest > _BLOCK_BYTES else (b"".join(framed),):
            self._file.write(records)
            self._sha256.update(records)


class RecordError(Exception):
    """A damaged record.

    Attributes:
        offset: of the record in the file, bytes.
        sentence: what is wrong with it.
    """

    def __init__(self, offset: int, sentence: str):
        super().__init__(f"byte {offset}: {sentence}")
        self.offset, self.sentence = offset, sentence


class ShardReader(_Shard):
    """Reads records from an open file, checks both crcs, and keeps what the manifest and the index must say of them.

    It is an iterator over `(offset, payload)`. At a damaged record `next` raises RecordError, and may be called again:
    after a payload with a wrong crc, or one that is too long, it goes on, since the length was right; after all other
    damage nobody knows where the next record starts, and the iterator ends. Memory is that of one record of at most
    `max_record_bytes`, whatever the length field says.

    Attributes:
        broken: whether it has ended before the last record. `sha256` covers the whole file all the same.
    """

    def __init__(self, file: BinaryIO, max_record_bytes: int = MAX_RECORD_BYTES):
        """Takes an open file.

        Args:
            file: the shard, at the start of a record.
            max_record_bytes: longer records are passed over, a block at a time, and raise RecordError.
        """
        super().__init__()
        self.broken = False
        self._file, self._max_record_bytes = file, min(max_record_bytes, MAX_RECORD_BYTES)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[int, bytes]:
        """Returns the next record.

        Raises:
            RecordError: it is damaged.
            StopIteration: there is none.
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
        """Reads a record for its digest alone."""
        left = payload_bytes + _CRC_BYTES
        while left and (block := self._read(min(left, _BLOCK_BYTES))):
            left -= len(block)
        self._check_end(offset, left)
        self._count(payload_bytes)

    def _check_end(self, offset: int, missing: int) -> None:
        if missing:
            raise self._lost(offset, f"the file ends {missing} bytes before the end of this record")

    def _lost(self, offset: int, sentence: str) -> RecordError:
        """Reads what is left for its digest alone, after which the iterator is at its end."""
        self.broken = True
        while self._read(_BLOCK_BYTES):
            pass
        return RecordError(offset, sentence)

    def _read(self, num_bytes: int) -> bytes:
        """Returns so many bytes, fewer at the end of the file.

        In blocks: a file is asked for no more than it may well have, since it makes room before it looks.
        """
        block = self._file.read(min(num_bytes, _BLOCK_BYTES))
        self._sha256.update(block)
        if len(block) == num_bytes or not block:
            return block
        blocks = io.BytesIO()  # Its value is not copied, unlike that of a join.
        while block:
            blocks.write(block)
            block = self._file.read(min(num_bytes - blocks.tell(), _BLOCK_BYTES))
            self._sha256.update(block)
        return blocks.getvalue()
