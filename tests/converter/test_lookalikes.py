"""Pictures that are easily taken for each other are not, and their copies are found: scripts/bench/alike.py on few."""

import random
import time
import tracemalloc

import numpy as np
import pytest

import alike
import drawings
from converter import likeness, lookalikes, neighbours
from converter.fingerprints import Fingerprint
from converter.likeness import SIDE

_NUMBER = 12

# Of small figures and numbers, those with a figure or a digit of a tenth of the side are taken for each other.
_SHARPER = dict.fromkeys(drawings.KINDS, 0) | {"small figures": 4, "numbers": 6}
# The hash finds few copies of these kinds, with or without colours: shapes in the middle have no frequencies to hash.
_LEAST = dict.fromkeys(drawings.KINDS, 0.8) | {
    "small figures": 0.6, "shapes in colours": 0.35, "letters": 0.5, "thin lines": 0.7, "sheared": 0.4,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", drawings.KINDS)
def test_drawings_are_told_apart_and_their_copies_are_found(kind: str) -> None:
    found = alike.measure(kind, _NUMBER)
    assert found.listed <= _SHARPER[kind]
    assert sum(found.recall) / len(found.recall) >= _LEAST[kind]


def test_shapes_in_colours_are_no_duplicates() -> None:
    ones = [alike.fingerprint(f"{i:02}", drawings.encoded(drawings.places(i), "PNG")) for i in range(64)]
    assert neighbours_of(ones)  # Their hashes do not tell them apart.
    assert alike.grouped(ones) == {}


def neighbours_of(ones: list[Fingerprint]) -> list[tuple[str, str]]:
    (links,) = [neighbours.begin_links(band, [some])() for (band, _), some in neighbours.bands(ones, 1)]
    return list(links.pairs())


@pytest.mark.parametrize("change", drawings.CHANGES, ids=lambda change: change.name)
def test_a_copy_of_a_drawing_is_alike(change: drawings.Change) -> None:
    for kind in ("logos", "moved objects"):
        picture = drawings.KINDS[kind](1)
        one, other = (_colours(data) for data in (drawings.encoded(picture, "PNG"), drawings.copy(picture, change)))
        # What a lit drawing loses to clipping is not always made up for.
        assert change.name == "lit" or likeness.alike(one, other).all(), kind
        np.testing.assert_array_equal(likeness.alike(one, other), likeness.alike(other, one))


@pytest.mark.parametrize("kind", ["logos", "letters", "moved objects", "shapes in colours"])
def test_drawings_of_one_layout_are_not_alike(kind: str) -> None:
    pictures = np.concatenate([_colours(drawings.encoded(drawings.KINDS[kind](i), "PNG")) for i in range(4, 8)])
    some, others = np.triu_indices(4, 1)
    assert not likeness.alike(pictures[some], pictures[others]).any()


def _colours(data: bytes) -> np.ndarray:
    return np.frombuffer(alike.fingerprint("a", data).colours, np.uint8).reshape(1, SIDE, SIDE, 3)


def test_no_pairs_are_compared() -> None:
    assert likeness.alike(*np.zeros((2, 0, SIDE, SIDE, 3), np.uint8)).shape == (0,)


def test_a_crowd_of_drawings_on_one_ground_takes_seconds() -> None:
    """All are candidates; and files with the same bytes are found among them."""
    pictures = [np.asarray(drawings.dot(i).resize((SIDE, SIDE))) for i in range(1000)]
    ones = [
        Fingerprint(f"{i:04}", f"{i:08}".encode(), 5, bytes(range(64)), picture.tobytes())
        for i, picture in enumerate(pictures)
    ]
    ones += [one._replace(filename=f"copy of {one.filename}") for one in ones[::10]]
    random.Random(0).shuffle(ones)
    start = time.process_time()
    found = alike.grouped(ones)
    assert time.process_time() - start < 30
    assert {f"copy of {i:04}" for i in range(0, 1000, 10)} <= found.keys()
    assert alike.grouped(sorted(ones)) == found


def test_one_long_name_does_not_set_the_size_of_all() -> None:
    names = ["x" * 100_000, *(f"{i:05}" for i in range(10_000))]
    ones = [Fingerprint(name, b"12345678", 5, bytes(range(64)), bytes(3 * SIDE * SIDE)) for name in names]
    tracemalloc.start()
    found = alike.grouped(ones)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 10_001
    assert peak < 200e6  # 10 001 names of 100 000 letters would be 1 GB.


def test_the_parts_have_all_candidates_once_and_groups_are_whole() -> None:
    ones = [Fingerprint(f"{i}", b"12345678", 5, bytes(64), bytes(3 * SIDE * SIDE)) for i in range(50)]
    groups = {f"{i}": f"{i % 7}" for i in range(40)}
    by_part = dict(lookalikes.parts(ones, groups, 5))
    assert sorted(name for some in by_part.values() for name in some.names) == sorted(groups)
    parts = {name: part for part, some in by_part.items() for name in some.names}
    assert all(parts[name] == parts[first] for name, first in groups.items())
