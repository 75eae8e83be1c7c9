"""A program is called by the name that its user has typed, and --help shows all of its settings."""

import dataclasses
import sys
from dataclasses import field

import pytest

from multihot.settings import setting
from multihot.usage import Usage, command_line, program, unknown_flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Config:
    folder: str = field(metadata=setting("A folder.", value="DIR", positional=True))
    csv: str = field(metadata=setting("A file.", value="FILE"))
    size: int = field(default=3_000, metadata=setting("Size, in kB.", flag="kb", unit=1000))
    kind: str = field(default="a", metadata=setting("Kind.", choices=("a", "b")))
    names: tuple[str, ...] = field(default=(), metadata=setting("Names. Default: all."))
    a_name_with_many_letters: bool = field(default=False, metadata=setting("Words " * 10 + "with a space before."))


_USAGE = Usage(
    "converter",
    "Converts a table and a folder of images into a dataset, as this sentence says.",
    "data --csv=a.csv",
    (_Config,),
)
_HELP = """\
usage: python -m converter DIR --csv=FILE [flags]

Converts a table and a folder of images into a dataset, as this
sentence says.

example: python -m converter data --csv=a.csv

Arguments:
  DIR                      A folder.

Flags:
  --csv=FILE               A file. (required)
  --kb=N                   Size, in kB. (default: 3)
  --kind=...               Kind. Choices: a, b. (default: a)
  --names=A,B              Names. Default: all.
  --a_name_with_many_letters
                           Words Words Words Words Words Words Words
                           Words Words Words with a space before.
                           (default: off)
  --flagfile=FILE          Read flags from a file, one on each line.
"""


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("/project/converter/__main__.py", "python -m converter"),
        ("/usr/bin/multihot-convert", "multihot-convert"),
        ("multihot convert", "multihot convert"),
    ],
)
def test_the_name_of_a_program(typed: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [typed])
    assert program("converter") == name
    assert str(_USAGE.error("Which?")).splitlines() == [
        "Which?",
        f"usage: {name} DIR --csv=FILE [flags]",
        f"example: {name} data --csv=a.csv",
        f"All flags: {name} --help",
    ]


def test_the_closest_flag() -> None:
    assert unknown_flag("epoch", ["epochs", "seed"]) == "Unknown flag --epoch. Did you mean --epochs?"
    assert unknown_flag("xyz", ["epochs", "seed"]) == "Unknown flag --xyz."


def test_help_shows_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tests"])
    monkeypatch.setenv("COLUMNS", "70")
    assert _USAGE.help().startswith(_HELP)


@pytest.mark.parametrize("columns", ["10", "80", "500"])
def test_lines_of_help_fit_into_the_terminal(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, _USAGE.help().splitlines())) <= max(50, min(100, int(columns)))


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("/project/converter/__main__.py", "python -m converter '--csv=my labels.csv'"),
        ("multihot convert", "multihot convert '--csv=my labels.csv'"),
        ("/project/trainer/__main__.py", ""),
        ("notebook.py", ""),
    ],
)
def test_a_command_line_can_be_pasted(typed: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [typed, "--csv=my labels.csv"])
    assert command_line("converter") == line
