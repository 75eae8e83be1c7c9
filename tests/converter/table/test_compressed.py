"""Compressed tables are read as they are decompressed; what is damaged is one sentence."""

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.job import sizing
from converter.options import ConvertOptions
from converter.table import compressed, estimate, tables
from multihot.errors import UserError

ReadCsv = Callable[..., Any]

_CSV = b"file,sea,desert\n" + b"".join(b"%d.jpg,%d,0\n" % (i, i % 2) for i in range(5000))


def _zstd(content: bytes) -> bytes:
    found: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return found


def _zip(content: bytes, *others: str, name: str = "labels.csv") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for other in others:
            archive.writestr(other, content)
        archive.writestr(name, content)
    return file.getvalue()


_KINDS = pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, _zstd, _zip])


@_KINDS
def test_a_compressed_table_is_known_by_its_content(read: ReadCsv, compress: Callable[[bytes], bytes]) -> None:
    found = read(compress(_CSV))
    assert found.table.classes == ("sea", "desert")
    assert [(row.line, row.filename, row.labels) for row in found.rows] == [
        (i + 2, f"{i}.jpg", bytes([i % 2, 0])) for i in range(5000)
    ]


def test_parts_that_are_compressed_one_by_one_are_one_table(read: ReadCsv) -> None:
    for compress in (gzip.compress, bz2.compress, lzma.compress, _zstd):
        assert len(read(compress(_CSV[:2000]) + compress(_CSV[2000:])).rows) == 5000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_counts_inside(read: ReadCsv, encoding: str) -> None:
    assert read(gzip.compress("file,바다,사막\n1.jpg,1,0\n".encode(encoding))).table.classes == ("바다", "사막")


@_KINDS
def test_a_table_that_ends_too_early_or_is_damaged_is_one_sentence(
    read: ReadCsv, compress: Callable[[bytes], bytes]
) -> None:
    good = compress(_CSV)
    for end in (11, len(good) // 3, len(good) - 5):
        with pytest.raises(UserError, match=r"labels\.csv is compressed \(\w+\) and cannot be decompressed: .*\."):
            read(good[:end])
    half = len(good) // 2
    with pytest.raises(UserError, match=r"labels\.csv is compressed \(\w+\) and cannot be decompressed: .*\."):
        read(good[:half] + b"damaged!" * 4 + good[half + 32 :])


@given(st.sampled_from([gzip.compress, bz2.compress, lzma.compress, _zstd, _zip]), st.data())
def test_any_damage_gives_rows_or_one_sentence(
    read: ReadCsv, compress: Callable[[bytes], bytes], data: st.DataObject
) -> None:
    good = compress(_CSV[:500])
    at = data.draw(st.integers(0, len(good)))
    with contextlib.suppress(UserError):
        read(good[:at] + data.draw(st.binary(max_size=8)) + good[data.draw(st.integers(at, len(good))) :])


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["images/1.jpg", "images/2.jpg"], id="with the images"),
        pytest.param(["__MACOSX/._labels.csv"], id="macOS"),
        pytest.param(["readme.txt"], id="with a text"),
    ],
)
def test_a_zip_archive_with_one_csv_is_read(read: ReadCsv, names: list[str]) -> None:
    assert len(read(_zip(_CSV, *names)).rows) == 5000
    assert len(read(_zip(_CSV, name="list_attr.txt")).rows) == 5000


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(_zip(_CSV, "a/train.csv"), "a ZIP archive of 2 tables: a/train.csv, labels.csv.", id="two CSVs"),
        pytest.param(_zip(b"", name="folder/"), "a ZIP archive without a table.", id="an empty ZIP archive"),
        pytest.param(gzip.compress(gzip.compress(_CSV)), "no CSV but compressed twice. Decompress it.", id="twice"),
        pytest.param(gzip.compress(b'{"a": 1}'), "no CSV but JSON. Save it as CSV.", id="JSON inside"),
        pytest.param(gzip.compress(b"0" * 257 + b"ustar\0"), "no CSV but an archive (tar). Unpack it.", id="tar"),
        pytest.param(gzip.compress(b"PAR1"), "a compressed Parquet file. Decompress it:", id="Parquet inside"),
        pytest.param(b"7z\xbc\xaf\x27\x1c", "no CSV but compressed, neither by gzip nor as ZIP.", id="7z"),
    ],
)
def test_what_is_no_compressed_csv_is_said(read: ReadCsv, content: bytes, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"labels.csv is {sentence}")):
        read(content)


def test_a_line_that_does_not_fit_in_memory_is_said(read: ReadCsv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "_MAX_LINE_BYTES", 1 << 20)
    with pytest.raises(UserError, match=r"labels\.csv is no table: a line has more than 1 MB"):
        read(gzip.compress(_CSV + b"x" * (3 << 20)))


@_KINDS
def test_the_number_of_rows_is_estimated_from_the_contents(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "labels.csv"
    for num_rows in (1_000, 40_000):
        content = b"file,sea,desert\n" + b"".join(
            b"%s.jpg,%d,0\n" % (hashlib.md5(b"%d" % i).hexdigest().encode(), i % 2) for i in range(num_rows)
        )
        path.write_bytes(compress(content))
        assert 0.5 < compressed.content_bytes(str(path)) / len(content) < 2
        assert 0.5 < estimate.num_rows(str(path)) / num_rows < 2
    found = tables.read_tables(ConvertOptions(csv=str(path), images="images", output="data"))
    assert sizing.num_rows(found) == estimate.num_rows(str(path))


def test_the_size_of_other_files_is_that_of_the_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file": ["1.jpg"], "sea": [1]}), tmp_path / "labels.parquet")
    (tmp_path / "labels.csv").write_bytes(_CSV)
    for path in tmp_path.iterdir():
        assert compressed.content_bytes(str(path)) == path.stat().st_size
