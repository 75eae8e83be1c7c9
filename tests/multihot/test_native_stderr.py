"""The lines of libjpeg do not reach the terminal, and all else does."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multihot.native_stderr import left_out

_ROOT = Path(__file__).parents[2]
_LIBJPEG = [
    b"Corrupt JPEG data: premature end of data segment\n",
    b"Corrupt JPEG data: 12 extraneous bytes before marker 0xd9\n",
    b"Corrupt JPEG data: found marker 0xd9 instead of RST7\n",
    b"Corrupt JPEG data: bad Huffman code\n",
    b"Corrupt JPEG data: bad arithmetic code\n",
    b"Corrupt JPEG data: bad ICC marker\n",
    b"Premature end of JPEG file\n",
    b"Warning: unknown JFIF revision number 9.01\n",
    b"Unknown Adobe color transform code 7\n",
    b"Inconsistent progression sequence for component 0 coefficient 63\n",
    b"Invalid SOS parameters for sequential JPEG\n",
]
_OTHERS = [
    b"a line\n",
    b"\n",
    b"Corrupt JPEG data: of my own\n",
    b"image 7: Corrupt JPEG data: premature end of data segment\n",
    b"Premature end\n",
    b"Warning: unknown\r",
    b"\xff\xfe\0 no text",
    b"Epoch 1/3 [=====>   ]\r",
    b"C" * 300 + b"\n",
]


@given(st.lists(st.sampled_from([*_LIBJPEG, *_OTHERS])), st.data())
def test_exactly_the_lines_of_libjpeg_are_left_out(pieces: list[bytes], data: st.DataObject) -> None:
    text = b"".join(pieces)
    expected = b"".join(line for line in _lines(text) if line not in _LIBJPEG)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=9)))
    blocks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert b"".join(left_out(block for block in blocks if block)) == expected


def _lines(text: bytes) -> Iterator[bytes]:
    while text:
        line, newline, text = text.partition(b"\n")
        yield line + newline


def test_what_may_become_a_line_of_libjpeg_is_shown_after_a_pause() -> None:
    assert list(left_out(iter([b"Corrupt JPEG da", b"", b"maged: no\n"]))) == [b"Corrupt JPEG da", b"maged: no\n"]
    assert list(left_out(iter([b"Password: ", b"x\n"]))) == [b"Password: ", b"x\n"]


_PROGRAM = """
import os, sys
from multihot import command, native_stderr
from multihot.errors import UserError

native_stderr.filter_libjpeg()
for line in ({lines!r}):
    os.write(2, line)
def main(argv):
    {body}
command.run(main)
"""


def _run(body: str, lines: tuple[bytes, ...] = (b"native\n", _LIBJPEG[0])) -> tuple[int, list[str]]:
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(body=body, lines=lines)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=_ROOT,
    )
    return process.returncode, sorted(process.stderr.splitlines())


@pytest.mark.parametrize(
    ("body", "status", "lines"),
    [
        pytest.param("return 0", 0, ["native"], id="the end"),
        pytest.param("print('python', file=sys.stderr)", 0, ["native", "python"], id="Python"),
        pytest.param("raise UserError('mend it')", 1, ["error: mend it", "native"], id="an error"),
        pytest.param("os.write(2, b'last'); os._exit(3)", 3, ["last", "native"], id="an end at once"),
        pytest.param(
            "os.system('echo child >&2; echo Premature end of JPEG file >&2')", 0, ["child", "native"], id="child"
        ),
        pytest.param("os.write(2, b'Premature end of J')", 0, ["Premature end of J", "native"], id="half a line"),
    ],
)
def test_nothing_else_is_lost(body: str, status: int, lines: list[str]) -> None:
    assert _run(body) == (status, lines)


def test_what_is_said_in_a_crash_is_shown() -> None:
    status, lines = _run(r"os.write(2, b'Check failed\n'); os.abort()")
    assert status == -6
    assert {"native", "Check failed", "Fatal Python error: Aborted"} <= set(lines)


def test_much_that_is_written_while_the_interpreter_is_locked_blocks_nothing() -> None:
    """faulthandler writes without giving the lock of the interpreter away, here more than a pipe holds."""
    body = "import faulthandler; [faulthandler.dump_traceback(2) for _ in range(3000)]"
    status, lines = _run(body)
    assert status == 0
    assert sum("in main" in line for line in lines) == 3000


def test_a_progress_bar_still_finds_the_terminal() -> None:
    ours, theirs = pty.openpty()
    program = _PROGRAM.format(body="print(sys.stderr.isatty(), file=sys.stderr)", lines=(b"native\n", _LIBJPEG[1]))
    subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True, timeout=60, cwd=_ROOT)
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 1000)
        except OSError:  # Nobody has the other end any more.
            break
        shown += block
    os.close(ours)
    assert sorted(shown.split()) == [b"True", b"native"]
