"""Files of features are read as they were written; of others, the file and the row are named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multihot import storage
from multihot.errors import UserError
from schemas import embeddings
from schemas.embeddings import Columns


def _columns(number: int, width: int = 3) -> Columns:
    rng = np.random.default_rng(number)
    return Columns(
        filenames=[f"{i} é,'<b>.jpg" for i in range(number)],
        splits=["train", "validation"] * (number // 2),
        features=rng.standard_normal((number, width)).astype(np.float32),
        thumbnails=rng.integers(0, 256, (number, embeddings.SIDE, embeddings.SIDE), np.uint8),
    )


def _write(path: Path, columns: Columns) -> str:
    schema = embeddings.schema(columns.features.shape[1], {"run": "é"})
    pq.write_table(embeddings.table(columns, schema), path)
    return str(path)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    columns = _columns(1500)  # More than are read at a time.
    path = _write(tmp_path / "e.parquet", columns)
    assert embeddings.describe(path) == (1500, {"run": "é"})
    parts = list(embeddings.read(path))
    assert len(parts) == 2
    assert [name for part in parts for name in part.filenames] == columns.filenames
    assert [split for part in parts for split in part.splits] == columns.splits
    np.testing.assert_array_equal(np.concatenate([part.features for part in parts]), columns.features)
    np.testing.assert_array_equal(np.concatenate([part.thumbnails for part in parts]), columns.thumbnails)
    rows = np.array([0, 3, 1023, 1024, 1499])
    np.testing.assert_array_equal(embeddings.thumbnails(path, rows), columns.thumbnails[rows])
    assert embeddings.thumbnails(path, rows[:0]).shape == (0, embeddings.SIDE, embeddings.SIDE)


def test_a_file_in_a_store_is_written_and_read(bucket: str) -> None:
    columns = _columns(1500)
    schema = embeddings.schema(3, {})
    path = f"{bucket}/some/e.parquet"
    with storage.create(path) as file, pq.ParquetWriter(file, schema) as writer:
        writer.write_table(embeddings.table(columns, schema))
    assert embeddings.describe(path).num_rows == 1500
    np.testing.assert_array_equal(np.concatenate([part.features for part in embeddings.read(path)]), columns.features)
    rows = np.array([7, 1400])
    np.testing.assert_array_equal(embeddings.thumbnails(path, rows), columns.thumbnails[rows])


def test_a_file_that_pandas_has_written_again_is_read(tmp_path: Path) -> None:
    columns = _columns(10)
    frame = pd.read_parquet(_write(tmp_path / "e.parquet", columns))
    frame.iloc[::-1].to_parquet(tmp_path / "again.parquet", index=False)
    (part,) = embeddings.read(str(tmp_path / "again.parquet"))
    assert part.filenames == columns.filenames[::-1]
    np.testing.assert_array_equal(part.features, columns.features[::-1])
    np.testing.assert_array_equal(part.thumbnails, columns.thumbnails[::-1])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"filename": ["a", None]}, "row 2 has no filename"),
        ({"filename": [1, 2]}, "its column filename has the type int64"),
        ({"features": [[1.0, 2.0], [1.0]]}, "row 2 has 1 features, and the first row 2"),
        ({"features": [[], [1.0]]}, "row 1 has no features"),
        ({"features": [None, [1.0]]}, "row 1 has no features"),
        ({"features": [[1.0], [float("nan")]]}, "row 2 (b) has features that are not finite numbers"),
        ({"features": [[1.0], [float("inf")]]}, "row 2 (b) has features that are not finite numbers"),
        ({"features": [[1e300], [1.0]]}, "row 1 (a) has features that are not finite numbers"),
        ({"features": [[None], [1.0]]}, "row 1 (a) has features that are not finite numbers"),
        ({"features": [["1"], ["2"]]}, "its column features has the type list"),
        ({"thumbnail": [b"\0" * 1024, b"\0"]}, "row 2 has no thumbnail of 32 x 32 bytes"),
        ({"thumbnail": [None, b"\0" * 1024]}, "row 1 has no thumbnail of 32 x 32 bytes"),
        ({"split": None}, "it has no column split"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, object], expected: str, tmp_path: Path) -> None:
    whole = {
        "filename": ["a", "b"],
        "split": ["train", "train"],
        "features": [[1.0], [2.0]],
        "thumbnail": [b"\0" * 1024] * 2,
        **changes,
    }
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({name: values for name, values in whole.items() if values is not None}), path)
    with pytest.raises(UserError) as caught:
        list(embeddings.read(str(path)))
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    path.write_text("filename,features\n")
    with pytest.raises(UserError, match=r"e\.parquet cannot be read as Parquet"):
        embeddings.describe(str(path))
    whole = Path(_write(tmp_path / "whole.parquet", _columns(600))).read_bytes()
    path.write_bytes(whole[:300] + bytes(200_000) + whole[200_300:])
    with pytest.raises(UserError, match=r"e\.parquet cannot be read as Parquet"):
        list(embeddings.read(str(path)))
    with pytest.raises(FileNotFoundError):
        embeddings.describe(str(tmp_path / "none.parquet"))


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    path = _write(tmp_path / "e.parquet", _columns(0))
    assert list(embeddings.read(path)) == []
    assert embeddings.describe(path).num_rows == 0
