"""Defines one record of a dataset: its features, encoding and parsing.

A record is a serialized `tf.train.Example`. Every feature is present in every record, with a fixed kind and shape, so
that `tf.io.FixedLenFeature`, TFDS, TFX and DALI all parse it:

    image         bytes [1]   the encoded file: JPEG, PNG, GIF, BMP or WebP
    image/height  int64 [1]   pixels
    image/width   int64 [1]   pixels
    labels        int64 [k]   multi-hot, in the order of DatasetInfo.classes
    filename      bytes [1]   UTF-8, relative to the folder of images, separated by '/'
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from multihot.quiet import tensorflow
from schemas import proto

IMAGE = "image"
HEIGHT = "image/height"
WIDTH = "image/width"
LABELS = "labels"
FILENAME = "filename"

# A label that is neither known to be 0 nor to be 1. Only in memory: on disk it is 0 in `labels`.
UNKNOWN = 2

# The features in the order in which they are written, with the tags of bytes_list and of int64_list.
_KINDS = {IMAGE: b"\x0a", HEIGHT: b"\x1a", WIDTH: b"\x1a", LABELS: b"\x1a", FILENAME: b"\x0a"}


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of a record.

    Attributes:
        key: its key in the `tf.train.Example`.
        dtype: `string` (a bytes_list) or `int64`, as TensorFlow names them.
        shape: `()` for a single value, `(k,)` for a vector.
    """

    key: str
    dtype: str
    shape: tuple[int, ...] = ()


@functools.cache
def features(num_classes: int) -> tuple[Feature, ...]:
    """Returns the features of a record, in the order in which the metadata files list them."""
    return (
        Feature(IMAGE, "string"),
        Feature(HEIGHT, "int64"),
        Feature(WIDTH, "int64"),
        Feature(LABELS, "int64", (num_classes,)),
        Feature(FILENAME, "string"),
    )


def encode(*, image: bytes, height: int, width: int, labels: Sequence[int], filename: str) -> bytes:
    """Returns the serialized record: the same arguments always give the same bytes.

    Args:
        image: the bytes of the encoded image file.
        height: of the decoded image, in pixels.
        width: of the decoded image, in pixels.
        labels: 0 or 1 for each class; at least one class.
        filename: relative to the folder of images.
    """
    # A map of protobuf has no order, and the implementations of protobuf differ in theirs even with `deterministic`.
    # This function always writes the features in one order, and copies an image twice and not six times.
    name = filename.encode()
    parts = (
        _head(IMAGE, len(image)),
        image,
        _size(height, width),
        _head(LABELS, len(labels)),
        bytes(labels),  # 0 and 1 are varints already.
        _head(FILENAME, len(name)),
        name,
    )
    # Field 1 of tf.train.Example: its features.
    return b"".join((b"\x0a", _varint(sum(map(len, parts))), *parts))


@functools.lru_cache(1 << 14)
def _size(height: int, width: int) -> bytes:
    """Returns the features of the size, from a cache: most photographs have a size that occurs often.

    The labels are not cached with them: with ten thousand classes the cache would hold 16,384 long vectors.
    """
    values = {HEIGHT: _varint(height), WIDTH: _varint(width)}
    return b"".join(_head(key, len(value)) + value for key, value in values.items())


@functools.lru_cache(1 << 14)
def _head(key: str, num_bytes: int) -> bytes:
    """Returns the bytes before the value of a feature, which is an entry of the map of tf.train.Features.

    feature { key: "..."  value { bytes_list { value: "..." } } }
    """
    name = key.encode()
    head = b"\x0a" + _varint(num_bytes)
    head = _KINDS[key] + _varint(len(head) + num_bytes) + head
    head = b"\x12" + _varint(len(head) + num_bytes) + head
    head = b"\x0a" + _varint(len(name)) + name + head
    return b"\x0a" + _varint(len(head) + num_bytes) + head


class Example(NamedTuple):
    """The fields of a record: see `encode`."""

    image: bytes
    height: int
    width: int
    labels: tuple[int, ...]
    filename: str


def decode(record: bytes, num_classes: int) -> Example:
    """Returns the fields of one record. Training parses batches of records with `parse_spec`.

    Args:
        record: the serialized record.
        num_classes: length of the label vector.

    Raises:
        ValueError: the record does not have exactly the features of such a dataset; the message has the reason.
    """
    try:
        found = proto.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError("it is no tf.train.Example") from error
    spec = features(num_classes)
    if set(found) != {feature.key for feature in spec}:
        keys = ", ".join(map(repr, sorted(found)))
        raise ValueError(f"it must have the features {', '.join(one.key for one in spec)}. Received: {keys[:200]}")
    values = {feature.key: _values(feature, found[feature.key]) for feature in spec}
    labels = tuple(values[LABELS])
    if not set(labels) <= {0, 1}:
        raise ValueError(f"labels must be 0 or 1. Received: {next(label for label in labels if label not in (0, 1))}")
    try:
        filename = values[FILENAME][0].decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the filename is not UTF-8: {values[FILENAME][0][:200]!r}") from error
    return Example(values[IMAGE][0], values[HEIGHT][0], values[WIDTH][0], labels, filename)


def _values(feature: Feature, found: Any) -> Sequence[Any]:
    """Returns the values of a feature, and checks their kind and number."""
    kind = "bytes_list" if feature.dtype == "string" else "int64_list"
    if found.WhichOneof("kind") != kind:
        raise ValueError(f"{feature.key} must be of kind {kind}. Received: {found.WhichOneof('kind')}")
    values: Sequence[Any] = getattr(found, kind).value
    if len(values) != math.prod(feature.shape):
        raise ValueError(f"{feature.key} must have {math.prod(feature.shape)} values. Received: {len(values)}")
    return values


def _varint(number: int) -> bytes:
    """Returns a number as a varint of protobuf: seven bits a byte, lowest first; all but the last have the top bit."""
    number &= 0xFFFFFFFFFFFFFFFF  # A negative number is written as its two's complement.
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def parse_spec(num_classes: int, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Returns the spec for `tf.io.parse_example` and `tf.io.parse_single_example`: a `tf.io.FixedLenFeature` each.

    Args:
        num_classes: length of the label vector; another length in a record is an error when it is parsed.
        keys: the features to parse; by default all of them. Other features take no time.
    """
    tf = tensorflow()
    wanted = None if keys is None else set(keys)
    return {
        feature.key: tf.io.FixedLenFeature(feature.shape, tf.as_dtype(feature.dtype))
        for feature in features(num_classes)
        if wanted is None or feature.key in wanted
    }
