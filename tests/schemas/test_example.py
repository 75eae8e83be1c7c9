"""Writer and reader share one spec: what is encoded is parsed back bit for bit."""

import re
import tracemalloc

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from schemas import example, proto

_INT64 = st.integers(-(2**63), 2**63 - 1)
# Every text that UTF-8 can hold.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    image=st.binary(max_size=300),
    height=_INT64,
    width=_INT64,
    labels=st.lists(st.integers(0, 1), min_size=1, max_size=40),
    filename=_TEXT,
)
def test_parses_what_was_encoded(image: bytes, height: int, width: int, labels: list[int], filename: str) -> None:
    record = example.encode(image=image, height=height, width=width, labels=labels, filename=filename)
    parsed = tf.io.parse_single_example(record, example.parse_spec(len(labels)))
    assert parsed.keys() == {"image", "image/height", "image/width", "labels", "filename"}
    assert parsed["image"].numpy() == image
    assert (parsed["image/height"].numpy(), parsed["image/width"].numpy()) == (height, width)
    assert parsed["labels"].numpy().tolist() == labels
    assert parsed["filename"].numpy() == filename.encode()


def test_takes_labels_as_bytes_too() -> None:
    by_bytes = example.encode(image=b"", height=1, width=2, labels=b"\0\1\0", filename="a")
    assert by_bytes == example.encode(image=b"", height=1, width=2, labels=(0, 1, 0), filename="a")


@given(st.lists(st.sampled_from([0, 1, example.UNKNOWN]), min_size=1, max_size=40).map(tuple))
def test_unknown_labels_are_zero_and_not_known(labels: tuple[int, ...]) -> None:
    one = example.Example(b"", 1, 2, labels, "a")
    record = example.encode(**one._asdict(), has_unknown=True)
    parsed = tf.io.parse_single_example(record, example.parse_spec(len(labels), has_unknown=True))
    assert parsed["labels"].numpy().tolist() == [int(label == 1) for label in labels]
    assert parsed["labels/known"].numpy().tolist() == [int(label != example.UNKNOWN) for label in labels]
    assert example.decode(record, len(labels), has_unknown=True) == one


def test_readers_that_do_not_know_of_unknown_labels_parse_the_record() -> None:
    record = example.encode(image=b"", height=1, width=2, labels=(1, example.UNKNOWN), filename="a", has_unknown=True)
    parsed = tf.io.parse_single_example(record, example.parse_spec(2))
    assert parsed["labels"].numpy().tolist() == [1, 0]


def test_an_unknown_label_is_never_written_where_no_feature_says_so() -> None:
    with pytest.raises(ValueError, match="'a' has an unknown label, and its dataset has no feature labels/known"):
        example.encode(image=b"", height=1, width=2, labels=(1, example.UNKNOWN), filename="a")


@pytest.mark.parametrize(
    ("labels", "known", "message"),
    [
        ((1, 0), (1, 2), "labels/known must be 0 or 1. Received: 2"),
        ((1, 0), (0, 1), "labels must be 0 where labels/known is 0. Received: 1"),
        ((1, 0), (1,), "labels/known must have 2 values. Received: 1"),
        ((1, 0), None, "it must have the features image, image/height, image/width, labels, labels/known, filename"),
    ],
)
def test_what_contradicts_itself_is_not_decoded(
    labels: tuple[int, ...], known: tuple[int, ...] | None, message: str
) -> None:
    record = tf.train.Example.FromString(example.encode(image=b"", height=1, width=1, labels=labels, filename="a"))
    if known:
        record.features.feature["labels/known"].int64_list.value.extend(known)
    with pytest.raises(ValueError, match=re.escape(message)):
        example.decode(record.SerializeToString(), 2, has_unknown=True)


def test_bytes_of_a_record_never_change() -> None:
    record = example.encode(image=b"\xff\xd8", height=3, width=400, labels=(1, 0), filename="é.jpg")
    assert record == (
        b"\ni"
        b"\n\x0f\n\x05image\x12\x06\n\x04\n\x02\xff\xd8"
        b"\n\x15\n\x0cimage/height\x12\x05\x1a\x03\n\x01\x03"
        b"\n\x15\n\x0bimage/width\x12\x06\x1a\x04\n\x02\x90\x03"
        b"\n\x10\n\x06labels\x12\x06\x1a\x04\n\x02\x01\x00"
        b"\n\x16\n\x08filename\x12\n\n\x08\n\x06\xc3\xa9.jpg"
    )
    labels = (1, example.UNKNOWN)
    record = example.encode(image=b"", height=3, width=4, labels=labels, filename="a", has_unknown=True)
    assert record == (
        b"\ny"
        b"\n\x0d\n\x05image\x12\x04\n\x02\n\x00"
        b"\n\x15\n\x0cimage/height\x12\x05\x1a\x03\n\x01\x03"
        b"\n\x14\n\x0bimage/width\x12\x05\x1a\x03\n\x01\x04"
        b"\n\x10\n\x06labels\x12\x06\x1a\x04\n\x02\x01\x00"
        b"\n\x16\n\x0clabels/known\x12\x06\x1a\x04\n\x02\x01\x00"
        b"\n\x11\n\x08filename\x12\x05\n\x03\n\x01a"
    )


@pytest.mark.parametrize("size", [0, 16, 17, 18, 127, 128, 16_300, 16_400, 2_097_152], ids="{} bytes".format)
def test_a_record_is_an_example_and_nothing_more(size: int) -> None:
    record = example.encode(image=bytes(size), height=1, width=1, labels=(1,), filename="a")
    parsed = tf.train.Example.FromString(record)
    assert parsed.features.feature["image"].bytes_list.value == [bytes(size)]
    assert len(parsed.features.feature) == 5
    assert parsed.ByteSize() == len(record)


_VALUES = st.one_of(
    st.lists(st.binary(max_size=20)).map(lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values))),
    st.lists(_INT64).map(lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values))),
    st.lists(st.floats(width=32)).map(lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values))),
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=5))
def test_examples_are_those_of_tensorflow(features: dict[str, tf.train.Feature]) -> None:
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)
    ours = proto.Example.FromString(record)
    assert ours.SerializeToString(deterministic=True) == record
    assert {key: str(value) for key, value in ours.features.feature.items()} == {
        key: str(value) for key, value in features.items()
    }


def test_the_kind_of_every_feature() -> None:
    assert example.features(5) == (
        example.Feature("image", tf.string, ()),
        example.Feature("image/height", tf.int64, ()),
        example.Feature("image/width", tf.int64, ()),
        example.Feature("labels", tf.int64, (5,)),
        example.Feature("filename", tf.string, ()),
    )
    more = set(example.features(5, has_unknown=True)) - set(example.features(5))
    assert more == {example.Feature("labels/known", "int64", (5,))}


def test_parses_only_what_is_asked_for() -> None:
    spec = example.parse_spec(3, keys=[example.LABELS, example.IMAGE])
    assert spec == {
        "image": tf.io.FixedLenFeature((), tf.string),
        "labels": tf.io.FixedLenFeature((3,), tf.int64),
    }


@pytest.mark.parametrize("num_classes", [2, 4])
def test_labels_of_another_length_are_an_error(num_classes: int) -> None:
    record = example.encode(image=b"", height=1, width=1, labels=(0, 1, 0), filename="a")
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels"):
        tf.io.parse_single_example(record, example.parse_spec(num_classes))


@given(
    image=st.binary(max_size=300),
    height=_INT64,
    width=_INT64,
    labels=st.lists(st.integers(0, 1), min_size=1, max_size=40).map(tuple),
    filename=_TEXT,
)
def test_decodes_what_was_encoded(
    image: bytes, height: int, width: int, labels: tuple[int, ...], filename: str
) -> None:
    one = example.Example(image, height, width, labels, filename)
    assert example.decode(example.encode(**one._asdict()), len(labels)) == one


def _record(**changed: tf.train.Feature | None) -> bytes:
    """Returns a good record of one class in which features are replaced, or left out where they are None."""
    record = tf.train.Example.FromString(example.encode(image=b"", height=1, width=1, labels=(1,), filename="a"))
    for key, feature in changed.items():
        record.features.feature[key].CopyFrom(feature or _ints())
        if feature is None:
            del record.features.feature[key]
    return bytes(record.SerializeToString())


def _bytes(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        pytest.param(b"\x01\x02", "it is no tf.train.Example", id="other bytes"),
        pytest.param(
            b"",
            "it must have the features image, image/height, image/width, labels, filename. Received: ",
            id="no bytes",
        ),
        pytest.param(
            _record(image=None), "Received: 'filename', 'image/height', 'image/width', 'labels'", id="one less"
        ),
        pytest.param(_record(more=_ints(1)), "'labels', 'more'", id="one more"),
        pytest.param(
            _record(labels=_bytes(b"1")), "labels must be of kind int64_list. Received: bytes_list", id="kind"
        ),
        pytest.param(
            _record(image=tf.train.Feature()), "image must be of kind bytes_list. Received: None", id="no kind"
        ),
        pytest.param(_record(labels=_ints(1, 0)), "labels must have 1 values. Received: 2", id="two labels"),
        pytest.param(_record(image=_bytes()), "image must have 1 values. Received: 0", id="no image"),
        pytest.param(_record(labels=_ints(-1)), "labels must be 0 or 1. Received: -1", id="label"),
        pytest.param(_record(filename=_bytes(b"\xff")), r"the filename is not UTF-8: b'\xff'", id="filename"),
    ],
)
def test_what_is_no_record_is_not_decoded(record: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        example.decode(record, 1)


@given(st.binary(max_size=100))
def test_no_bytes_are_another_error(record: bytes) -> None:
    with pytest.raises(ValueError):
        example.decode(record, 1)


def test_label_vectors_of_many_classes_are_not_kept() -> None:
    labels = [bytes(map(int, f"{i:09b}")) + bytes(10_000) for i in range(300)]
    tracemalloc.start()
    for one in labels:
        example.encode(image=b"", height=300, width=200, labels=one, filename="a.jpg")
    assert tracemalloc.get_traced_memory()[0] < 100_000
    tracemalloc.stop()
