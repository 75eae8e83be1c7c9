"""Where an image goes is a pure function of its name, and never drifts."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.parsing import parse_splits
from converter.splits import assignment

_SPLITS = parse_splits("train=0.8,validation=0.2")
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


# If one of these changes, every dataset that people have changes with it: train and validation get mixed up.
@pytest.mark.parametrize(
    ("filename", "split", "shard_of_8", "position"),
    [
        ("1.jpg", "validation", 4, 9734139791598507845),
        ("2.jpg", "train", 7, 16756002278583018916),
        ("10.jpg", "train", 6, 14890347813110920582),
        ("1000.jpg", "validation", 4, 9671822035597270640),
        ("2000.jpg", "train", 5, 11563831346164713926),
        ("IMG_0001.JPG", "train", 7, 16613923296872991850),
        ("img_0001.jpg", "train", 6, 15532652175020355035),
        ("a", "train", 1, 3018927179322247550),
        ("a.png", "train", 0, 86758013183273898),
        ("train/1.jpg", "train", 1, 4132805185734629624),
        ("validation/1.jpg", "validation", 6, 14733551814652141515),
        ("deep/down/21.jpg", "train", 4, 9713618626215508063),
        ("no extension", "train", 7, 18349489348915136768),
        ("두 바다.jpg", "train", 5, 12644142962364692060),
        ("바다.jpg", "train", 3, 8796114756742093668),
        ("été.jpg", "train", 0, 1868310680987761071),
        ("пустыня.jpg", "train", 0, 537245653820974116),
        ("砂漠.webp", "train", 6, 14358828198296755316),
        ("🏜️.png", "validation", 5, 11638120874865468895),
        pytest.param("x" * 255, "train", 7, 17370022055638904353, id="255 characters"),
    ],
)
def test_assignment_never_changes(filename: str, split: str, shard_of_8: int, position: int) -> None:
    assert assignment.split(filename, _SPLITS) == split
    assert assignment.position(filename) == position
    assert assignment.shard(position, 8) == shard_of_8


def test_fractions_are_kept_over_many_names() -> None:
    splits = parse_splits("train=0.7,validation=0.2,test=0.1")
    counts = Counter(assignment.split(f"{i}.jpg", splits) for i in range(10_000))
    # Within four standard deviations of a fair draw.
    assert counts["train"] == pytest.approx(7000, abs=184)
    assert counts["validation"] == pytest.approx(2000, abs=160)
    assert counts["test"] == pytest.approx(1000, abs=120)


def test_position_says_nothing_of_the_split() -> None:
    names = [f"{i}.jpg" for i in range(10_000)]
    low = [name for name in names if assignment.position(name) < 1 << 63]
    in_train = sum(assignment.split(name, _SPLITS) == "train" for name in low)
    assert len(low) == pytest.approx(5000, abs=200)
    assert in_train / len(low) == pytest.approx(0.8, abs=0.023)


@given(_NAMES, st.integers(1, 99))
def test_a_larger_training_split_only_takes_images_in(filename: str, percent: int) -> None:
    fraction = Fraction(percent, 100)
    smaller = assignment.split(filename, [("train", fraction), ("rest", 1 - fraction)])
    larger = assignment.split(filename, [("train", fraction + Fraction(1, 100)), ("rest", Fraction(99 - percent, 100))])
    assert (smaller, larger) in {("train", "train"), ("rest", "train"), ("rest", "rest")}


@given(_NAMES)
def test_thirds_leave_no_gap_at_the_end(filename: str) -> None:
    assert assignment.split(filename, [(name, Fraction(1, 3)) for name in "abc"]) in set("abc")


def test_fractions_that_do_not_reach_an_image_are_refused() -> None:
    with pytest.raises(ValueError, match="must sum to 1"):
        assignment.split("1.jpg", [("train", Fraction(1, 1000))])


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2), st.integers(1, 100_000))
def test_shards_are_ranges_of_positions(positions: list[int], num_shards: int) -> None:
    shards = [assignment.shard(position, num_shards) for position in sorted(positions)]
    assert shards == sorted(shards)
    assert 0 <= shards[0] <= shards[-1] < num_shards


def test_shards_are_of_equal_width() -> None:
    quarter = 1 << 62
    edges = [0, quarter - 1, quarter, 2 * quarter - 1, 2 * quarter, 3 * quarter - 1, 3 * quarter, 4 * quarter - 1]
    assert [assignment.shard(edge, 4) for edge in edges] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("num_examples", "num_bytes", "num_shards"),
    [
        pytest.param(1, 1, 1, id="one image"),
        pytest.param(1, 0, 1, id="no bytes"),
        pytest.param(255, 1000, 1, id="too few images for two shards"),
        pytest.param(256, 1000, 2, id="just enough images for two shards"),
        pytest.param(8 * 128 - 1, 1000, 7, id="just too few images for eight shards"),
        pytest.param(8 * 128, 1000, 8, id="just enough images for eight shards"),
        pytest.param(10**6, 1000, 8, id="many small images: parallel enough"),
        pytest.param(10**6, 8000, 8, id="eight full shards"),
        pytest.param(10**6, 8001, 9, id="a byte more than eight full shards"),
        pytest.param(3, 2001, 3, id="huge images: as large as asked for"),
    ],
)
def test_number_of_shards(num_examples: int, num_bytes: int, num_shards: int) -> None:
    assert assignment.num_shards(num_examples=num_examples, num_bytes=num_bytes, shard_bytes=1000) == num_shards
