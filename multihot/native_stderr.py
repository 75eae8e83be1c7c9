"""Removes the warnings of libjpeg from standard error: they name no image, and training continues after them.

    native code -> file descriptor 2 -> pipe -> a process that removes these lines --> standard error
    Python      -> sys.stderr ------------------------------------------------------> standard error

TensorFlow has no option to disable them. The filter is a process, and not a thread of this one: native code may hold
the interpreter lock while it fills the pipe, and the last lines of a process that crashes must still be shown.
"""

import atexit
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

# The warnings of libjpeg-turbo (JWRN_... in its jerror.h).
_LINE = re.compile(
    rb"""(Corrupt\ JPEG\ data:\ (
            bad\ (arithmetic\ code | Huffman\ code | ICC\ marker)
            | premature\ end\ of\ data\ segment
            | \d+\ extraneous\ bytes\ before\ marker\ 0x[0-9a-f]{2}
            | found\ marker\ 0x[0-9a-f]{2}\ instead\ of\ RST\d+ )
        | Premature\ end\ of\ JPEG\ file
        | Warning:\ unknown\ JFIF\ revision\ number\ \d+\.\d+
        | Unknown\ Adobe\ color\ transform\ code\ \d+
        | Inconsistent\ progression\ sequence\ for\ component\ \d+\ coefficient\ \d+
        | Invalid\ SOS\ parameters\ for\ sequential\ JPEG
        | Application\ transferred\ too\ many\ scanlines
    )\r?\n""",
    re.VERBOSE,
)
_STARTS = (
    b"Corrupt JPEG data: ",
    b"Premature end of JPEG",
    b"Warning: unknown JFIF",
    b"Unknown Adobe color",
    b"Inconsistent progression",
    b"Invalid SOS parameters",
    b"Application transferred",
)
# Bounds for a line of libjpeg: its length, and a pause that never occurs inside of one.
_MAX_LINE, _PAUSE_SECONDS = 200, 0.2
_EXIT_SECONDS = 2.0


def filter_libjpeg() -> None:
    """Starts to remove the warnings of libjpeg from the output of this process and of its child processes.

    `sys.stderr` still writes to standard error directly, so that progress bars find a terminal. If the filter cannot be
    started, nothing is removed.
    """
    try:
        stderr = os.dup(2)
        reading, writing = os.pipe()
    except OSError:
        return
    try:
        # Isolated and without site-packages, the process starts in some hundredths of a second.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=reading, stdout=stderr, stderr=subprocess.DEVNULL
        )
    except OSError:
        os.close(stderr)
        os.close(writing)
        return
    finally:
        os.close(reading)
    _flush()
    os.dup2(writing, 2)
    os.close(writing)
    old = sys.stderr
    sys.stderr = open(stderr, "w", 1, old.encoding, old.errors, closefd=False)  # noqa: SIM115 (until the end)
    atexit.register(_end, process, stderr)


def _end(process: "subprocess.Popen[bytes]", stderr: int) -> None:
    """Waits until the filter has written everything, or for some seconds if other processes keep its pipe open."""
    _flush()
    os.dup2(stderr, 2)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_EXIT_SECONDS)


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()


def left_out(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the content of blocks without the lines of libjpeg.

    Args:
        blocks: as they are read; b"" after a pause.

    Yields:
        All other bytes, unchanged, and as soon as they cannot be part of a line of libjpeg.
    """
    held, at_start = b"", True
    for block in blocks:
        held += block
        out = b""
        while held:
            line, newline, rest = held.partition(b"\n")
            if at_start and newline and _LINE.fullmatch(line + newline):
                held = rest
            elif newline:
                out, held, at_start = out + line + newline, rest, True
            elif block and at_start and _may_be_libjpeg(line):
                break
            else:
                out, held, at_start = out + line, b"", False
        if out:
            yield out
    if held:
        yield held


def _may_be_libjpeg(line: bytes) -> bool:
    return len(line) < _MAX_LINE and any(line.startswith(start[: len(line)]) for start in _STARTS)


def _blocks() -> Iterator[bytes]:
    while True:
        # After a pause, one empty block makes `left_out` yield the bytes that it holds.
        ready, _, _ = select.select([0], [], [], _PAUSE_SECONDS)
        if not ready:
            yield b""
            select.select([0], [], [])
        block = os.read(0, 1 << 16)
        if not block:
            return
        yield block


def _main() -> None:
    """Copies standard input to standard output, until the last process that writes to it has ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # The program handles them, and may write more before it ends.
    for out in left_out(_blocks()):
        while out:
            try:
                out = out[os.write(1, out) :]
            except OSError:  # The reader has ended. The program must not be stopped for that.
                break


if __name__ == "__main__":
    _main()
