r"""Tells damaged JPEGs from sound ones by the complaints of libjpeg.

libjpeg goes on after a complaint: where codes are missing it paints grey, and where they are wrong it shifts the rest.
So a JPEG that decodes may still be damaged, and its words are all that tells. Of these some are harmless:

    FF D8 | (1) | FF E0 "JFIF" (2) | (1) | FF E2 profile (3) | FF DA (4) | codes ... (5) | FF D9

    (1) bytes between segments             (3) a profile in pieces that do not fit       (5) bytes behind the codes
    (2) an unknown revision of JFIF        (4) parameters that baseline does not use

libjpeg-turbo tells its first complaint only, and a harmless one may hide another. So all that is harmless is taken out
of a copy: where nothing remains to complain of, the file is sound.

Bytes behind the codes (5) are padding, or they are codes that were left over, since others were lost before them. An
encoder fills the last byte of the codes with bits that are all the same. Codes that were left over begin anywhere in a
byte. So the last byte tells most of them, but not in a progressive JPEG, of which the last bits may not matter.
"""

import hashlib
import re
from typing import NamedTuple

import simplejpeg

from converter.images import jpeg

_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
# Where the codes of a scan end: at a marker that is neither a stuffed byte nor a restart. It may be preceded by FF.
_AFTER_CODES = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_UNKNOWN_COLOURS = "Unknown Adobe color transform code"
_ADOBE = re.compile(rb"\xff\xee\x00\x0eAdobe.{7}", re.DOTALL)
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_START, _END, _SCAN, _APP0 = 0xD8, 0xD9, 0xDA, 0xE0
# EXIF, profiles, comments; not the segment of Adobe (EE), which tells the colours.
_UNUSED = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_BASELINE = frozenset((0xC0, 0xC1))
_SEQUENTIAL = _BASELINE | {0xC9}  # With arithmetic codes.
# Bytes that libjpeg-turbo reads ahead at most: it does not count them as left over.
_READ_AHEAD = 16
# Scans behind which bytes are looked for, at most: a file has one, or about ten.
_MAX_SCANS = 10


class Heard(NamedTuple):
    """The verdict on a JPEG.

    Attributes:
        damage: its words for the damage, "" where the JPEG is sound.
        data: a JPEG with the same pixels, without what is harmless: there is no complaint about one that is sound. It
            is the file itself where there was none at all.
    """

    damage: str
    data: bytes


class _Copy(NamedTuple):
    """A copy of a JPEG without what is harmless.

    Attributes:
        data: the copy.
        ends: where the codes of its scans end.
        is_baseline: whether it is sequential, with Huffman codes.
    """

    data: bytes
    ends: tuple[int, ...]
    is_baseline: bool

    def without(self, end: int, number: int) -> bytes:
        """Returns it without some bytes before the end of a scan."""
        return self.data[: end - number] + self.data[end:]


def complaint(data: bytes) -> str:
    """Returns the first words that libjpeg-turbo has for a JPEG, "" if it decodes without any.

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
    """Returns whether a JPEG is damaged, in the words of libjpeg-turbo.

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
    """Returns a JPEG with the colours of Adobe that libjpeg assumes for unknown ones, which simplejpeg refuses."""
    if adobe := _ADOBE.search(data):
        for code in (b"\1", b"\2"):
            if _UNKNOWN_COLOURS in complaint(data):
                data = data[: adobe.end() - 1] + code + data[adobe.end() :]
    return data


def _without_rest(copy: _Copy, words: str) -> bytes | None:
    """Returns a JPEG without the bytes behind the codes of a scan; None where there are none, or they are codes."""
    extraneous = _EXTRANEOUS.fullmatch(words)
    if not extraneous:
        return None
    number, marker = int(extraneous[1]), bytes.fromhex(extraneous[2])
    # No scan ends at a restart marker: what stands before these is always damage.
    ends = [end for end in copy.ends if copy.data[end + 1 : end + 2] == marker]
    for end in ends[:_MAX_SCANS]:
        if complaint(copy.without(end, number)) != words:
            rest = _rest(copy, end, number)
            return None if rest is None else copy.without(end, rest)
    return None


def _rest(copy: _Copy, end: int, number: int) -> int | None:
    """Returns how many bytes stand between the codes of a scan and its end; None where they are codes left over.

    Args:
        copy: the JPEG.
        end: of the scan.
        number: of these bytes that libjpeg-turbo has counted, which are all but those that it had read ahead.
    """
    words = complaint(copy.without(end, number))
    most = next((n for n in range(1, _READ_AHEAD) if complaint(copy.without(end, number + n)) != words), _READ_AHEAD)
    rest = number + most - 1
    codes = bytearray(copy.without(end, rest))
    last = codes[end - rest - 1]
    if last in (0x00, 0xFF) or not copy.is_baseline:  # And FF is followed by 00.
        return rest
    # The first bit, from the lowest, that differs from those below: it must be one of the codes.
    bit = next(i for i in range(1, 8) if last >> i & 1 != last & 1)
    changed = codes.copy()
    changed[end - rest - 1] ^= 1 << bit
    is_code = complaint(bytes(changed)) != "" or _pixels(bytes(changed)) != _pixels(bytes(codes))
    return rest if is_code else None


def _pixels(data: bytes) -> bytes:
    """Returns a digest of the pixels of a JPEG, in colours, since the last codes are of these."""
    with jpeg.memory_errors():
        *_, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        colours = "CMYK" if colours in jpeg.INKS else "RGB"
        return hashlib.sha256(simplejpeg.decode_jpeg(data, colours, strict=False)).digest()


def _tidied(data: bytes) -> _Copy:
    """Returns a copy without comments, profiles, EXIF and what stands between segments.

    From a place on where the file is cut or is no sequence of segments, the copy has all bytes as they are.
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
