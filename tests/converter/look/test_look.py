"""A look at a table and a folder says what a conversion would make of them, and prints the command that converts."""

import datetime
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from converter.dataset.lists import read_csv
from converter.look import findings, program
from converter.look.program import LookOptions
from converter.main import _parse as parse_conversion
from converter.rejects import Reject
from multihot.errors import UserError
from schemas import layout
from tests.conftest import Convert


def _look(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int | str, list[str]]:
    """Returns the status of a look, or its error, and the lines that it prints."""
    try:
        status: int | str = program.main(program._parse(["look", *argv]))
    except UserError as error:
        status = str(error)
    return status, capsys.readouterr().out.splitlines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder `flags`, the current one, with the files images/0.jpg to images/9.jpg, which are no images."""
    path = tmp_path / "flags"
    (path / "images").mkdir(parents=True)
    for i in range(10):
        (path / "images" / f"{i}.jpg").write_text("x")
    monkeypatch.chdir(path)
    return path


def _table(rows: list[str], header: str = "file,cat,dog", name: str = "labels.csv") -> str:
    Path(name).write_text("\n".join([header, *rows]) + "\n")
    return name


def test_all_that_a_look_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = _table(
        [*(f"{i}.jpg,{i % 2},0,{'ab'[i % 2]} b" for i in range(9)), "10.jpg,1,0,", "7.jpg,2,0,"], "file,cat,dog,note"
    )
    status, lines = _look(capsys, csv, "--images=images", "--ignore_columns=note", "--max_rejects=2")
    assert lines == [
        "labels.csv: CSV, commas between the cells, utf-8, 11 rows",
        "  column  is taken for    cells",
        "  file    names of files  0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg, 6.jpg, 7.jpg, ...",
        "  cat     label           0, 1, 2",
        "  dog     label           0",
        "  note    not used        'a b', 'b b', (blank)",
        "",
        "2 classes, each with the number of rows that have it, of 11:",
        "  cat: 5  dog: 0",
        "  In no row: 1 class, dog",
        "  Without any label: 5 rows",
        "",
        "images: 10 files; 9 of 11 rows can be matched with one (no image was opened)",
        "  Files that no row names: 1, such as 9.jpg",
        "  Names that are no files: 1, such as 10.jpg",
        "Splits, by a hash of the names: train 6 images, validation 3 images",
        "2 rows would be rejected; the first one for each reason:",
        "        1 bad_label: labels.csv line 12, '7.jpg': column 'cat': must be 0 or 1. Received: '2'",
        "        1 missing_file: labels.csv line 11, '10.jpg': no such file in the folder of images",
        "",
        "If this is right, convert:",
        "  python -m converter --csv=labels.csv --images=images --ignore_columns=note --max_rejects=2 --output=data "
        "--name=flags",
    ]
    assert status == 0
    assert sorted(path.name for path in folder.iterdir()) == ["images", "labels.csv"]


def test_a_table_that_cannot_be_read_shows_its_columns_above_the_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = _table([f"{i}.jpg,{i % 2},{i % 7}.5,2021-0{i}-01,," for i in range(9)], "file,cat,score,date,empty,box")
    error, lines = _look(capsys, csv, "--images=images")
    assert lines == [
        "labels.csv: CSV, commas between the cells, utf-8. Its columns, with cells of the first 9 rows:",
        "  column  looks like       cells",
        "  file    names of images  0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg, 6.jpg, 7.jpg, ...",
        "  cat     0 and 1          0, 1",
        "  score   numbers          0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5",
        "  date    texts            2021-00-01, 2021-01-01, 2021-02-01, 2021-03-01, ...",
        "  empty   blank            (blank)",
        "  box     blank            (blank)",
        "",
    ]
    assert str(error).startswith("labels.csv line 1: 'score' holds '0.5', '1.5'")
    assert "--ignore_columns=score,date" in str(error)


@pytest.mark.parametrize(
    ("header", "rows", "flags", "expected"),
    [
        pytest.param(
            "image_id Bald Male",
            [f"{i}.jpg -1  1" for i in range(9)],
            ["--negative_labels=-1"],
            ["  Male      label           1", "  Bald: 0  Male: 9"],
            id="blanks between cells of 1 and -1",
        ),
        pytest.param(
            "file,cat,dog",
            [f"{i}.jpg,{['1.0', '', '-1.0'][i % 3]},1.0" for i in range(9)],
            ["--negative_labels=0,''", "--unknown_labels=-1"],
            ["  cat: 3 (unknown: 3)  dog: 9"],
            id="unknown labels",
        ),
        pytest.param(
            "file,tags",
            [f"{i}.jpg,{['clear haze', 'haze', 'clear', 'red'][i % 4]}" for i in range(9)],
            ["--label_delimiter= "],
            ["  tags    names of classes, a blank between them  'clear haze', haze, clear, red"],
            id="names of classes between blanks",
        ),
        pytest.param(
            "file,tags",
            ["0.jpg,['cat']", "1.jpg,\"['cat', 'dog']\"", "2.jpg,[]"],
            [],
            ["  tags    names of classes  ['cat'], ['cat', 'dog'], []", "  Without any label: 1 row"],
            id="lists of names",
        ),
        pytest.param(
            "file,tags",
            ['0.jpg,"[0, 1]"', '1.jpg,"[1, 1]"'],
            ["--classes=a,b"],
            ["  tags    labels, a number for each class  [0, 1], [1, 1]", "  a: 1  b: 2"],
            id="lists of numbers",
        ),
        pytest.param(
            "file,health,caste",
            [f"{i}.jpg,{'ok' if i % 2 else 'ill'},{'queen' if i % 3 else 'worker'}" for i in range(9)],
            ["--label_columns=health,caste"],
            ["4 classes, each with the number of rows that have it, of 9:"],
            id="several columns of names",
        ),
        pytest.param(
            "ImageID,Source,LabelName,Confidence",
            [f"{i}.jpg,human,/m/{i % 2},{i % 3 and 1}" for i in range(9)],
            ["--label_columns=LabelName", "--value_column=Confidence"],
            ["  Confidence  whether the label holds  0, 1", "  Source      not used                 human"],
            id="a column says whether the label holds",
        ),
        pytest.param(
            "file,split,place,cat",
            [f"{i}.jpg,{'test' if i % 2 else 'train'},p,1" for i in range(9)],
            ["--split_column=split", "--ignore_columns=place"],
            ["  split   split           train, test", "Splits, by column 'split': test 4 images, train 5 images"],
            id="a column of splits",
        ),
        pytest.param(
            "file,place,cat",
            [f"{i}.jpg,p,1" for i in range(9)],
            ["--group_column=place", "--splits=a=0.001,b=0.999"],
            [
                "  place   group           p",
                "Splits, by group: a 0 images, b 9 images",
                "  No image falls into the split a.",
            ],
            id="groups, and a split without images",
        ),
        pytest.param(
            "file,cat",
            [f"{i}.jpg,1" for i in range(9)],
            ["--split_method=stratified"],
            ["Splits, as shares of 9 images, since a conversion deals them out together: train 0.8, validation 0.2"],
            id="splits that depend on all images",
        ),
        pytest.param(
            "file,Cat,cat,is_valid",
            [f"{i}.jpg,1,0,1" for i in range(9)],
            [],
            ["Note: classes differ only in case, blanks or dashes: 'Cat' and 'cat'. Are they the same?"],
            id="names of classes that are remarkable",
        ),
    ],
)
def test_shows_the_use_of_columns_of_every_kind(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    header: str,
    rows: list[str],
    flags: list[str],
    expected: list[str],
) -> None:
    status, lines = _look(capsys, _table(rows, header), "--images=images", *flags)
    assert status == 0
    assert [line for line in expected if line not in lines] == [], lines


def test_columns_of_other_types_in_parquet_do_not_hide_those_beside_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{i}.jpg" for i in range(9)]
    columns = {"file": names, "cat": [True] * 9, "taken": [datetime.datetime(2021, 1, 1)] * 9, "image": [b"x"] * 9}
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    error, lines = _look(capsys, "labels.parquet", "--images=images")
    assert "'taken' must hold text" in str(error)
    assert "Leave it out by --ignore_columns" in str(error)
    assert lines[1:] == [
        "  column  looks like       cells",
        "  file    names of images  0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg, 6.jpg, 7.jpg, ...",
        "  cat     0 and 1          True",
        "  taken   timestamp[us]",
        "  image   binary",
        "",
    ]
    _, lines = _look(capsys, "labels.parquet", "--images=images", "--ignore_columns=taken,image")
    assert "  cat     label           True" in lines


def test_a_thousand_classes_are_not_a_thousand_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = [f"c{i:03}" for i in range(1000)]
    csv = _table(
        [f"{i}.jpg," + ",".join("1" if j == i else "0" for j in range(1000)) for i in range(9)],
        ",".join(["file", *columns]),
    )
    status, lines = _look(capsys, csv, "--images=images")
    assert status == 0
    assert len(lines) < 40
    assert max(map(len, lines)) < 120
    assert "  ... 990 more  label           to c999: 0" in lines
    assert "  In no row: 991 classes, c009, c010, c011, ..." in lines


def test_a_long_table_is_read_in_part(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MOST_ROWS", 5)
    status, lines = _look(capsys, _table([f"{i}.jpg,1,0" for i in range(9)]), "--images=images")
    assert status == 0
    assert lines[0] == "labels.csv: CSV, commas between the cells, utf-8, long, of which the first 5 rows were read"
    assert "2 classes, each with the number of rows that have it, of 5:" in lines
    assert not [line for line in lines if "no row names" in line], "later rows may name the other files"


def test_names_that_are_no_files_lead_to_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = _look(capsys, _table([f"other{i}.jpg,1,0" for i in range(9)]), "--images=images")
    assert status == 1
    assert "images: 10 files; 0 of 9 rows can be matched with one (no image was opened)" in lines
    assert "  images holds 10 files that no row names, such as '0.jpg': is it the right folder?" in lines
    assert lines[-2] == (
        "A conversion would publish nothing: 9 of 9 rows would be rejected, and 0 may be (--max_rejects). "
        "Once this is mended:"
    )


def test_names_that_lack_an_ending_lead_to_the_flag(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = _table([f"{i},1,0" for i in range(9)], "id,cat,dog")
    status, lines = _look(capsys, csv, "--images=images")
    assert status == 1
    (hint,) = [line for line in lines if "lack the ending" in line]
    flags = hint.partition(": try ")[2].split()
    assert _look(capsys, csv, "--images=images", *flags)[0] == 0


def test_a_file_for_each_split(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        _table([f"{i}.jpg,1,0" for i in range(5) if (i < 2) == (name == "a")], name=f"{name}.csv")
    status, lines = _look(capsys, "train=a.csv,test=b.csv", "--images=images")
    assert status == 0
    assert lines[0] == "2 files, a.csv, b.csv: CSV, commas between the cells, utf-8, 5 rows"
    assert "Splits, by the files of the table: train 2 images, test 3 images" in lines


def test_a_folder_that_is_not_there_is_an_error_below_the_columns(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error, lines = _look(capsys, _table(["0.jpg,1,0"]), "--images=pictures")
    assert error == "--images: there is no folder pictures"
    assert "  cat     0 and 1          1" in lines


def test_a_row_for_each_label_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = _table([f"{i // 2}.jpg,{'cat' if i % 2 else 'dog'}" for i in range(16)], "file,label")
    status, lines = _look(capsys, csv, "--images=images")
    assert status == 1
    assert "          (If the table has a row for each label: --merge_rows)" in lines


def test_versions_of_an_image_in_several_splits_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{i // 4}_jpg.rf.{i:032x}.jpg" for i in range(40)]
    for name in names:
        (folder / "images" / name).write_text("x")
    status, lines = _look(capsys, _table([f"{name},1,0" for name in names]), "--images=images", "--splits=a=1/2,b=1/2")
    assert status == 0
    (note,) = [line for line in lines if line.startswith("Note: ")]
    assert note.endswith(r"--group_pattern='(.*)\.rf\.'")


@pytest.mark.parametrize(
    ("content", "expected", "error"),
    [
        pytest.param("30\nBald Male\n0.jpg 1 1\n", ["  30", "  Bald Male", "  0.jpg 1 1"], "line 1", id="a title"),
        pytest.param("", [], "no header", id="an empty file"),
        pytest.param("\xff\xd8\xff\xe0\0", [], "NUL|utf-8", id="an image"),
        pytest.param(
            "file,größe,see\n1.jpg,Zürich,1\n", ["  größe   texts            Zürich"], "--encoding", id="an encoding"
        ),
    ],
)
def test_shows_what_can_be_read_of_a_file_that_is_no_table(
    folder: Path, capsys: pytest.CaptureFixture[str], content: str, expected: list[str], error: str
) -> None:
    Path("labels.csv").write_bytes(content.encode("latin-1"))
    status, lines = _look(capsys, "labels.csv", "--images=images")
    assert isinstance(status, str)
    assert any(word in status for word in error.split("|")), status
    assert [line for line in expected if line not in lines] == [], lines


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param([], id="none"),
        pytest.param(["--negative_labels=0,''", "--unknown_labels", "-1"], id="blanks and two words"),
        pytest.param(["--label_columns=cat,dog", "--classes=dog,cat", "--name=x", "--output=a b"], id="an output"),
        pytest.param([r"--filename_pattern=^(?:a b)?(.*\.jpg)$", "--nomerge_rows", "--max_rejects=1%"], id="a pattern"),
        pytest.param(["--layout=roboflow", "--filename_column=file"], id="a layout"),
    ],
)
def test_the_command_has_the_flags_that_were_given(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    options, given = program._parse(["look", _table(["0.jpg,1,0"]), "--images", "images", *flags])
    python, _, module, *arguments = shlex.split(program._command(options, given))
    assert (python, module) == ("python", "converter")
    converted, _ = parse_conversion(["converter", *arguments])
    expected = {field: value for field, value in vars(options).items() if field != "name"}
    assert {field: value for field, value in vars(converted).items() if field != "name"} == expected
    assert converted.name == ("x" if "--name=x" in flags else "flags")


def test_takes_the_csv_as_a_conversion_does(folder: Path) -> None:
    csv = _table(["0.jpg,1,0"])
    for argv in ([csv], [f"--csv={csv}"], ["--csv", csv]):
        assert program._parse(["look", *argv, "--images=images"]) == program._parse(["look", csv, "--images=images"])
    Path("mine.flags").write_text(f"--csv={csv}\n--images=images\n--name=x\n")
    options, given = program._parse(["look", "--flagfile=mine.flags"])
    assert program._command(options, given) == (
        "python -m converter --csv=labels.csv --flagfile=mine.flags --output=data --name=x"
    )


def test_says_what_a_conversion_then_does(scenes: Path, convert: Convert, tmp_path: Path) -> None:
    lines = (scenes / "labels.csv").read_text().splitlines()
    csv = tmp_path / "labels.csv"
    csv.write_text("\n".join([*lines[:-2], "gone.jpg,1,0,0,0,0", lines[3], "5.jpg,1,1,1,1,0", "8.jpg,1,1,1,1,x"]))
    given: dict[str, Any] = {"csv": str(csv), "images": str(scenes / "images"), "max_rejects": 20}
    found = findings.find(LookOptions(**given))
    info = convert(**given)
    assert found.splits == {split.name: split.num_examples for split in info.splits}
    assert {reason.value: number for reason, (number, _) in found.rejects.items()} == info.rejects
    rejects = [row["line"] for row in read_csv(str(tmp_path / "out/scenes/1.0.0"), layout.REJECTS, Reject._fields)]
    assert {str(first.line) for _, first in found.rejects.values()} <= set(rejects)
    assert len(found.unlisted) == info.unlisted
    assert found.num_rows == info.num_examples + sum(info.rejects.values())


def test_the_error_of_a_conversion_leads_to_a_look(folder: Path, convert: Convert) -> None:
    csv = _table([f"{i}.jpg,1,{i}.5" for i in range(9)])
    with pytest.raises(UserError) as caught:
        convert(csv=Path(csv), images=Path("images"))
    assert caught.value.__notes__ == [
        "To see its columns, and what other flags make of them: python -m converter.look labels.csv --images=images"
    ]
    with pytest.raises(UserError) as caught:
        convert(csv=Path("none.csv"), images=Path("images"))
    assert not hasattr(caught.value, "__notes__"), "there is nothing to look at"


def test_the_program_shows_columns_and_error(folder: Path) -> None:
    csv = _table([f"{i}.jpg,1,{i}.5" for i in range(9)])
    command = [sys.executable, "-m", "converter.look", csv, "--images=images"]
    environment = {"PYTHONPATH": str(Path(program.__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "  dog     numbers          0.5, 1.5" in done.stdout
    assert done.stderr.startswith("error: labels.csv line 1: 'dog' holds '0.5'")
