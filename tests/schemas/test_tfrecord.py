"""A shard has the bytes that TensorFlow would write, and an index that finds each record in them."""

import hashlib
import io
import tempfile
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tfrecord import FRAMING_BYTES, ShardWriter


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
