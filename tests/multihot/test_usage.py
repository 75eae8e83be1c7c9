"""A program is called by the name that its user has typed."""

import sys

import pytest

from multihot.usage import Usage, program, unknown_flag


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
    assert str(Usage("converter", "--csv=FILE", "--csv=a.csv").error("What?")).splitlines() == [
        "What?",
        f"usage: {name} --csv=FILE",
        f"example: {name} --csv=a.csv",
        f"All flags: {name} --help",
    ]


def test_the_closest_flag() -> None:
    assert unknown_flag("epoch", ["epochs", "seed"]) == "Unknown flag --epoch. Did you mean --epochs?"
    assert unknown_flag("xyz", ["epochs", "seed"]) == "Unknown flag --xyz."
