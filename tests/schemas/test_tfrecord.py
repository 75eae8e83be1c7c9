"""A shard has the bytes that TensorFlow would write, and an index that finds each record in them."""

import hashlib
import io
import struct
import tempfile
import tracemalloc
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tfrecord import FRAMING_BYTES, MAX_RECORD_BYTES, RecordError, ShardReader, ShardWriter


def _write(payloads: list[bytes]) -> tuple[ShardWriter, bytes]:
    file = io.BytesIO()
    writer = ShardWriter(file)
    for payload in payloads:
        writer.write(payload)
    return writer, file.getvalue()


@given(st.lists(st.binary(max_size=2000), max_size=8))
@settings(max_examples=50)
def test_writes_the_bytes_of_tensorflow(payloads: list[bytes]) -> None:
    _, content = _write(payloads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for payload in payloads:
                writer.write(payload)
        assert content == path.read_bytes()


def test_tensorflow_reads_it_and_checks_every_crc(tmp_path: Path) -> None:
    payloads = [b"", b"one", bytes(range(256)) * 40]
    path = tmp_path / "a.tfrecord"
    path.write_bytes(_write(payloads)[1])
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == payloads


@pytest.mark.parametrize("byte", [0, 8, 12, 16, -1], ids=["length", "crc of length", "payload", "crc", "crc's end"])
def test_a_changed_byte_is_noticed(tmp_path: Path, byte: int) -> None:
    content = bytearray(_write([b"four"])[1])
    content[byte] ^= 1
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset(str(path)))


@given(st.lists(st.binary(max_size=500), max_size=12))
def test_index_cuts_the_file_into_its_records(payloads: list[bytes]) -> None:
    writer, content = _write(payloads)
    lines = [tuple(map(int, line.split(" "))) for line in writer.index.splitlines()]
    assert [content[offset + 12 : offset + size - 4] for offset, size in lines] == payloads
    assert [offset for offset, _ in lines] == [sum(size for _, size in lines[:i]) for i in range(len(lines))]
    assert sum(size for _, size in lines) == len(content)


def test_index_is_text_with_a_line_for_each_record() -> None:
    assert _write([b"", b"four", b"x" * 1000])[0].index == "0 16\n16 20\n36 1016\n"


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_counts_what_the_manifest_says(payloads: list[bytes]) -> None:
    writer, content = _write(payloads)
    assert writer.num_examples == len(payloads)
    assert writer.num_bytes == sum(map(len, payloads)) == len(content) - FRAMING_BYTES * len(payloads)
    assert writer.file_bytes == len(content)
    assert writer.sha256 == hashlib.sha256(content).hexdigest()


def _read(content: bytes) -> tuple[ShardReader, list[tuple[int, bytes]], list[tuple[int, str]]]:
    """Returns the reader at its end, the good records, and the damaged ones with what is wrong."""
    reader = ShardReader(io.BytesIO(content))
    good, damaged = [], []
    while True:
        try:
            good.append(next(reader))
        except RecordError as error:
            damaged.append((error.offset, error.sentence))
        except StopIteration:
            return reader, good, damaged


@given(st.lists(st.binary(max_size=500), max_size=8))
def test_reads_what_was_written(payloads: list[bytes]) -> None:
    writer, content = _write(payloads)
    reader, good, damaged = _read(content)
    assert [payload for _, payload in good] == payloads
    assert [offset for offset, _ in good] == [int(line.split(" ")[0]) for line in writer.index.splitlines()]
    assert (damaged, reader.broken) == ([], False)
    for name in ("num_examples", "num_bytes", "file_bytes", "sha256", "index"):
        assert getattr(reader, name) == getattr(writer, name)


def test_reads_records_of_many_blocks() -> None:
    payload = bytes(range(256)) * 20_000
    assert [len(payload) for _, payload in _read(_write([payload, b"x"])[1])[1]] == [5_120_000, 1]


_LENGTH = "the crc of the length is wrong; what follows cannot be read"
_PAYLOAD = "the crc of the payload is wrong"


def test_every_flipped_bit_is_found_in_its_record() -> None:
    # Records of 21, 16 and 20 bytes, at 0, 21 and 37.
    content = _write([b"first", b"", b"last"])[1]
    for byte in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[byte] ^= 1 << bit
            reader, good, damaged = _read(bytes(flipped))
            offset = max(start for start in (0, 21, 37) if start <= byte)
            framed = byte - offset < 12
            assert damaged == [(offset, _LENGTH if framed else _PAYLOAD)]
            assert [start for start, _ in good] == [s for s in (0, 21, 37) if s < offset or (s > offset and not framed)]
            assert reader.broken == framed
            assert reader.sha256 == hashlib.sha256(flipped).hexdigest()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, []),
        (1, [(0, "the file ends in the length of a record, after 1 bytes")]),
        (11, [(0, "the file ends in the length of a record, after 11 bytes")]),
        (12, [(0, "the file ends 9 bytes before the end of this record")]),
        (17, [(0, "the file ends 4 bytes before the end of this record")]),
        (20, [(0, "the file ends 1 bytes before the end of this record")]),
        (21, []),
        (22, [(21, "the file ends in the length of a record, after 1 bytes")]),
        (40, [(21, "the file ends 1 bytes before the end of this record")]),
    ],
)
def test_a_cut_file_is_found_at_the_record_that_is_cut(size: int, expected: list[tuple[int, str]]) -> None:
    reader, good, damaged = _read(_write([b"first", b"last"])[1][:size])
    assert damaged == expected
    assert reader.broken == bool(expected)
    assert len(good) == reader.num_examples == size // 21


@pytest.mark.parametrize("length", [MAX_RECORD_BYTES + 1, 1 << 40, 1 << 63, (1 << 64) - 1])
def test_a_length_that_no_record_has_is_not_believed(length: int) -> None:
    field = struct.pack("<Q", length)
    # The crc that belongs to a length of eight bytes is the one that a payload of these eight bytes gets.
    content = field + _write([field])[1][-4:] + bytes(100)
    reader, good, damaged = _read(content)
    assert damaged == [(0, f"a record of {length} bytes is too long; what follows cannot be read")]
    assert (good, reader.broken) == ([], True)


@pytest.mark.parametrize("crc_is_right", [True, False])
def test_a_record_that_is_longer_than_allowed_is_passed_over(crc_is_right: bool) -> None:
    content = _write([b"first", b"x" * 5_000_000, b"last"])[1]
    if not crc_is_right:
        content = content.replace(b"xx", b"xy", 1)
    reader = ShardReader(io.BytesIO(content), max_record_bytes=4_999_999)
    assert next(reader) == (0, b"first")
    with pytest.raises(RecordError, match="byte 21: the record has 5000000 bytes; up to 4999999 are read"):
        next(reader)
    assert next(reader) == (21 + 5_000_016, b"last")
    assert (reader.num_examples, reader.num_bytes, reader.broken) == (3, 5_000_009, False)
    assert reader.sha256 == hashlib.sha256(content).hexdigest()


def test_a_long_length_takes_no_memory(tmp_path: Path) -> None:
    length = 300_000_000
    field = struct.pack("<Q", length)
    path = tmp_path / "shard"
    with path.open("wb") as file:
        file.write(field + _write([field])[1][-4:])
        file.truncate(12 + length + 4)  # Of which the disk holds nothing.
    tracemalloc.start()
    with path.open("rb") as file, pytest.raises(RecordError, match=f"the record has {length} bytes"):
        next(ShardReader(file, max_record_bytes=1_000_000))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_large_record_is_held_once() -> None:
    content = _write([bytes(64_000_000)])[1]
    tracemalloc.start()
    next(ShardReader(io.BytesIO(content)))
    assert tracemalloc.get_traced_memory()[1] < 85_000_000
    tracemalloc.stop()


class _Long(bytes):
    """Bytes of which there are said to be more than a record holds."""

    def __len__(self) -> int:
        return MAX_RECORD_BYTES + 1


def test_a_record_that_nobody_could_parse_is_not_written() -> None:
    file = io.BytesIO()
    writer = ShardWriter(file)
    with pytest.raises(ValueError, match=f"at most {MAX_RECORD_BYTES} bytes. Received: {MAX_RECORD_BYTES + 1}"):
        writer.write(b"good", _Long())
    assert (file.getvalue(), writer.num_examples) == (b"", 0)


def test_no_more_is_read_at_a_time_than_a_file_may_have() -> None:
    class File(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1) -> bytes:
            self.asked = max(self.asked, size or 0)
            return super().read(size)

    field = struct.pack("<Q", MAX_RECORD_BYTES)
    file = File(field + _write([field])[1][-4:] + bytes(100))
    with pytest.raises(RecordError, match=f"byte 0: the file ends {MAX_RECORD_BYTES - 96} bytes before the end"):
        next(ShardReader(file))
    assert file.asked <= 1 << 20


@given(st.binary(max_size=200))
def test_any_bytes_end(content: bytes) -> None:
    reader, _, damaged = _read(content)
    assert len(damaged) <= 1 + len(content) // FRAMING_BYTES
    assert reader.sha256 == hashlib.sha256(content).hexdigest()
