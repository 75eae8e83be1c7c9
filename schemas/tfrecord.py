"""The file format of a shard, and of its index.

A shard is a sequence of records and nothing else, each framed as TFRecord frames it (little endian):

    +----------------+--------------------+-----------------+----------------------+
    | length  uint64 | masked crc of the  | payload         | masked crc of the    |
    |                | length      uint32 | `length` bytes  | payload       uint32 |
    +----------------+--------------------+-----------------+----------------------+
    ^ offset                              12                12 + length            16 + length = size of the record

Its index has a line `<offset> <size>` for each record: what DALI's `tfrecord2idx` and PyPI `tfrecord` write and read.

The bytes are written here and not by `tf.io.TFRecordWriter` because a shard goes to any file system that Beam can write
to, and because offset, size and digest are then known without reading the shard again.
"""

import hashlib
import struct
from typing import BinaryIO

import google_crc32c

FRAMING_BYTES = 16


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    # Masked, since the crc of bytes that themselves hold crcs is a weak one (the LevelDB log format's reason).
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


class ShardWriter:
    """Writes records to an open file, and keeps what the manifest and the index say of them.

    Attributes:
        num_examples: records written.
        num_bytes: of the payloads, without framing: what tensorflow-datasets calls numBytes.
    """

    def __init__(self, file: BinaryIO):
        self.num_examples = 0
        self.num_bytes = 0
        self._file = file
        self._sha256 = hashlib.sha256()
        self._index: list[str] = []

    @property
    def file_bytes(self) -> int:
        """Size of the file so far."""
        return self.num_bytes + self.num_examples * FRAMING_BYTES

    @property
    def sha256(self) -> str:
        """Hex digest of the file so far."""
        return self._sha256.hexdigest()

    @property
    def index(self) -> str:
        """The text of the shard's index."""
        return "".join(self._index)

    def write(self, payload: bytes) -> None:
        """Appends one record."""
        length = struct.pack("<Q", len(payload))
        record = b"".join(
            (
                length,
                struct.pack("<I", _masked_crc(length)),
                payload,
                struct.pack("<I", _masked_crc(payload)),
            )
        )
        self._index.append(f"{self.file_bytes} {len(record)}\n")
        self._file.write(record)
        self._sha256.update(record)
        self.num_examples += 1
        self.num_bytes += len(payload)
