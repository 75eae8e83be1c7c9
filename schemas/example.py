"""Defines one record of a dataset: its features, encoding and parsing.

A record is a serialized `tf.train.Example`. Every feature is present in every record, with a fixed kind and shape, so
that `tf.io.FixedLenFeature`, TFDS, TFX and DALI all parse it:

    image         bytes [1]   the encoded file: JPEG, PNG, GIF, BMP or WebP
    image/height  int64 [1]   pixels
    image/width   int64 [1]   pixels
    labels        int64 [k]   multi-hot, in the order of DatasetInfo.classes
    labels/known  int64 [k]   1 where the label was given, else 0; only in datasets that have unknown labels
    filename      bytes [1]   UTF-8, relative to the folder of images, separated by '/'

An unknown label is 0 in `labels`: a reader that does not know of `labels/known` sees a negative, and every value stays
in the domain of 0 and 1. In memory, one vector has both: 0, 1 or UNKNOWN.
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
KNOWN = "labels/known"
FILENAME = "filename"

# A label that is neither known to be 0 nor to be 1. Only in memory: on disk it is 0 in `labels` and in `labels/known`.
UNKNOWN = 2

# The values of `labels` and of `labels/known` on disk for a label in memory.
_LABEL, _KNOWN = (bytes([*values, *range(3, 256)]) for values in ((0, 1, 0), (1, 1, 0)))

# The features in the order in which they are written, with the tags of bytes_list and of int64_list.
_KINDS = {IMAGE: b"\x0a", HEIGHT: b"\x1a", WIDTH: b"\x1a", LABELS: b"\x1a", KNOWN: b"\x1a", FILENAME: b"\x0a"}


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
def features(num_classes: int, has_unknown: bool = False) -> tuple[Feature, ...]:
    """Returns the features of a record, in the order in which the metadata files list them.

    Args:
        num_classes: length of the label vector.
        has_unknown: whether the records have `labels/known`: DatasetInfo.has_unknown.
    """
    known = (Feature(KNOWN, "int64", (num_classes,)),) if has_unknown else ()
    return (
        Feature(IMAGE, "string"),
        Feature(HEIGHT, "int64"),
        Feature(WIDTH, "int64"),
        Feature(LABELS, "int64", (num_classes,)),
        *known,
        Feature(FILENAME, "string"),
    )


def encode(
    *, image: bytes, height: int, width: int, labels: Sequence[int], filename: str, has_unknown: bool = False
) -> bytes:
    """Returns the serialized record: the same arguments always give the same bytes.

    Args:
        image: the bytes of the encoded image file.
        height: of the decoded image, in pixels.
        width: of the decoded image, in pixels.
        labels: 0, 1 or UNKNOWN for each class; at least one class.
        filename: relative to the folder of images.
        has_unknown: whether the records of the dataset have `labels/known`. Without it, no label may be UNKNOWN.
    """
    # A map of protobuf has no order, and the implementations of protobuf differ in theirs even with `deterministic`.
    # This function always writes the features in one order, and copies an image twice and not six times.
    name = filename.encode()
    values = bytes(labels)  # 0 and 1 are varints already.
    known: tuple[bytes, ...] = ()
    if has_unknown:
        values, known = values.translate(_LABEL), (_head(KNOWN, len(values)), values.translate(_KNOWN))
    elif UNKNOWN in values:
        raise ValueError(f"{filename!r} has an unknown label, and its dataset has no feature {KNOWN}.")
    parts = (
        _head(IMAGE, len(image)),
        image,
        _size(height, width),
        _head(LABELS, len(labels)),
        values,
        *known,
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
    """The fields of a record: see `encode`. A label that is not known is UNKNOWN."""

    image: bytes
    height: int
    width: int
    labels: tuple[int, ...]
    filename: str


def decode(record: bytes, num_classes: int, has_unknown: bool = False) -> Example:
    """Returns the fields of one record. Training parses batches of records with `parse_spec`.

    Args:
        record: the serialized record.
        num_classes: length of the label vector.
        has_unknown: whether the records have `labels/known`: DatasetInfo.has_unknown.

    Raises:
        ValueError: the record does not have exactly the features of such a dataset; the message has the reason.
    """
    try:
        found = proto.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError("it is no tf.train.Example") from error
    spec = features(num_classes, has_unknown)
    if set(found) != {feature.key for feature in spec}:
        keys = ", ".join(map(repr, sorted(found)))
        raise ValueError(f"it must have the features {', '.join(one.key for one in spec)}. Received: {keys[:200]}")
    values = {feature.key: _values(feature, found[feature.key]) for feature in spec}
    labels = _binary(LABELS, values[LABELS])
    if has_unknown:
        known = _binary(KNOWN, values[KNOWN])
        if any(label and not is_known for label, is_known in zip(labels, known, strict=True)):
            raise ValueError(f"{LABELS} must be 0 where {KNOWN} is 0. Received: 1")
        labels = tuple(label if is_known else UNKNOWN for label, is_known in zip(labels, known, strict=True))
    try:
        filename = values[FILENAME][0].decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the filename is not UTF-8: {values[FILENAME][0][:200]!r}") from error
    return Example(values[IMAGE][0], values[HEIGHT][0], values[WIDTH][0], labels, filename)


def _binary(key: str, values: Sequence[int]) -> tuple[int, ...]:
    """Returns the values of a feature, and checks that they are 0 or 1."""
    if not set(values) <= {0, 1}:
        raise ValueError(f"{key} must be 0 or 1. Received: {next(value for value in values if value not in (0, 1))}")
    return tuple(values)


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


def parse_spec(num_classes: int, keys: Iterable[str] | None = None, has_unknown: bool = False) -> dict[str, Any]:
    """Returns the spec for `tf.io.parse_example` and `tf.io.parse_single_example`: a `tf.io.FixedLenFeature` each.

    Args:
        num_classes: length of the label vector; another length in a record is an error when it is parsed.
        keys: the features to parse; by default all of them. Other features take no time.
        has_unknown: whether the records have `labels/known`: DatasetInfo.has_unknown.
    """
    tf = tensorflow()
    wanted = None if keys is None else set(keys)
    return {
        feature.key: tf.io.FixedLenFeature(feature.shape, tf.as_dtype(feature.dtype))
        for feature in features(num_classes, has_unknown)
        if wanted is None or feature.key in wanted
    }
