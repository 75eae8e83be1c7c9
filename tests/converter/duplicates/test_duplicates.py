"""Duplicates are found, whatever was done to them, and what only looks alike is not."""

import io
import pickle
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

import alike
import drawn_hashes
from converter.duplicates import components, lookalikes, neighbours
from converter.duplicates.components import Groups, Links
from converter.duplicates.fingerprints import Fingerprint, _phashes, _projection, digest, fingerprints, views
from converter.duplicates.grouping import Leaks, Member, leaks, members, rows
from converter.duplicates.neighbours import MAX_DISTANCE
from multihot.images.prove import Preparation, prepare

Draw = Callable[..., bytes]

_AS_IT_IS = Preparation(max_pixels=10_000_000)
_HASHES = st.integers(0, 2**64 - 1)
_LINKS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("abcdefghij")))


def _scene(seed: int, height: int = 240, width: int = 320) -> Image.Image:
    """Returns an image with structure: blurred noise, unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def _encoded(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _saved(pixels: NDArray[np.uint8], file_format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, file_format)
    return file.getvalue()


def _fingerprint(name: str, data: bytes, grey: NDArray[np.uint8]) -> Fingerprint:
    (one,) = fingerprints([name], [digest(data)], [views(grey)])
    return one


def _of(name: str, data: bytes) -> Fingerprint:
    return _fingerprint(name, data, prepare(data, _AS_IT_IS).grey)


def _with(name: str, phash: int | None, digest: bytes = b"", thumbnail: bytes = bytes(range(0, 256, 4))) -> Fingerprint:
    return Fingerprint(name, digest or f"{name:>8.8}".encode(), phash, thumbnail)


def _links(fingerprints: Iterable[Fingerprint], num_parts: int = 1) -> list[list[tuple[str, str]]]:
    """Returns the links of candidates under each key, of fingerprints that come one by one."""
    by_key = defaultdict(list)
    for one in fingerprints:
        for key, columns in neighbours.bands([one], num_parts):
            by_key[key].append(columns)
    return [list(neighbours.begin_links(band, columns)().pairs()) for (band, _), columns in by_key.items()]


def _candidates(fingerprints: Iterable[Fingerprint], num_parts: int = 1) -> dict[str, str]:
    return _connected(_links(fingerprints, num_parts))


def _grouped(fingerprints: Iterable[Fingerprint], num_parts: int = 1) -> dict[str, str]:
    """Returns the groups of duplicates by hashes alone, of fingerprints that come one by one."""
    ones = list(fingerprints)
    candidates = _candidates(ones, num_parts)
    by_part = defaultdict(list)
    for one in ones:
        for part, some in lookalikes.parts([one], [None], candidates, num_parts):
            by_part[part].append(some)
    return _connected(list(lookalikes.begin_links(some)().pairs()) for some in by_part.values())


def _connected(links: Iterable[Iterable[tuple[str, str]]]) -> dict[str, str]:
    groups = Groups()
    for some in links:
        groups.add(_as_links(some))
    return groups.result()


def _as_links(pairs: Iterable[tuple[str, str]]) -> Links:
    ones, others = np.array([*pairs], object).reshape(-1, 2).T
    return Links(ones, others)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image, id="saved again"),
        pytest.param(lambda image: image.resize((160, 120)), id="halved"),
        pytest.param(lambda image: image.resize((640, 480)), id="doubled"),
        pytest.param(lambda image: image.crop((3, 2, 317, 238)), id="cropped by 1 % a side"),
        pytest.param(lambda image: ImageEnhance.Brightness(image).enhance(0.8), id="darker"),
    ],
)
@pytest.mark.parametrize("quality", [50, 95])
def test_a_copy_is_near(change: Callable[[Image.Image], Image.Image], quality: int) -> None:
    original, copy = _of("a.jpg", _encoded(_scene(1))), _of("b.jpg", _encoded(change(_scene(1)), quality))
    assert original.digest != copy.digest
    assert _grouped([original, copy]) == {"a.jpg": "a.jpg", "b.jpg": "a.jpg"}


def test_different_images_are_not_near() -> None:
    assert _grouped(_of(f"{seed}.jpg", _encoded(_scene(seed))) for seed in range(100)) == {}


def test_a_mirror_image_is_not_near() -> None:
    mirrored = _scene(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert _grouped([_of("a.jpg", _encoded(_scene(1))), _of("b.jpg", _encoded(mirrored))]) == {}


def test_images_that_the_tests_draw_are_not_near(draw: Draw) -> None:
    assert _grouped(_of(f"{seed}.jpg", draw(seed)) for seed in range(100)) == {}


def _noise(seed: int, level: int = 100) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(level, level + 16, (256, 256, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((200, 300, 3), np.uint8), id="black"),
        pytest.param(np.full((1, 1, 3), 255, np.uint8), id="one white pixel"),
        pytest.param(np.broadcast_to(np.array([200, 30, 30], np.uint8), (50, 50, 3)), id="red"),
        pytest.param(_noise(0), id="noise"),
    ],
)
def test_an_image_without_structure_has_only_exact_duplicates(pixels: NDArray[np.uint8]) -> None:
    png = _saved(pixels, "PNG")
    one, same, other = (_of(name, data) for name, data in (("a", png), ("b", png), ("c", png + b"more")))
    assert one.phash is None
    assert _grouped([one, same, other]) == {"a": "a", "b": "a"}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 60_000), (60_000, 1), (7, 9), (129, 63), (3000, 40)])
def test_every_shape_has_a_fingerprint(shape: tuple[int, int], file_format: str) -> None:
    one = _of("a", _saved(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8), file_format))
    assert len(one.thumbnail) == 64
    assert one.phash is None or 0 <= one.phash < 2**64


def test_the_hash_is_that_of_imagehash_but_for_its_rounding(miml: Path) -> None:
    greys = [prepare(path.read_bytes(), _AS_IT_IS).grey for path in sorted((miml / "images").iterdir())[:200]]
    differ = []
    for grey, one in zip(greys, fingerprints(["a"] * 200, [b""] * 200, list(map(views, greys))), strict=True):
        expected = int(str(imagehash.phash(Image.fromarray(grey))), 16)
        assert one.phash is not None
        differ.append((one.phash ^ expected).bit_count())
    assert differ.count(0) > 170
    assert max(differ) <= 4


def test_a_copy_in_another_format_is_near(miml: Path) -> None:
    near = 0
    for path in sorted((miml / "images").iterdir())[:100]:
        with Image.open(path) as image:
            copy = _of("b", _saved(np.asarray(image.convert("RGB")), "PNG"))
        near += bool(_grouped([_of("a", path.read_bytes()), copy]))
    assert near >= 98


@pytest.mark.parametrize("length", [1, 9, 64, 100, 127, 255])
def test_no_sum_of_a_projection_is_rounded(length: int) -> None:
    """Whatever the pixels are: whole numbers below 2**53 are exact in any order of adding."""
    matrix = _projection(length)
    np.testing.assert_array_equal(matrix, np.rint(matrix))
    assert 255 * np.abs(matrix).sum(axis=1).max() ** 2 < 2**53


def test_the_thumbnail_has_the_means_of_grey() -> None:
    grey = np.repeat(np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8), 12, axis=0), 10, axis=1)
    assert _fingerprint("a", b"", grey).thumbnail == bytes(range(64))


def test_a_fingerprint_never_changes() -> None:
    """The same on every machine: what is kept of a dataset is compared with what is new."""
    rows, columns = np.mgrid[:150, :200]
    grey = ((rows * 7 + columns * 3) % 251 * (columns > 50)).astype(np.uint8)
    one = _fingerprint("a", b"file", grey)
    assert (one.digest.hex(), one.phash) == ("3b9c358f36f0a31b", 0x873B521B561B561B)


def test_no_images_have_no_fingerprints() -> None:
    assert fingerprints([], [], []) == []


_PARTS = st.integers(1, 5)


@given(_HASHES, st.sets(st.integers(0, 63), max_size=MAX_DISTANCE), _PARTS)
def test_hashes_within_the_distance_are_linked(phash: int, flipped: set[int], num_parts: int) -> None:
    other = phash ^ sum(1 << bit for bit in flipped)
    assert _grouped([_with("b", other), _with("a", phash)], num_parts) == {"a": "a", "b": "a"}


@given(_HASHES, st.sets(st.integers(0, 63), min_size=MAX_DISTANCE + 1), _PARTS)
def test_hashes_farther_apart_are_not_linked(phash: int, flipped: set[int], num_parts: int) -> None:
    assert not _grouped([_with("a", phash), _with("b", phash ^ sum(1 << bit for bit in flipped))], num_parts)


def test_hashes_that_agree_by_chance_are_not_linked() -> None:
    thumbnail = bytes(random.Random(0).sample(range(256), 64))
    assert not _grouped([_with("a", 5), _with("b", 5, thumbnail=thumbnail)])


@given(_HASHES)
def test_a_digest_is_not_taken_for_a_hash(phash: int) -> None:
    assert not _grouped([_with("a", phash), _with("b", None, digest=phash.to_bytes(8))])


# Few bits, so that some are near; few digests, so that some are the same file, which has one hash.
_FILES = st.lists(st.one_of(st.none(), st.integers(0, 2**12 - 1)), max_size=12)


@given(_FILES, st.randoms(use_true_random=False), _PARTS)
def test_components_are_those_of_all_pairs(phashes: list[int | None], rng: random.Random, num_parts: int) -> None:
    wide = [phash and sum((phash >> bit & 1) << 5 * bit for bit in range(12)) for phash in phashes]
    ones = [_with(f"{i:02}", phash) for i, phash in enumerate(wide)]
    ones += [one._replace(filename=f"copy of {one.filename}") for one in ones[::3]]
    expected = []
    for one in ones:
        for other in ones:
            near = None not in (one.phash, other.phash) and (one.phash ^ other.phash).bit_count() <= MAX_DISTANCE  # type: ignore[operator]
            if one.filename != other.filename and (one.digest == other.digest or near):
                expected.append((one.filename, other.filename))
    rng.shuffle(ones)
    assert _candidates(ones, num_parts) == _connected([expected])


def test_links_of_n_images_that_are_all_near_are_n_minus_1() -> None:
    crowd = [_with(f"{i:04}", i % 2) for i in range(1000)] + [_with(f"same {i}", 0, digest=b"0") for i in range(1000)]
    assert max(map(len, _links(crowd))) == 1999


def _crowd(number: int) -> NDArray[np.uint64]:
    """Returns hashes that agree in the first band, but for the second half: those of the first, changed a little."""
    rng = np.random.default_rng(0)
    crowd = rng.integers(0, 1 << 64, number, np.uint64) & ~np.uint64(neighbours._BANDS[0])
    changes = np.zeros(number // 2, np.uint64)
    for _ in range(rng.integers(1, MAX_DISTANCE + 1)):
        changes |= np.uint64(1) << rng.integers(0, 64, number // 2).astype(np.uint64)
    crowd[number // 2 :] = crowd[: number // 2] ^ changes
    return crowd


@pytest.mark.parametrize("number", [6, 600, 4000])
def test_groups_of_images_that_agree_in_a_band_are_those_of_all_pairs(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_CROWD", min(neighbours._CROWD, number // 3))
    hashes = _crowd(number)
    distances = np.bitwise_count(hashes[:, None] ^ hashes)
    ones, others = np.nonzero(np.triu(distances <= MAX_DISTANCE, 1))
    expected = _connected([[(f"{a:04}", f"{b:04}") for a, b in zip(ones, others, strict=True)]])
    assert len(expected) >= number // 2
    assert _candidates(_with(f"{i:04}", phash) for i, phash in enumerate(hashes.tolist())) == expected


def test_drawn_hashes_are_as_alike_as_those_of_photographs(miml: Path) -> None:
    """So that scripts/bench_duplicates tells the time of photographs."""
    like = drawn_hashes.frequencies(sorted((miml / "images").iterdir())[:500])
    real, drawn = _phashes(like), drawn_hashes.drawn(5000, like)

    def agreeing(ones: NDArray[np.uint64]) -> float:
        """Returns the mean number of bands in which two of the images agree."""
        pairs = [np.unique(ones & np.uint64(band), return_counts=True)[1] for band in neighbours._BANDS]
        return float(sum((count * (count - 1)).sum() for count in pairs) / len(ones) / (len(ones) - 1))

    assert agreeing(drawn) == pytest.approx(agreeing(real), rel=0.1)


@pytest.mark.parametrize("width", [0, 24, 64])
def test_narrowing_finds_the_pairs_of_all_runs(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that differ in few bits, in some and in all."""
    monkeypatch.setattr(neighbours, "_CROWD", 3)
    hashes = np.random.default_rng(1).integers(0, 1 << 64, 300, np.uint64) & np.uint64((1 << width) - 1)
    thumbnails = np.tile(np.arange(64, dtype=np.uint8), (len(hashes), 1))
    links = np.hstack([neighbours._links(np.uint64(band), hashes, thumbnails) for band in neighbours._BANDS])
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= MAX_DISTANCE
    groups, expected = (components.components(*ends, len(hashes)) for ends in (links, np.nonzero(near)))
    assert np.array_equal(groups, expected)


def test_the_number_of_comparisons_of_an_image_does_not_grow_with_that_of_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0

    def are_near(hashes: Any, thumbnails: Any, some: NDArray[np.intp], others: NDArray[np.intp]) -> Any:
        nonlocal compared
        compared += len(some)
        return np.bitwise_count(hashes[some] ^ hashes[others]) <= MAX_DISTANCE

    monkeypatch.setattr(neighbours, "are_near", are_near)
    of_an_image = []
    for number in (16_000, 64_000):
        hashes = np.random.default_rng(0).integers(0, 1 << 64, number, np.uint64) & ~np.uint64(neighbours._BANDS[0])
        compared = 0
        neighbours._links(np.uint64(neighbours._BANDS[0]), hashes, np.zeros((number, 64), np.uint8))
        of_an_image.append(compared / number)
    assert max(of_an_image) < 500  # Without narrowing, each is compared with half of all images.


@given(st.permutations([_with(f"{i}", phash) for i, phash in enumerate((0, 0, 1, 2**10, 2**40 - 1, None, None))]))
def test_groups_do_not_depend_on_the_order_of_the_images(ones: list[Fingerprint]) -> None:
    assert _grouped(ones) == _grouped(sorted(ones, key=lambda one: one.filename))


@pytest.mark.parametrize("max_held", [1, 3, 1000])
@given(pairs=_LINKS, rng=st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_links_and_merges(
    max_held: int, pairs: list[tuple[str, str]], rng: random.Random
) -> None:
    """Links are reduced as soon as there are more than `max_held`."""
    whole = _connected([pairs])
    rng.shuffle(pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "_MAX_HELD", max_held)
        parts = [Groups() for _ in range(3)]
        for one, other in pairs:
            rng.choice(parts).add(_as_links([(other, one)]))
        merged = Groups()
        for part in parts:
            merged.merge(pickle.loads(pickle.dumps(part)))
        assert merged.result() == whole
    assert set(whole) == {name for pair in pairs for name in pair}


@given(_LINKS)
def test_the_group_of_a_name_is_the_smallest_that_it_reaches(pairs: list[tuple[str, str]]) -> None:
    reached = {name: {name} for pair in pairs for name in pair}
    for _ in reached:
        for one, other in pairs:
            reached[one] |= reached[other]
            reached[other] |= reached[one]
    assert _connected([pairs]) == {name: min(names) for name, names in reached.items()}


def test_a_long_chain_is_one_group() -> None:
    chain = [(f"{i:05}", f"{i + 1:05}") for i in reversed(range(20_000))]
    assert set(_connected([chain]).values()) == {"00000"}


def test_links_that_tasks_find_again_are_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_MAX_HELD", 1000)
    groups = Groups()
    for _ in range(20):
        groups.add(_as_links((f"{i:03}", f"{i + 1:03}") for i in range(900)))
        assert len(pickle.dumps(groups)) < 50_000
    assert len(groups.result()) == 901


_MEMBERS = [
    Member("b.jpg", "c.jpg", "train", b"2"),
    Member("b.jpg", "b.jpg", "validation", b"2"),
    Member("b.jpg", "d.jpg", "train", b"3"),
    Member("=1+1", "e.jpg", "train", b"4"),
    Member("=1+1", "=1+1", "train", b"5"),
    Member("alone", "alone", "train", b"6"),
]


def test_the_members_of_groups_are_the_images_that_have_duplicates() -> None:
    some = [_with("c.jpg", 5, b"2"), _with("x.jpg", 6), _with("d.jpg", None, b"3")]
    assert list(members(some, "train", {"c.jpg": "b.jpg", "d.jpg": "b.jpg"})) == [_MEMBERS[0], _MEMBERS[2]]


def test_the_list_of_duplicates() -> None:
    assert list(rows(sorted(_MEMBERS))) == [
        ("=1+1", "=1+1", "train", "near"),
        ("=1+1", "e.jpg", "train", "near"),
        ("b.jpg", "b.jpg", "validation", "exact"),
        ("b.jpg", "c.jpg", "train", "exact"),
        ("b.jpg", "d.jpg", "train", "near"),
    ]
    assert list(rows([])) == []


def test_a_leak_is_a_group_in_several_splits() -> None:
    assert leaks(sorted(_MEMBERS)) == Leaks(num_groups=1, num_images=3)
    assert leaks([]) == Leaks(num_groups=0, num_images=0)


def test_duplicates_of_the_real_photographs(miml: Path) -> None:
    found = alike.grouped([alike.compared(path.name, path.read_bytes()) for path in (miml / "images").iterdir()])
    assert len(set(found.values())) == 18
    assert len(found) == 38
    assert found["397.jpg"] == found["50.jpg"] == "337.jpg"  # Two sizes, and a crop.
    assert not {"1211.jpg", "1214.jpg"} & set(found)  # Two sunsets, of hashes 6 bits apart.
