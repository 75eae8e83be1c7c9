"""How command lines end: with the status of the program, or with a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
from absl.flags import argparse_flags
from schemas import command
from schemas.errors import UserError

def parse(argv):
    parser = argparse_flags.ArgumentParser()
    parser.add_argument("argument")
    return parser.parse_args(argv[1:]).argument

def main(argument):
    {body}

command.run(main, parse=parse, errors=(ZeroDivisionError,), status={status})
"""


def _run(body: str, status: int = 1) -> tuple[int, str, str]:
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(body=body, status=status), "argument"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": "."},
    )
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("print(argument)", (0, "argument\n", "")),
        ("return 3", (3, "", "")),
        ("raise UserError('mend it')", (1, "", "error: mend it\n")),
        (r"raise UserError('no \x1b[2J\nmend it')", (1, "", "error: no \\x1b[2J\nmend it\n")),
        ("raise OSError(28, 'No space left', 'file')", (1, "", "error: file: No space left\n")),
        ("return 1 / 0", (1, "", "error: division by zero\n")),
        ("raise KeyboardInterrupt", (130, "", "")),
        ("print('\\u00e9')", (0, "\\xe9\n", "")),
    ],
)
def test_ends_with_a_status_and_no_traceback(body: str, expected: tuple[int, str, str]) -> None:
    assert _run(body) == expected


def test_the_status_of_trouble_can_be_chosen() -> None:
    assert _run("raise UserError('mend it')", status=2) == (2, "", "error: mend it\n")


def test_a_defect_keeps_its_traceback() -> None:
    status, _, stderr = _run("raise TypeError('ours')")
    assert status == 1
    assert "Traceback" in stderr
