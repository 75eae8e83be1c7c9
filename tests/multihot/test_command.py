"""How command lines end: with the status of the program, or with a sentence."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multihot import signals

_PROGRAM = """
import os, signal, sys, time
from absl import flags
from multihot import command, signals
from multihot.errors import UsageError, UserError

def interrupted():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        pass

def hangs():  # As a step of TensorFlow does, between whose bytecodes there are none.
    signal.signal(signal.SIGTERM, lambda *_: None)

class Bad:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def parse(argv):
    return flags.FLAGS(argv)[1]

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


def test_a_program_whose_output_is_cut_off_ends_without_a_message() -> None:
    body = "[print(argument, i, flush=True) for i in range(1000) if not time.sleep(0.01)]"
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(body=body, status=1), "argument"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout and process.stdout.readline() == "argument 0\n"
        process.stdout.close()
        assert process.stderr and process.stderr.read() == ""
    assert process.returncode == 141


def test_a_pipe_that_is_not_the_output_may_break() -> None:
    assert _run("raise BrokenPipeError(32, 'Broken pipe')") == (1, "", "error: [Errno 32] Broken pipe\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("print(argument)", (0, "argument\n", "")),
        ("return 3", (3, "", "")),
        ("raise UserError('mend it')", (1, "", "error: mend it\n")),
        ("raise UsageError('mend it', 2)", (2, "", "error: mend it\n")),
        (r"raise UserError('no \x1b[2J\nmend it')", (1, "", "error: no \\x1b[2J\nmend it\n")),
        ("raise OSError(28, 'No space left', 'file')", (1, "", "error: file: No space left\n")),
        ("return 1 / 0", (1, "", "error: division by zero\n")),
        ("raise KeyboardInterrupt", (130, "", "Interrupted.\n")),
        ("signal.raise_signal(signal.SIGINT)", (130, "", "Interrupted.\n")),
        ("signal.raise_signal(signal.SIGTERM)", (143, "", "Interrupted.\n")),
        (
            "with signals.deferred(): interrupted(); print('on'); signals.check(); print('off')",
            (143, "on\n", "Interrupted.\n"),
        ),
        ("with signals.deferred(): interrupted(); print('on')", (143, "on\n", "Interrupted.\n")),
        ("with signals.deferred(): interrupted(); raise UserError('because')", (143, "", "Interrupted.\n")),
        ("with signals.deferred(): signals.check()", (0, "", "")),
        pytest.param(
            "with signals.deferred(): interrupted(); time.sleep(100)",
            (143, "", "Interrupted.\n"),
            marks=pytest.mark.slow,
        ),
        # Errors that follow from an interruption are not printed.
        ("interrupted(); return 1 / 0", (143, "", "Interrupted.\n")),
        ("interrupted(); raise TypeError", (143, "", "Interrupted.\n")),
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


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise UserError('mend it')", (1, "", "error: mend it\n2 files are kept.\n")),
        ("signal.raise_signal(signal.SIGTERM)", (143, "", "Interrupted.\n2 files are kept.\n")),
    ],
)
def test_what_is_left_is_said_after_the_error(body: str, expected: tuple[int, str, str]) -> None:
    with_leaves = f"with command.leaves(lambda: '2 files are kept.'): {body}"
    assert _run(with_leaves) == expected
    nothing = f"with command.leaves(lambda: ''): {body}"
    assert _run(nothing) == (expected[0], "", expected[2].replace("2 files are kept.\n", ""))
    broken = f"with command.leaves(lambda: os.stat('missing').st_size): {body}"
    assert _run(broken) == (expected[0], "", expected[2].replace("2 files are kept.\n", ""))


def test_what_is_left_is_said_with_the_traceback_of_a_defect() -> None:
    status, _, stderr = _run("with command.leaves(lambda: '2 files are kept.'): raise TypeError('ours')")
    assert status == 1
    assert stderr.endswith("TypeError: ours\n2 files are kept.\n")


@pytest.mark.slow
def test_a_main_thread_that_does_not_listen_is_not_waited_for() -> None:
    body = "with command.leaves(lambda: '2 files are kept.'): hangs(); signal.raise_signal(signal.SIGTERM); {}"
    start = time.monotonic()
    assert _run(body.format("time.sleep(100)")) == (143, "", "Interrupted.\n2 files are kept.\n")
    assert time.monotonic() - start > signals._PATIENCE_SECONDS
    # A second signal is not waited for either.
    signalled = (
        "import threading; threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start(); time.sleep(100)"
    )
    start = time.monotonic()
    assert _run(body.format(signalled)) == (143, "", "Interrupted.\n2 files are kept.\n")
    assert time.monotonic() - start < signals._PATIENCE_SECONDS


@pytest.mark.slow
def test_a_signal_where_python_ignores_exceptions_ends_the_program_too() -> None:
    assert _run("Bad(); time.sleep(100)") == (143, "", "Interrupted.\n")


def test_a_signal_that_is_ignored_stays_so() -> None:
    program = _PROGRAM.format(body="signal.raise_signal(signal.SIGINT); print('on')", status=1)
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    process = subprocess.run(
        [sys.executable, "-c", ignoring + program, "x"], capture_output=True, text=True, check=True
    )
    assert process.stdout == "on\n"


@pytest.mark.parametrize("module", ["converter", "converter.verify", "trainer.runs"])
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_program_that_imports_ends_without_a_word(module: str, sent: int, status: int) -> None:
    # It comes when one of the modules is imported that take long.
    code = (
        "import os, runpy, sys\n"
        "def hook(event, args):\n"
        "    if event == 'import' and args[0] in ('absl', 'numpy', 'apache_beam', 'tensorflow', 'pandas'):\n"
        f"        os.kill(os.getpid(), {sent})\n"
        "sys.addaudithook(hook)\n"
        "sys.argv = ['-m']\n"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (process.returncode, process.stdout, process.stderr) == (status, "", "")
