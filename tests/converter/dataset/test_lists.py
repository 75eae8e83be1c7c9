"""The lists beside the shards: a person sorts them, and opens them in a spreadsheet."""

import csv
import io
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.dataset import lists
from converter.rejects import Reason, Reject
from multihot import formulas


def _to_csv(rejects: Iterable[Reject]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        lists.write(f"{folder}/rejects.csv", lists.Table(Reject._fields, rejects))
        return Path(folder, "rejects.csv").read_bytes().decode()


def test_no_rejects_leave_the_header() -> None:
    assert _to_csv([]) == "csv,line,filename,reason,detail\n"


def test_cells_are_quoted() -> None:
    rejects = [
        Reject("a.csv", 9, 'a, "b".jpg', Reason.BAD_LABEL, "two\nlines"),
        Reject("b.csv", 2, "b.jpg", Reason.MISSING_FILE, "no such file"),
    ]
    assert _to_csv(rejects) == (
        "csv,line,filename,reason,detail\n"
        'a.csv,9,"a, ""b"".jpg",bad_label,two\\nlines\n'
        "b.csv,2,b.jpg,missing_file,no such file\n"
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_is_a_formula(start: str) -> None:
    text = _to_csv([Reject("a.csv", 2, f"{start}1+1", Reason.BAD_LABEL, f"{start}cmd|x")])
    assert text.splitlines()[1] == f"a.csv,2,'{start}1+1,bad_label,'{start}cmd|x"


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        pytest.param("a\n=1+1", "a\\n=1+1", id="line feed"),
        pytest.param("a\r=1+1", "a\\r=1+1", id="carriage return"),
        pytest.param("\t=1+1", "\\t=1+1", id="tab"),
        pytest.param("\x1b[2J\x00\x9b", "\\x1b[2J\\x00\\x9b", id="what clears a terminal"),
        pytest.param("\u202egpj.exe\u2066", "\\u202egpj.exe\\u2066", id="what turns writing round"),
        pytest.param("\ud800", "\\ud800", id="half a character"),
        pytest.param("été 바다 \u202f\u200d.jpg", "été 바다 \u202f\u200d.jpg", id="other characters"),
    ],
)
def test_control_characters_are_spelled_out(name: str, cell: str) -> None:
    assert _to_csv([Reject("a.csv", 2, name, Reason.UNSAFE_PATH, name)]).splitlines()[1:] == [
        f"a.csv,2,{cell},unsafe_path,{cell}"
    ]


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


@given(st.lists(st.builds(Reject, _TEXT, st.integers(2, 99), _TEXT, st.sampled_from(Reason), _TEXT), max_size=8))
def test_every_reject_is_one_line_that_is_inert(rejects: list[Reject]) -> None:
    text = _to_csv(rejects)
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["csv", "line", "filename", "reason", "detail"]
    assert [(row[1], row[3]) for row in rows] == [(str(reject.line), reject.reason) for reject in rejects]
    assert text.count("\n") == len(rejects) + 1
    for row in rows:
        for cell in (row[0], row[2], row[4]):
            assert not cell.startswith(tuple("=+-@"))
            assert not any(unicodedata.category(character) == "Cc" for character in cell)


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=20))
def test_other_names_are_read_back_as_they_are(name: str) -> None:
    _, row = csv.reader(io.StringIO(_to_csv([Reject("a.csv", 2, name, Reason.MISSING_FILE, "")]), newline=""))
    assert formulas.unescaped(row[2]) == name


def test_a_list_that_cannot_be_finished_is_not_there(tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[str]]:
        yield ("a",)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        lists.write(str(tmp_path / "list.csv"), lists.Table(("filename",), rows()))
    assert list(tmp_path.iterdir()) == []
