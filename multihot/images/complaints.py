r"""Distinguishes damaged JPEGs from sound ones by the warnings of libjpeg.

libjpeg decodes on after a warning: missing codes become grey pixels, and wrong codes shift the rest of the picture. So
a JPEG that decodes may still be damaged, and only the warnings show it. Five things cause a warning and are harmless:

    FF D8 | (1) | FF E0 "JFIF" (2) | (1) | FF E2 profile (3) | FF DA (4) | codes ... (5) | FF D9

    (1) bytes between segments             (3) a profile in pieces that do not fit       (5) bytes after the codes
    (2) an unknown revision of JFIF        (4) parameters that baseline does not use

libjpeg-turbo reports only its first warning, and a harmless one may hide another. So a copy is made without the
harmless parts: if it decodes without a warning, the file is sound.

Bytes after the codes (5) are padding, or they are codes that remain because others were lost before them. An encoder
fills up the last byte of the codes with equal bits, and remaining codes begin anywhere in a byte. So the last byte
before them distinguishes most of these cases, but not in a progressive JPEG, whose last bits may not matter.
"""

import hashlib
import re
from typing import NamedTuple

import simplejpeg

from multihot.images import jpeg

_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
# The end of the codes of a scan: a marker that is neither a stuffed byte nor a restart. FF may precede it.
_AFTER_CODES = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_UNKNOWN_COLOURS = "Unknown Adobe color transform code"
_ADOBE = re.compile(rb"\xff\xee\x00\x0eAdobe.{7}", re.DOTALL)
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_START, _END, _SCAN, _APP0 = 0xD8, 0xD9, 0xDA, 0xE0
# EXIF, profiles, comments; not the segment of Adobe (EE), which has the colour space.
_UNUSED = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_BASELINE = frozenset((0xC0, 0xC1))
_SEQUENTIAL = _BASELINE | {0xC9}  # With arithmetic codes.
# Largest number of bytes that libjpeg-turbo reads ahead, and does not count as extraneous.
_READ_AHEAD = 16
# Largest number of scans after which extraneous bytes are removed: a file has one scan, or about ten.
_MAX_SCANS = 10


class Heard(NamedTuple):
    """The verdict on a JPEG.

    Attributes:
        damage: the warning of libjpeg-turbo about the damage; "" if the JPEG is sound.
        data: a JPEG with the same pixels, without the harmless causes of warnings, so that a sound one decodes without
            any. It is the file itself if there was no warning.
    """

    damage: str
    data: bytes


class _Copy(NamedTuple):
    """A copy of a JPEG without the harmless causes of warnings.

    Attributes:
        data: the copy.
        ends: offsets in `data` at which the codes of its scans end.
        is_baseline: whether it is sequential, with Huffman codes.
    """

    data: bytes
    ends: tuple[int, ...]
    is_baseline: bool

    def without(self, end: int, number: int) -> bytes:
        """Returns the copy without `number` bytes before the end of a scan."""
        return self.data[: end - number] + self.data[end:]


def complaint(data: bytes) -> str:
    """Returns the first warning or error of libjpeg-turbo for a JPEG; "" if it decodes without any.

    Raises:
        MemoryError: there is not enough memory to decode it.
    """
    try:
        with jpeg.memory_errors():
            simplejpeg.decode_jpeg_header(data, strict=True)
            simplejpeg.decode_jpeg(data, colorspace="GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        return str(error) or "cannot be decoded"
    return ""


def hear(data: bytes) -> Heard:
    """Returns whether a JPEG is damaged, with the warning of libjpeg-turbo about the damage.

    Raises:
        MemoryError: there is not enough memory to decode it.
    """
    words = complaint(data)
    if not words:
        return Heard("", data)
    copy = _tidied(data)
    words = complaint(copy.data)
    for _ in range(_MAX_SCANS):
        if not words:
            return Heard("", copy.data)
        shorter = _without_rest(copy, words)
        if shorter is None:
            break
        copy = _tidied(shorter)
        words = complaint(copy.data)
    return Heard(words, _with_colours(copy.data))


def _with_colours(data: bytes) -> bytes:
    """Replaces an unknown colour code of Adobe, which simplejpeg refuses, by the one that libjpeg assumes."""
    if adobe := _ADOBE.search(data):
        for code in (b"\1", b"\2"):
            if _UNKNOWN_COLOURS in complaint(data):
                data = data[: adobe.end() - 1] + code + data[adobe.end() :]
    return data


def _without_rest(copy: _Copy, words: str) -> bytes | None:
    """Returns a JPEG without the bytes after the codes of a scan; None if there are none, or they are codes."""
    extraneous = _EXTRANEOUS.fullmatch(words)
    if not extraneous:
        return None
    number, marker = int(extraneous[1]), bytes.fromhex(extraneous[2])
    # No scan ends at a restart marker, so extraneous bytes before one are always damage.
    ends = [end for end in copy.ends if copy.data[end + 1 : end + 2] == marker]
    for end in ends[:_MAX_SCANS]:
        if complaint(copy.without(end, number)) != words:
            rest = _rest(copy, end, number)
            return None if rest is None else copy.without(end, rest)
    return None


def _rest(copy: _Copy, end: int, number: int) -> int | None:
    """Returns the number of bytes between the codes of a scan and its end; None if they are remaining codes.

    Args:
        copy: the JPEG.
        end: offset of the end of the scan.
        number: of these bytes, as libjpeg-turbo has counted them: without those that it had read ahead.
    """
    words = complaint(copy.without(end, number))
    most = next((n for n in range(1, _READ_AHEAD) if complaint(copy.without(end, number + n)) != words), _READ_AHEAD)
    rest = number + most - 1
    codes = bytearray(copy.without(end, rest))
    last = codes[end - rest - 1]
    if last in (0x00, 0xFF) or not copy.is_baseline:  # (The codes have 00 after FF.)
        return rest
    # The first bit, from the lowest, that differs from those below it must belong to the codes.
    bit = next(i for i in range(1, 8) if last >> i & 1 != last & 1)
    changed = codes.copy()
    changed[end - rest - 1] ^= 1 << bit
    is_code = complaint(bytes(changed)) != "" or _pixels(bytes(changed)) != _pixels(bytes(codes))
    return rest if is_code else None


def _pixels(data: bytes) -> bytes:
    """Returns a digest of the pixels of a JPEG, with their colours, since the last codes are those of colours."""
    with jpeg.memory_errors():
        *_, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        colours = "CMYK" if colours in jpeg.INKS else "RGB"
        return hashlib.sha256(simplejpeg.decode_jpeg(data, colours, strict=False)).digest()


def _tidied(data: bytes) -> _Copy:
    """Returns a copy without comments, profiles, EXIF and bytes between segments.

    From the point where the file is cut off, or is no sequence of segments, the copy has all bytes unchanged.
    """
    parts, ends = [b"\xff\xd8"], list[int]()
    at, size, sequential, baseline = 2, 2, False, False
    while found := _MARKER.search(data, at):
        marker, segment = found[0][-1], found.end() - 2
        if marker == _END:
            return _Copy(b"".join((*parts, b"\xff\xd9")), tuple(ends), baseline)
        at = found.end()
        if marker in _WITHOUT_LENGTH:
            continue
        at += int.from_bytes(data[at : at + 2])
        part = bytearray(data[segment:at])
        if marker == _START or len(part) < 4 or at > len(data):
            at = segment
            break
        if marker in _UNUSED:
            continue
        if marker == _APP0 and part[4:9] == b"JFIF\0" and len(part) >= 11:
            part[9:11] = b"\x01\x01"
        sequential, baseline = sequential or marker in _SEQUENTIAL, baseline or marker in _BASELINE
        if marker == _SCAN:
            if sequential and len(part) >= 7:
                part[-3:] = b"\x00\x3f\x00"
            end = _AFTER_CODES.search(data, at)
            part += data[at : end.start() if end else len(data)]
            at = end.start() if end else len(data)
            ends.append(size + len(part))
        parts.append(bytes(part))
        size += len(part)
    return _Copy(b"".join((*parts, data[at:])), tuple(ends), baseline)
