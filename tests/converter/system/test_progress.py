"""The bar: on a terminal it shows images done of all; elsewhere it says nothing."""

import io
from concurrent.futures import ThreadPoolExecutor

import pytest

from converter.system import progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_counts_what_is_done_of_what_there_is_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress.bar(), ThreadPoolExecutor(8) as threads:
        progress.expect(100)
        progress.expect(300)
        for _ in range(399):
            threads.submit(progress.advance)
    last = terminal.getvalue().replace("\n", "\r").rstrip("\r").split("\r")[-1]
    assert "converting: 100%" in last
    assert "399/400" in last
    assert "images/s" in last


def test_says_nothing_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.bar():
        progress.expect(3)
        progress.advance()
    assert capfd.readouterr() == ("", "")


def test_does_nothing_on_a_worker_elsewhere() -> None:
    progress.expect(3)
    progress.advance()
