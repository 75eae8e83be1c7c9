"""Output of native libraries stays away from the terminal, unless it explains an exception."""

import os

import pytest
import tensorflow as tf

from multihot.quiet import quiet, tensorflow


def test_holds_back_what_is_said_inside(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before\n")
    with quiet():
        os.write(2, b"inside, as C++ does\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


def test_shows_it_when_an_exception_leaves(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportError), quiet():
        os.write(2, b"libfoo.so: cannot open\n")
        raise ImportError
    assert capfd.readouterr().err == "libfoo.so: cannot open\n"


def test_leaves_the_level_that_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with quiet():
        pass
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_tensorflow_is_what_is_imported_elsewhere() -> None:
    assert tensorflow() is tf
