"""Values are held against their declared types, all the way down."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from schemas import typed


@dataclasses.dataclass
class Leaf:
    number: int


@dataclasses.dataclass
class Tree:
    leaves: tuple[Leaf, ...]
    names: Mapping[str, int]


def test_what_is_right_passes() -> None:
    typed.check(Tree((Leaf(1), Leaf(-2)), {"a": 1}), Tree)
    typed.check(Tree((), {}), Tree)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "^ must be Tree. Received: 'None'$"),
        (Tree([Leaf(1)], {}), "^leaves must be tuple"),  # type: ignore[arg-type]
        (Tree((Leaf(1), 2), {}), r"^leaves\[1\] must be Leaf. Received: '2'$"),  # type: ignore[arg-type]
        (Tree((Leaf(1.0),), {}), r"^leaves\[0\].number must be int. Received: '1.0'$"),  # type: ignore[arg-type]
        (Tree((Leaf(True),), {}), r"^leaves\[0\].number must be int. Received: 'True'$"),
        (Tree((), {1: 1}), "^a key of names must be str. Received: '1'$"),  # type: ignore[dict-item]
        (Tree((), {"a": "b"}), r"^names\['a'\] must be int. Received: 'b'$"),  # type: ignore[dict-item]
    ],
)
def test_what_is_wrong_is_named(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        typed.check(value, Tree)
