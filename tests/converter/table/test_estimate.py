"""The number of rows is estimated from the beginning of a file, whatever is in its cells."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from converter.table import estimate


def _table(number: int, classes: int = 2, end: str = "\n", last: bool = True) -> str:
    header = ",".join(["file", *(f"class {i}" for i in range(classes))])
    lines = [header, *(f"{i:06}.jpg" + ",0" * classes for i in range(number))]
    return end.join(lines) + end * last


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp949"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_the_rows_of_a_small_file_are_counted(tmp_path: Path, encoding: str, end: str, last: bool) -> None:
    path = tmp_path / "labels.csv"
    for number in (0, 1, 700):
        path.write_bytes(_table(number, end=end, last=last).encode(encoding))
        # In UTF-16, half of the last line end is left.
        assert abs(estimate.num_rows(str(path)) - number) <= (encoding == "utf-16")


@pytest.mark.parametrize(
    ("number", "classes"), [pytest.param(200_000, 3, id="many rows"), pytest.param(300, 10_000, id="many classes")]
)
def test_the_rows_of_a_large_file_are_estimated(tmp_path: Path, number: int, classes: int) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(_table(number, classes))
    assert estimate.num_rows(str(path)) == pytest.approx(number, rel=0.05)


def test_a_file_with_one_endless_line_has_few_rows(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"x" * (3 << 20))
    assert estimate.num_rows(str(path)) == 3


def test_a_parquet_file_says_how_many_rows_it_has(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"file": [f"{i}.jpg" for i in range(100_000)], "sea": [0] * 100_000}), path)
    assert estimate.num_rows(str(path)) == 100_000
