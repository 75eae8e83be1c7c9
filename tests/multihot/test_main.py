"""The command `multihot` runs each program by its name, and says what there is when the name is wrong."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import multihot
from multihot import __main__ as program

_TOP = Path(__file__).parents[2]


def _multihot(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "multihot", *arguments]
    return subprocess.run(command, cwd=_TOP, capture_output=True, text=True, check=False, timeout=120)


def test_the_version() -> None:
    process = _multihot("--version")
    assert (process.returncode, process.stdout) == (0, f"multihot {multihot.__version__}\n")


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_lists_the_programs(word: str) -> None:
    process = _multihot(word)
    assert process.returncode == 0
    assert [line.split()[0] for line in process.stdout.splitlines() if line.startswith("  ")] == list(program._PROGRAMS)


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        pytest.param([], "usage: multihot PROGRAM [arguments]", id="nothing"),
        pytest.param(["convrt"], "error: There is no program 'convrt'. Did you mean 'convert'?", id="a mistyped word"),
        pytest.param(["--csv=a.csv"], "error: There is no program '--csv=a.csv'.", id="a flag"),
    ],
)
def test_without_a_program_it_says_which_there_are(arguments: list[str], first: str) -> None:
    process = _multihot(*arguments)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.splitlines()[0] == first
    for text in ("usage: multihot PROGRAM", "example: multihot convert --csv=", *program._PROGRAMS):
        assert text in process.stderr


def test_programs_are_imported_when_they_are_run() -> None:
    code = "import sys, multihot.__main__; print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], cwd=_TOP, capture_output=True, text=True, check=True)
    packages = {name.split(".")[0] for name in process.stdout.split()}
    assert not packages & {"absl", "apache_beam", "converter", "numpy", "schemas", "tensorflow", "trainer"}


@pytest.mark.parametrize("name", ["convert", "train", "verify", "runs"])
def test_a_signal_while_a_program_is_imported_ends_it_without_a_word(name: str) -> None:
    code = (
        "import os, signal, sys\n"
        "from multihot import __main__ as program\n"
        "def hook(event, args):\n"
        "    if event == 'import' and args[0] in ('absl', 'numpy', 'apache_beam', 'tensorflow', 'pandas'):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.addaudithook(hook)\n"
        f"sys.argv = ['multihot', {name!r}]\n"
        "program.run()\n"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=_TOP, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (143, "", "")


@pytest.mark.parametrize("name", [name for name in program._PROGRAMS if name not in ("convert", "train")])
def test_every_program_is_there(name: str) -> None:
    assert callable(importlib.import_module(program._PROGRAMS[name].module).run)


@pytest.mark.parametrize(
    ("arguments", "missing", "status"),
    [
        pytest.param(["convert"], "--csv is required.", 1, id="convert"),
        pytest.param(["train"], "--data is required.", 1, id="train", marks=pytest.mark.slow),
        *(
            pytest.param([name], f"{missing} is required.", 2, id=name)
            for name, missing in {
                "look": "CSV",
                "verify": "DIR",
                "inspect": "DIR",
                "diff": "A",
                "report": "DIR",
                "runs": "DIR",
            }.items()
        ),
        pytest.param(["convert", "--imgaes=x"], "Unknown flag --imgaes. Did you mean --images?", 1, id="mistyped"),
        pytest.param(
            ["train", "--epoch=3"],
            "Unknown flag --epoch. Did you mean --epochs?",
            1,
            id="mistyped, train",
            marks=pytest.mark.slow,
        ),
        pytest.param(["verify", "x", "--decoed=3"], "Unknown flag --decoed. Did you mean --decode?", 2, id="of a tool"),
    ],
)
def test_a_program_says_how_it_is_called(arguments: list[str], missing: str, status: int) -> None:
    process = _multihot(*arguments)
    assert (process.returncode, process.stdout) == (status, "")
    first, *lines = process.stderr.splitlines()
    assert first == f"error: {missing}"
    for word in ("usage", "example"):
        assert any(line.startswith(f"{word}: multihot {arguments[0]} ") for line in lines), word


@pytest.mark.slow
def test_it_converts(scenes: Path, tmp_path: Path) -> None:
    flags = (f"--csv={scenes}/labels.csv", f"--images={scenes}/images", f"--output={tmp_path}", "--version=1.1.0")
    process = _multihot("convert", *flags)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.splitlines()[-1] == f"Dataset: {tmp_path}/dataset/1.1.0"
    assert _multihot("verify", f"{tmp_path}/dataset/1.1.0").returncode == 0
