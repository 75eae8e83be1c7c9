r"""Turns JPEGs upright by their EXIF, in the graph: a server of the model gets photographs as cameras write them.

FF D8 | FF E0 length ... | FF E1 length "Exif\0\0" "II" or "MM" ... directory: number of entries, entries of 12 bytes
entry: tag (0112), type, count, value
"""

import tensorflow as tf

# Bytes at the start of a file in which the EXIF is searched for: a segment has at most 65,535, and JFIF comes before.
_MOST_BYTES = 1 << 17
_APP1, _SCAN = 0xE1, 0xDA
_TAG = 0x0112
# Segments before the EXIF, and entries of its directory, at most.
_MOST_SEGMENTS, _MOST_ENTRIES = 64, 512


def orientation(data: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of a JPEG: int32 [], 1 to 8; 1 if there is none, or it is broken.

    Args:
        data: the encoded file, string [].
    """
    start = tf.strings.substr(data, 0, tf.minimum(tf.strings.length(data), _MOST_BYTES))
    # Zeros behind the end, so that no place that is read is beyond it.
    read = _Bytes(tf.pad(tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int32), [[0, 16]]))
    at = _segment(read)
    tiff = at + 10
    is_exif = (read.number(at + 4, 4, True) == 0x45786966) & (at > 0)
    big = read.number(tiff, 2, True) == 0x4D4D
    value = _entry(read, tiff, big)
    return tf.where(is_exif & (value >= 1) & (value <= 8), value, 1)


def upright(image: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
    """Returns an image, uint8 [height, width, 3], turned upright.

    Args:
        image: as it is decoded.
        turn: its EXIF orientation, int32 []: 1 to 8.
    """
    image = tf.cond(turn >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    across = (turn == 2) | (turn == 3) | (turn == 6) | (turn == 7)
    down = (turn == 3) | (turn == 4) | (turn == 7) | (turn == 8)
    image = tf.cond(across, lambda: image[:, ::-1], lambda: image)
    return tf.cond(down, lambda: image[::-1], lambda: image)


class _Bytes:
    """Reads whole numbers in an array of bytes."""

    def __init__(self, data: tf.Tensor) -> None:
        """Takes the bytes: int32 [n]."""
        self._data, self.last = data, tf.size(data) - 4

    def number(self, at: tf.Tensor, length: int, big: tf.Tensor | bool) -> tf.Tensor:
        """Returns the number of some bytes at a place; the first of them counts most if `big`."""
        digits = self._data[tf.clip_by_value(at, 0, self.last) :][:length]
        digits = tf.where(big, digits, digits[::-1])
        return tf.reduce_sum(digits * tf.constant([256**i for i in reversed(range(length))]))


def _segment(read: _Bytes) -> tf.Tensor:
    """Returns the place of the first APP1 segment before the pixels; 0 if there is none."""

    def goes_on(at: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        marker = read.number(at + 1, 1, True)
        is_marker = (read.number(at, 1, True) == 0xFF) & (at < read.last)
        return is_marker & (marker != _APP1) & (marker != _SCAN) & (step < _MOST_SEGMENTS)

    def body(at: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return at + 2 + read.number(at + 2, 2, True), step + 1

    at, _ = tf.while_loop(goes_on, body, (tf.constant(2), tf.constant(0)))
    return tf.where(read.number(at, 2, True) == 0xFF00 + _APP1, at, 0)


def _entry(read: _Bytes, tiff: tf.Tensor, big: tf.Tensor) -> tf.Tensor:
    """Returns the value of the orientation in the first directory behind the header of a TIFF; 0 if there is none."""
    directory = tiff + read.number(tiff + 4, 4, big)
    count = tf.minimum(read.number(directory, 2, big), _MOST_ENTRIES)

    def body(i: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        at = directory + 2 + 12 * i
        found = (read.number(at, 2, big) == _TAG) & (value == 0)
        return i + 1, tf.where(found, read.number(at + 8, 2, big), value)

    _, value = tf.while_loop(lambda i, _: i < count, body, (tf.constant(0), tf.constant(0)))
    return value
