"""Pictures that are easily taken for each other are not, and their copies are found: scripts/bench/alike.py on few."""

import random
import time
import tracemalloc

import numpy as np
import pytest

import alike
import drawings
from converter.duplicates import likeness, lookalikes
from converter.duplicates.fingerprints import Fingerprint
from converter.duplicates.likeness import SIDE
from converter.duplicates.lookalikes import Picture
from multihot.images import prove
from multihot.images.prove import Preparation

_NUMBER = 12


@pytest.mark.slow
@pytest.mark.parametrize("kind", drawings.KINDS)
def test_drawings_are_told_apart_and_their_copies_are_found(kind: str) -> None:
    found, by_hashes = alike.measure(kind, _NUMBER)
    assert found.listed == 0
    assert found.precision >= 0.95
    recall, most = (sum(each.recall) / len(each.recall) for each in (found, by_hashes))
    assert recall >= most - 0.15


def test_shapes_in_colours_are_no_duplicates() -> None:
    ones = [alike.compared(f"{i:02}", drawings.encoded(drawings.places(i), "PNG")) for i in range(64)]
    assert alike.candidates(ones)  # Their hashes do not tell them apart.
    assert alike.grouped(ones) == {}


@pytest.mark.parametrize("change", drawings.CHANGES, ids=lambda change: change.name)
@pytest.mark.parametrize("kind", ["logos", "moved objects", "forms", "screenshots"])
def test_a_copy_of_a_drawing_is_alike(kind: str, change: drawings.Change) -> None:
    picture = drawings.KINDS[kind](1)
    one, other = (_pixels(data) for data in (drawings.encoded(picture, "PNG"), drawings.copy(picture, change)))
    assert _alike(one, other).all()
    assert _alike(other, one).all()


@pytest.mark.parametrize("kind", ["logos", "letters", "moved objects", "shapes in colours", "forms", "screenshots"])
def test_drawings_of_one_layout_are_not_alike(kind: str) -> None:
    pictures = np.concatenate([_pixels(drawings.encoded(drawings.KINDS[kind](i), "PNG")) for i in range(4, 8)])
    some, others = np.triu_indices(4, 1)
    assert not _alike(pictures[some], pictures[others]).any()


def _pixels(data: bytes) -> np.ndarray:
    return prove.picture(prove.prepare(data, Preparation(max_pixels=10**6)), SIDE)[None]


def _alike(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    return likeness.alike(some, others, np.full(len(some), 200))


def test_no_pairs_are_compared() -> None:
    assert _alike(*np.zeros((2, 0, SIDE, SIDE, 3), np.uint8)).shape == (0,)


@pytest.mark.parametrize("levels", [(0, 0), (255, 255), (0, 255), (100, 120)])
def test_plain_pictures_are_compared_without_a_warning(levels: tuple[int, int]) -> None:
    """Of equal levels the difference is 0; no level of another ground is that of a lit one."""
    some, others = (np.full((1, SIDE, SIDE, 3), level, np.uint8) for level in levels)
    with np.errstate(all="raise"):
        found = _alike(some, others)
    assert levels[0] != levels[1] or found.all()


def _candidate(name: str, digest: bytes, pixels: np.ndarray) -> alike.Compared:
    return alike.Compared(Fingerprint(name, digest, 5, bytes(range(64))), Picture.of(pixels, 128))


@pytest.mark.slow
def test_a_crowd_of_drawings_on_one_ground_takes_seconds() -> None:
    """All are candidates; and files with the same bytes are found among them."""
    pixels = [np.asarray(drawings.dot(i).resize((SIDE, SIDE))) for i in range(1000)]
    ones = [_candidate(f"{i:04}", f"{i:08}".encode(), each) for i, each in enumerate(pixels)]
    ones += [
        one._replace(fingerprint=one.fingerprint._replace(filename=f"copy of {one.fingerprint.filename}"))
        for one in ones[::10]
    ]
    random.Random(0).shuffle(ones)
    start = time.process_time()
    found = alike.grouped(ones)
    assert time.process_time() - start < 60
    assert {f"copy of {i:04}" for i in range(0, 1000, 10)} <= found.keys()
    assert alike.grouped(sorted(ones)) == found


def test_one_long_name_does_not_set_the_size_of_all() -> None:
    names = ["x" * 100_000, *(f"{i:05}" for i in range(10_000))]
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    ones = [_candidate(name, b"12345678", pixels) for name in names]
    tracemalloc.start()
    found = alike.grouped(ones)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 10_001
    assert peak < 200e6  # 10 001 names of 100 000 letters would be 1 GB.


def test_the_parts_have_all_candidates_once_and_groups_are_whole() -> None:
    ones = [Fingerprint(f"{i}", b"12345678", 5, bytes(64)) for i in range(50)]
    groups = {f"{i}": f"{i % 7}" for i in range(40)}
    by_part = dict(lookalikes.parts(ones, [None] * 50, groups, 5))
    assert sorted(name for some in by_part.values() for name in some.names) == sorted(groups)
    parts = {name: part for part, some in by_part.items() for name in some.names}
    assert all(parts[name] == parts[first] for name, first in groups.items())


def test_an_image_that_was_read_again_is_there_once_with_its_picture() -> None:
    one = Fingerprint("a", b"12345678", 5, bytes(64))
    picture = Picture(b"packed", 100)
    (without,) = (some for _, some in lookalikes.parts([one], [None], {"a": "a"}, 1))
    (pictured,) = (some for _, some in lookalikes.parts([one], [picture], {"a": "a"}, 1))
    for order in ([without, pictured], [pictured, without]):
        joined = lookalikes.Candidates.joined(order)
        assert joined.pictures.tolist() == [b"packed"]
        assert joined.sides.tolist() == [100]


def test_candidates_without_pictures_are_compared_by_their_hashes() -> None:
    ones = [Fingerprint(name, name.encode() * 8, 5, bytes(range(64))) for name in "ab"]
    groups = {"a": "a", "b": "a"}
    ((_, some),) = lookalikes.parts(ones, [None, None], groups, 1)
    assert list(lookalikes.begin_links([some])().pairs()) == [("a", "b")]
