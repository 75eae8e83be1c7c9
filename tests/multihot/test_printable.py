"""Text of libraries and of the input, in a line."""

import keras
import pytest

from multihot.printable import one_line, printable


def test_control_characters_are_seen() -> None:
    assert printable("a\tb\u202ec") == r"a\tb\u202ec"


def test_what_keras_says_for_a_terminal_is_a_line_without_its_colours() -> None:
    with pytest.raises(ValueError, match="\x1b") as caught:
        keras.Sequential([keras.layers.Dense(1), keras.layers.Reshape((7,))])(keras.ops.zeros((1, 2)))
    said = one_line(caught.value)
    assert "\x1b" not in said
    assert "\n" not in said
    assert "Exception encountered when calling Reshape.call()." in said
    assert one_line("a  b\n c", 4) == "a b "
