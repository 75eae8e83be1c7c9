"""Dataclasses come back from JSON, with values of their declared types, all the way down."""

import dataclasses
import json
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
    names: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rare: int = dataclasses.field(default=0, metadata=typed.SPARSE)


def test_what_is_right_is_built() -> None:
    tree = Tree((Leaf(1), Leaf(-2)), {"a": 1}, 3)
    assert typed.build(json.loads(json.dumps(typed.plain(tree))), Tree) == tree
    assert typed.build({"leaves": [], "names": {}}, Tree) == Tree((), {})


def test_a_field_for_what_few_have_is_left_out_where_it_has_its_default() -> None:
    assert typed.plain(Tree((Leaf(1),), {"a": 1}, 3)) == {"leaves": [{"number": 1}], "names": {"a": 1}, "rare": 3}
    assert typed.plain(Tree((Leaf(1),))) == {"leaves": [{"number": 1}], "names": {}}


def test_what_newer_versions_add_is_passed_over_and_what_older_ones_lack_is_the_default() -> None:
    assert typed.build({"leaves": [{"number": 3, "new": []}], "new": 1}, Tree) == Tree((Leaf(3),))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "^ must be Tree. Received: 'None'$"),
        ({"leaves": {}}, "^leaves must be tuple"),
        ({"leaves": [{"number": 1}, 2]}, r"^leaves\[1\] must be Leaf. Received: '2'$"),
        ({"leaves": [{"number": 1.0}]}, r"^leaves\[0\].number must be int. Received: '1.0'$"),
        ({"leaves": [{"number": True}]}, r"^leaves\[0\].number must be int. Received: 'True'$"),
        ({"leaves": [], "names": [1]}, r"^names must be Mapping. Received: '\[1\]'$"),
        ({"leaves": [], "names": {"a": "b"}}, r"^names\['a'\] must be int. Received: 'b'$"),
        ({"names": {}}, "leaves"),
    ],
)
def test_what_is_wrong_is_named(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        typed.build(value, Tree)
