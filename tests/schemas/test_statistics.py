"""Statistics add up, in any order and in any grouping."""

import functools
import json
import operator
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import typed
from schemas.example import UNKNOWN
from schemas.statistics import Moments, Statistics

_NONE = Statistics(positives=(0, 0, 0))


@st.composite
def _one(draw: st.DrawFn, has_unknown: bool = False) -> Statistics:
    return Statistics.of(
        labels=draw(st.lists(st.integers(0, UNKNOWN if has_unknown else 1), min_size=3, max_size=3)),
        image_format=draw(st.sampled_from(["jpeg", "png", "gif"])),
        height=draw(st.integers(1, 10**5)),
        width=draw(st.integers(1, 10**5)),
        image_bytes=draw(st.integers(1, 10**12)),
        example_bytes=draw(st.integers(1, 10**12)),
        oriented=draw(st.booleans()),
        resized=draw(st.booleans()),
        transparent=draw(st.booleans()),
        has_unknown=has_unknown,
    )


@given(
    st.one_of(st.lists(_one(), max_size=12), st.lists(_one(has_unknown=True), max_size=12)),
    st.randoms(use_true_random=False),
)
def test_the_sum_is_the_same_for_any_order_and_grouping(ones: list[Statistics], chance: random.Random) -> None:
    whole = sum(ones, _NONE)
    left = ones.copy()
    chance.shuffle(left)
    shards = [_NONE]
    while left:
        size = chance.randint(1, len(left))
        shards.append(functools.reduce(operator.add, left[:size]))
        left = left[size:]
    chance.shuffle(shards)
    assert functools.reduce(operator.add, shards) == whole
    assert list(whole.formats) == sorted(whole.formats)


@given(st.lists(_one(), max_size=12))
def test_counts_each_example(ones: list[Statistics]) -> None:
    whole = sum(ones, _NONE)
    assert whole.num_examples == len(ones) == sum(whole.formats.values())
    assert whole.positives == tuple(sum(one.positives[i] for one in ones) for i in range(3))
    assert whole.oriented == sum(one.oriented for one in ones)
    assert whole.resized == sum(one.resized for one in ones)
    assert whole.transparent == sum(one.transparent for one in ones)
    assert whole.num_bytes == sum(one.num_bytes for one in ones)
    assert whole.pixels.total == sum(one.height.total * one.width.total for one in ones)


@given(st.lists(st.lists(st.integers(0, UNKNOWN), min_size=3, max_size=3), min_size=1, max_size=9))
def test_counts_known_positives_and_unknown_labels(labels: list[list[int]]) -> None:
    ones = [_of(one, has_unknown=True) for one in labels]
    whole = sum(ones, _NONE)
    assert whole.positives == tuple(sum(one[i] == 1 for one in labels) for i in range(3))
    assert whole.unknown == tuple(sum(one[i] == UNKNOWN for one in labels) for i in range(3))


def test_all_labels_known_is_not_the_same_as_no_feature_for_it() -> None:
    assert (_of([0, 1, 0], has_unknown=True).unknown, _of([0, 1, 0], has_unknown=False).unknown) == ((0, 0, 0), ())


def test_what_few_datasets_have_is_not_in_the_json_of_others() -> None:
    assert not {"unknown", "transparent"} & typed.plain(_of([0, 1, 0], has_unknown=False)).keys()


def _of(labels: list[int], has_unknown: bool) -> Statistics:
    return Statistics.of(
        labels=labels, image_format="png", height=1, width=1, image_bytes=1, example_bytes=1, has_unknown=has_unknown
    )


@given(st.one_of(_one(), _one(has_unknown=True)))
def test_nothing_added_changes_nothing(one: Statistics) -> None:
    assert one + _NONE == one == _NONE + one


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30))
def test_moments_are_those_of_numpy(values: list[int]) -> None:
    moments = sum(map(Moments.of, values), Moments())
    assert (moments.count, moments.minimum, moments.maximum) == (len(values), min(values), max(values))
    assert moments.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert moments.standard_deviation == pytest.approx(np.std(values), abs=1e-3)


def test_standard_deviation_of_large_equal_numbers_is_exactly_zero() -> None:
    assert sum([Moments.of(10**17 + 1)] * 3, Moments()).standard_deviation == 0.0


def test_moments_of_nothing_are_zero() -> None:
    assert (Moments().mean, Moments().standard_deviation) == (0.0, 0.0)


def test_another_number_of_classes_does_not_add_up() -> None:
    with pytest.raises(ValueError, match="zip"):
        _ = _NONE + Statistics(positives=(0, 0))


@given(st.one_of(st.lists(_one(), max_size=4), st.lists(_one(has_unknown=True), max_size=4)))
def test_survives_json(ones: list[Statistics]) -> None:
    whole = sum(ones, _NONE)
    assert typed.build(json.loads(json.dumps(typed.plain(whole))), Statistics) == whole


@given(_one())
def test_what_older_versions_did_not_count_is_none(one: Statistics) -> None:
    fields = json.loads(json.dumps(typed.plain(one)))
    del fields["oriented"], fields["resized"]
    assert typed.build(fields, Statistics) == replace(one, oriented=0, resized=0)
